//go:build linux

// Command crowd is a service that always has a great many tasks in hand, and
// leaves a trace of each. When it has ended it adds how long after the last of
// them that was.
package main

import (
	"context"
	"flag"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gracerun/grace/gracerun"
	"github.com/gracerun/grace/test/testdata/task/trace"
)

// A crowd is what the tasks of a generation share.
type crowd struct {
	app     *gracerun.App
	trace   *trace.Writer
	most    time.Duration // a task takes
	tickets *os.File
	drawing sync.Mutex
	last    atomic.Int64 // when a task ended
}

func main() {
	c := &crowd{app: &gracerun.App{
		Probation:   10 * time.Millisecond,
		Linger:      -1, // what is measured is the tasks
		Generations: 8,
		Logger:      slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}}
	flag.StringVar(&c.app.RunDir, "dir", ".", "`directory` of all files")
	flag.DurationVar(&c.most, "most", time.Second, "a task takes less than this")
	workers := flag.Int("workers", 800, "how many take work")
	tasks := flag.Int("tasks", 200, "how many other tasks there are at a time")
	flag.Parse()
	c.open()

	gracerun.Work(c.app, "work", *workers, c.draw, c.do("work", c.most))
	app := c.app
	app.Go("beginner", func(ctx context.Context) error { return c.beginTasks(ctx, *tasks) })
	app.Serve("unix", filepath.Join(app.RunDir, "http.sock"), &http.Server{Handler: trace.Handler(app)})
	app.OnState = func(s gracerun.State) {
		if s == gracerun.StateDraining {
			c.trace.Say("drain", 0, "")
		}
	}
	app.Main()
	c.trace.Say("gone", int64(trace.Now())-c.last.Load(), "")
}

func (c *crowd) open() {
	var err error
	c.trace, err = trace.Open(c.app.RunDir, sync.OnceValue(func() int { return c.app.Status().Generation }))
	check(err)
	c.tickets, err = os.OpenFile(filepath.Join(c.app.RunDir, "tickets"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	check(err)
}

// draw takes the next of the numbers that all generations share: it appends a
// byte to a file, and where that landed is the number. There is always one.
func (c *crowd) draw(context.Context) (int64, error) {
	c.drawing.Lock()
	defer c.drawing.Unlock()
	if _, err := c.tickets.Write([]byte{'.'}); err != nil {
		return 0, err
	}
	return c.tickets.Seek(0, io.SeekCurrent)
}

// do returns work of a random length, less than most.
func (c *crowd) do(task string, most time.Duration) func(context.Context, int64) error {
	return func(ctx context.Context, item int64) error {
		c.trace.Say("begin", item, task)
		defer func() { c.last.Store(int64(trace.Now())) }()
		select {
		case <-time.After(rand.N(most)):
			c.trace.Say("end", item, task)
		case <-ctx.Done():
			c.trace.Say("cut", item, task)
		}
		return nil
	}
}

// beginTasks keeps n tasks in the background going until the drain. One that
// ends in the drain may begin another: it is in hand itself, so that it is not
// too late.
func (c *crowd) beginTasks(ctx context.Context, n int) error {
	room := make(chan struct{}, n)
	for {
		select {
		case room <- struct{}{}:
			c.begin("task", c.most, func() {
				<-room
				if ctx.Err() != nil && rand.N(4) == 0 {
					c.begin("follow-up", c.most/4, func() {})
				}
			})
		case <-ctx.Done():
			return nil
		}
	}
}

// begin begins a task, which calls then at its end.
func (c *crowd) begin(task string, most time.Duration, then func()) {
	item, err := c.draw(context.Background())
	check(err)
	err = c.app.Task(task, func(ctx context.Context) error {
		defer then()
		return c.do(task, most)(ctx, item)
	})
	if err != nil {
		c.trace.Say("refused", item, task)
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
