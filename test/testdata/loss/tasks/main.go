//go:build linux

// Command tasks is a service whose work leaves a trace in its directory: a line
// in the file "trace" for each begin and end, written with one write to the end
// of the file, so that the lines of all generations are in the order in which
// things happened.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/gracerun"
	"github.com/gracerun/grace/test/load/web"
)

// tracer is where a generation leaves its traces.
type tracer struct {
	dir   string
	trace *os.File
	pid   int
}

func main() {
	app := &gracerun.App{
		Probation:   10 * time.Millisecond,
		Generations: 6,
		Logger:      slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	flag.StringVar(&app.RunDir, "dir", ".", "`directory` of all files")
	flag.Parse()
	t := &tracer{dir: app.RunDir, pid: os.Getpid()}
	t.trace = t.open("trace")

	gracerun.Work(app, "work", 3, t.take, func(ctx context.Context, item int64) error {
		t.run(ctx, "work", item, 20*time.Millisecond, 200*time.Millisecond)
		return nil
	})
	app.Loop("loop", t.alone("loop", 5*time.Millisecond, 150*time.Millisecond))
	app.Loop("long loop", t.alone("long loop", 600*time.Millisecond, 700*time.Millisecond))
	app.Every("often", 50*time.Millisecond, t.alone("often", 5*time.Millisecond, 80*time.Millisecond))
	app.Every("seldom", time.Second, t.alone("seldom", 5*time.Millisecond, 20*time.Millisecond))
	app.Serve("unix", filepath.Join(app.RunDir, "http.sock"),
		&http.Server{Handler: web.Handler(func() int { return app.Status().Generation })})
	app.Main()
}

func (t *tracer) open(name string) *os.File {
	f, err := os.OpenFile(filepath.Join(t.dir, name), os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	check(err)
	return f
}

// say writes a line: monotonic nanoseconds, the process, what happened, the
// item, the task.
func (t *tracer) say(what string, item int64, task string) {
	var now unix.Timespec
	check(unix.ClockGettime(unix.CLOCK_MONOTONIC, &now))
	_, err := fmt.Fprintf(t.trace, "%d %d %s %d %s\n", now.Nano(), t.pid, what, item, task)
	check(err)
}

// take draws a ticket from a source that all generations share: it appends a
// byte to a file, and where that landed is its number. The kernel does it in one
// step, also for a process that is killed.
func (t *tracer) take(ctx context.Context) (int64, error) {
	select {
	case <-time.After(rand.N(10 * time.Millisecond)): // there is not always something to do
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	f := t.open("tickets")
	defer f.Close()
	_, err := f.Write([]byte{'.'})
	check(err)
	return f.Seek(0, io.SeekCurrent)
}

// run is work of a random length.
func (t *tracer) run(ctx context.Context, task string, item int64, least, most time.Duration) {
	t.say("begin", item, task)
	select {
	case <-time.After(least + rand.N(most-least)):
		t.say("end", item, task)
	case <-ctx.Done():
		t.say("cut", item, task)
	}
}

// alone returns a task that holds a lock while it runs. It is a record lock
// (fcntl(2)): it belongs to the process, not to the open file as that of
// gracerun does, and a child between fork and exec has no part in it.
func (t *tracer) alone(task string, least, most time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		f := t.open(task + ".held")
		defer f.Close() // frees it
		err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
		if err != nil {
			t.say("overlap", 0, task)
			return err
		}
		t.run(ctx, task, 0, least, most)
		return nil
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
