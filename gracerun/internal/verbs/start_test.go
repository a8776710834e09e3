//go:build linux

package verbs_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun/internal/verbs"
	"github.com/gracerun/grace/pidfile"
)

// starter is a service whose Start launches one in dir, or says that it is locked.
func starter(t *testing.T, dir string, words ...string) (s *verbs.Service, starts *int) {
	s, starts = serviceAt(dir), new(int)
	s.Start = func(context.Context) (int, error) {
		*starts++
		if held, err := pidfile.Held(s.PIDFile); held || err != nil {
			return 0, errors.Join(err, &pidfile.LockedError{Path: s.PIDFile})
		}
		return launch(t, dir, words...).pid, nil
	}
	return s, starts
}

func TestStart(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	s, starts := starter(t, dir)
	doWith(t, s, "start").want(0, "hello: started (pid ", "), listening on tcp 127.0.0.1:80\n")
	doWith(t, s, "start").want(0, "hello: already running (pid ")
	if *starts != 2 {
		t.Errorf("%d starts", *starts)
	}
	v := doWith(t, s, "start", "--json").want(0).object()
	if v["state"] != "ready" || v["pid"] == 0.0 {
		t.Errorf("%v", v)
	}
	doWith(t, s, "stop").want(0)
}

// TestStartWithoutSocket: the pid file alone says that it works.
func TestStartWithoutSocket(t *testing.T) {
	t.Parallel()
	s, _ := starter(t, temp(t), "nosocket")
	doWith(t, s, "start").want(0, "started (pid ").lacks("listening")
	doWith(t, s, "start").want(0, "already running (pid ")
}

func TestStartFails(t *testing.T) {
	t.Parallel()
	s := serviceAt(temp(t))
	s.Start = func(context.Context) (int, error) { return 0, errors.New("it failed at setup: no database") }
	doWith(t, s, "start").want(1, "hello: it failed at setup: no database\n")
	s.Start = func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, ctx.Err() }
	doWith(t, s, "start", "--timeout=50ms").want(1, "not done within 50ms")
}

// TestStartEnds: ready is not enough if it has ended since.
func TestStartEnds(t *testing.T) {
	t.Parallel()
	s := serviceAt(temp(t))
	cmd := exec.Command("true")
	check(t, cmd.Run())
	s.Start = func(context.Context) (int, error) { return cmd.Process.Pid, nil }
	doWith(t, s, "start").want(1, fmt.Sprintf("it was started (pid %d), and has ended since", cmd.Process.Pid))
}

func TestStartForeground(t *testing.T) {
	t.Parallel()
	s := serviceAt(temp(t))
	s.Foreground = func() string { return "systemd started it" }
	ran := false
	s.Run = func(context.Context) error { ran = true; return nil }
	doWith(t, s, "start").want(0, "hello: start stays in the foreground: systemd started it\n")
	if !ran {
		t.Error("it did not run")
	}
}

// TestStartWaits for one that is just starting.
func TestStartWaits(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	d := launch(t, dir, "nopid", "nosocket")
	s, starts := starter(t, dir)
	doUntil(t, s, fmt.Sprintf("pid %d is starting: waiting for it", d.pid), func() { d.send("pid") }, "start").want(0, fmt.Sprintf("already running (pid %d)", d.pid))
	if *starts != 1 {
		t.Errorf("%d starts", *starts)
	}
}

// TestStartTakesOver from one that fails to start.
func TestStartTakesOver(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	d := launch(t, dir, "nopid", "nosocket")
	s, starts := starter(t, dir)
	doUntil(t, s, "waiting for it", func() { d.send("let go") }, "start").want(0, "started (pid ")
	if *starts != 2 {
		t.Errorf("%d starts", *starts)
	}
}

// TestStartNothingWorks: it is 0 only if something does.
func TestStartNothingWorks(t *testing.T) {
	t.Parallel()
	for _, words := range [][]string{{"nopid", "nosocket"}, {"starting"}, {"draining"}, {"mute"}} {
		t.Run(words[0], func(t *testing.T) {
			t.Parallel()
			dir := temp(t)
			d := launch(t, dir, words...)
			s, _ := starter(t, dir)
			doWith(t, s, "start", "--timeout", "200ms").want(1, fmt.Sprintf("pid %d has the lock and is not ready: not done within 200ms", d.pid))
			s.ReadyTimeout = 100 * time.Millisecond
			doWith(t, s, "start").want(1, "not ready within 110ms")
		})
	}
}

// TestStartLocked that is nobody's in sight.
func TestStartLocked(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	s, _ := starter(t, dir)
	f, err := pidfile.Acquire(filepath.Join(dir, "hello.pid")) // this process, which does not look for itself
	check(t, err)
	defer f.Close()
	doWith(t, s, "start", "--timeout", "50ms").want(1, "an unknown process has the lock")
}
