//go:build linux

// Command exclusive is a service of tasks of which one run at a time may be going
// on, in all generations together. Each run holds a lock to prove it, and leaves
// a trace.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/gracerun"
	"github.com/gracerun/grace/test/testdata/task/trace"
)

type service struct {
	*gracerun.App
	trace *trace.Writer
	prods bool
	idle  int

	release chan struct{} // ends a run that is held
}

func main() {
	s := &service{release: make(chan struct{}), App: &gracerun.App{
		Probation: 10 * time.Millisecond, Linger: -1, Generations: 6,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}}
	flag.StringVar(&s.RunDir, "dir", ".", "`directory` of all files")
	flag.BoolVar(&s.prods, "prod", true, "have the Cron run more often than once a minute")
	flag.IntVar(&s.idle, "idle", 0, "how many tasks there are that only wait, of each kind")
	flag.Parse()
	var err error
	s.trace, err = trace.Open(s.RunDir, sync.OnceValue(func() int { return s.Status().Generation }))
	check(err)
	s.Setup = func(context.Context) error {
		s.trace.Say("setup", 0, "")
		return nil
	}
	s.register()
	mux := trace.Handler(s.App)
	mux.HandleFunc("GET /release", func(http.ResponseWriter, *http.Request) { s.release <- struct{}{} })
	s.Serve("unix", filepath.Join(s.RunDir, "http.sock"), &http.Server{Handler: mux})
	s.Main()
}

func (s *service) register() {
	s.Loop("short loop", s.alone("short loop", 20*time.Millisecond))
	s.Loop("long loop", s.alone("long loop", 500*time.Millisecond))
	fails := s.alone("failing loop", 50*time.Millisecond)
	s.Loop("failing loop", func(ctx context.Context) error { return errors.Join(fails(ctx), errors.New("as it is to be")) })
	s.Every("often", 20*time.Millisecond, s.alone("often", 60*time.Millisecond))
	s.Every("seldom", 300*time.Millisecond, s.alone("seldom", 20*time.Millisecond))
	s.Every("secondly", time.Second, s.alone("secondly", 20*time.Millisecond))
	s.Cron("cron", "* * * * *", s.alone("cron", 100*time.Millisecond))
	s.Every("hourly", time.Hour, s.alone("hourly", 50*time.Millisecond))
	s.Every("held", time.Hour, s.hold)
	for i := range s.idle {
		s.Loop(fmt.Sprint("idle loop ", i), idle)
		gracerun.Work(s.App, fmt.Sprint("idle work ", i), 1, wait, nothing)
	}
	if s.prods {
		s.Go("prodder", s.prod)
	}
}

func wait(ctx context.Context) (struct{}, error) {
	<-ctx.Done()
	return struct{}{}, ctx.Err()
}

func nothing(context.Context, struct{}) error { return nil }

func idle(ctx context.Context) error {
	<-gracerun.UntilDrain(ctx).Done()
	return nil
}

// hold takes until somebody asks for /release.
func (s *service) hold(ctx context.Context) error {
	s.trace.Say("begin", 0, "held")
	select {
	case <-s.release:
		s.trace.Say("end", 0, "held")
	case <-ctx.Done():
		s.trace.Say("cut", 0, "held")
	}
	return nil
}

// prod triggers the Cron again and again.
func (s *service) prod(ctx context.Context) error {
	for {
		select {
		case <-time.After(rand.N(100 * time.Millisecond)):
		case <-ctx.Done():
			return nil
		}
		if err := s.Trigger("cron"); err != nil && !errors.Is(err, gracerun.ErrDraining) {
			s.trace.Say("refused", 0, err.Error())
		}
	}
}

// alone returns a task of a random length, less than most. What it works on has a
// lock that two runs cannot hold, be they in one process or in two, and the number
// of the last run.
func (s *service) alone(task string, most time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		f, err := os.OpenFile(filepath.Join(s.RunDir, task+".held"), os.O_RDWR|os.O_CREATE, 0o600)
		check(err)
		defer f.Close()
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			s.trace.Say("overlap", 0, task)
			return err
		}
		// Not by closing alone: a child that is being started has the
		// descriptor, too, until its execve(2).
		defer unix.Flock(int(f.Fd()), unix.LOCK_UN)
		run := number(f)
		s.trace.Say("begin", run, task)
		select {
		case <-time.After(rand.N(most)):
			s.trace.Say("end", run, task)
		case <-ctx.Done():
			s.trace.Say("cut", run, task)
		}
		return nil
	}
}

// number returns that of this run: one more than what the file says, which then
// says it.
func number(f *os.File) int64 {
	text := make([]byte, 8)
	if _, err := f.ReadAt(text, 0); err != io.EOF { // a new file is empty
		check(err)
	}
	n := binary.NativeEndian.Uint64(text) + 1
	_, err := f.WriteAt(binary.NativeEndian.AppendUint64(nil, n), 0)
	check(err)
	return int64(n)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
