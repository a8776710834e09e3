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
	"strings"
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
// lock that two runs cannot hold, be they in one process or in two, and says which
// run has it.
func (s *service) alone(task string, most time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		f, err := os.OpenFile(filepath.Join(s.RunDir, task+".held"), os.O_RDWR|os.O_CREATE, 0o600)
		check(err)
		defer f.Close()
		if err := lock(f); err != nil {
			s.trace.Say("overlap", 0, task+", "+err.Error())
			return err
		}
		// Not by closing alone: a child that is being started has the
		// descriptor, too, until its execve(2).
		defer unix.Flock(int(f.Fd()), unix.LOCK_UN)
		run := readHolder(f).Run + 1
		check(binary.Write(io.NewOffsetWriter(f, 0), binary.NativeEndian, holder{run, int64(os.Getpid())}))
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

// A holder is what the file of a lock says: the last run, and its process.
type holder struct{ Run, PID int64 }

func readHolder(f *os.File) (h holder) {
	if err := binary.Read(io.NewSectionReader(f, 0, 16), binary.NativeEndian, &h); err != io.EOF { // a new file is empty
		check(err)
	}
	return h
}

// lock fails if somebody has the lock who runs. The kernel closes the files of a
// process that was killed one after the other, when none of its threads runs any
// more: the claim to the task can be free a moment before this lock is.
func lock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return nil
	}
	before := readHolder(f)
	if runs(before.PID) {
		return fmt.Errorf("run %d in pid %d goes on", before.Run, before.PID)
	}
	check(unix.Flock(int(f.Fd()), unix.LOCK_EX))
	if after := readHolder(f); after != before { // it was not the dead one's
		return fmt.Errorf("run %d in pid %d came in between", after.Run, after.PID)
	}
	return nil
}

// runs reports whether the process has a thread that is not on its way to the end.
func runs(pid int64) bool {
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	check(err)
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil { // it is gone by now
			continue
		}
		var state rune
		var skip, flags int
		_, err = fmt.Sscanf(string(text[strings.LastIndexByte(string(text), ')')+1:]), " %c %d %d %d %d %d %d", &state, &skip, &skip, &skip, &skip, &skip, &flags)
		check(err)
		const exiting = 4 // PF_EXITING
		if state != 'Z' && state != 'X' && flags&exiting == 0 {
			return true
		}
	}
	return false
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
