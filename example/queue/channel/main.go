// Command channel works off a Go channel that is fed over HTTP:
//
//	channel -addr 127.0.0.1:8080 -dir /var/lib/channel start
//	curl --retry 10 -X POST 'http://127.0.0.1:8080/jobs/4711?amount=3&steps=2&each=100ms'
//	channel reload    # the new process takes the jobs, the old one ends what it has
//	channel stop
//
// A channel dies with its process. So a job stays with its sender until it is
// done: the answer is 200 then, and 503 where the job is handed back, because it
// was not begun before an upgrade, or would not end by the deadline. Then, or if
// the process dies, the sender tries again, and what a job does is tied to its
// key, because it may begin more than once.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/gracerun/grace/gracerun"
)

func main() {
	var app gracerun.App
	addr := flag.String("addr", "127.0.0.1:8080", "`address` to listen on")
	dir := flag.String("dir", "bookings", "`directory` with what was done")
	workers := flag.Int("workers", 10, "how many jobs at once")
	flag.StringVar(&app.RunDir, "rundir", "", "run `directory`")
	flag.DurationVar(&app.DrainTimeout, "drain", 0, "time for jobs in hand (0 = 30s, <0 = no limit)")
	flag.DurationVar(&app.Probation, "probation", 0, "time both generations serve (0 = 500ms, <0 = none)")
	flag.Parse()
	app.Daemon.Dir, _ = os.Getwd() // what -dir is relative to

	// Without a buffer a job is with its sender or with a worker, never between
	// them: when the drain begins, nothing is left in the channel.
	queue := make(chan *job)
	gracerun.Work(&app, "queue", *workers, func(ctx context.Context) (*job, error) {
		select {
		case j := <-queue:
			return j, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}, func(ctx context.Context, j *job) error {
		err := j.do(ctx, *dir)
		j.done <- err
		return err
	})
	http.Handle("POST /jobs/{key}", receive(queue))
	app.Serve("tcp", *addr, &http.Server{})
	app.Setup = func(context.Context) error { return os.MkdirAll(*dir, 0o755) }
	app.Main()
}

// receive hands jobs to the workers and answers when they are done.
func receive(queue chan<- *job) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		j, err := parse(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		select {
		case queue <- j:
			err = <-j.done
		case <-gracerun.Draining(r.Context()):
			err = gracerun.Requeue
		case <-r.Context().Done():
			err = context.Cause(r.Context())
		}
		switch {
		case err == nil:
			fmt.Fprintln(w, "done")
		case errors.Is(err, gracerun.Requeue), errors.Is(err, gracerun.ErrDrainTimeout):
			w.Header().Set("Retry-After", "0") // it reaches the successor
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		default:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}
}

// A job works step by step, and then books an amount.
type job struct {
	key    string
	amount int64
	steps  int
	each   time.Duration // how long a step takes
	done   chan error    // has room for one: the sender may have gone
}

func parse(r *http.Request) (*job, error) {
	j := &job{key: r.PathValue("key"), done: make(chan error, 1)}
	if j.key != filepath.Base(j.key) || j.key[0] == '.' {
		return nil, errors.New("the key cannot be the name of a file")
	}
	var errs [3]error
	j.amount, errs[0] = strconv.ParseInt(r.FormValue("amount"), 10, 64)
	j.steps, errs[1] = strconv.Atoi(r.FormValue("steps"))
	j.each, errs[2] = time.ParseDuration(r.FormValue("each"))
	return j, errors.Join(errs[:]...)
}

func (j *job) do(ctx context.Context, dir string) error {
	slog.Info("begin", "job", j.key)
	err := j.work(ctx)
	if err == nil {
		err = j.book(dir)
	}
	if err != nil {
		slog.Info("not done", "job", j.key, "why", err)
		return err
	}
	slog.Info("done", "job", j.key)
	return nil
}

// work looks before each step whether it should hand the job back.
func (j *job) work(ctx context.Context) error {
	for range j.steps {
		select {
		case <-gracerun.Draining(ctx):
			return gracerun.Requeue
		default:
		}
		select {
		case <-time.After(j.each): // here goes the work
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// book makes a file of the job's name with its amount, whole or not at all, and
// once: link(2) makes no second one.
func (j *job) book(dir string) error {
	draft := filepath.Join(dir, ".draft-"+rand.Text())
	defer os.Remove(draft)
	if err := os.WriteFile(draft, fmt.Appendln(nil, j.amount), 0o644); err != nil {
		return err
	}
	err := os.Link(draft, filepath.Join(dir, j.key))
	if errors.Is(err, fs.ErrExist) {
		return nil // it was done before
	}
	return err
}
