package gracerun

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gracerun/grace/gracerun/internal/handoff"
)

// stuck is work that ends when its test does.
func stuck(t *testing.T) (work func(context.Context) error) {
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	return func(context.Context) error {
		<-release
		return nil
	}
}

func TestDrainDeadlineCutsWork(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		set, want time.Duration
	}{{0, 30 * time.Second}, {time.Minute, time.Minute}} {
		synctest.Test(t, func(t *testing.T) {
			var app App
			app.DrainTimeout = c.set
			causes := make(chan error, 1)
			s := perform(t, &app, &fakeSelf{})
			s.ready()
			app.Task("report", func(ctx context.Context) error {
				<-ctx.Done()
				causes <- context.Cause(ctx)
				return nil
			})
			begin := time.Now()
			s.signal(syscall.SIGTERM)
			err := s.wait()
			if took := time.Since(begin); took != c.want {
				t.Errorf("the drain took %v, want %v", took, c.want)
			}
			if !errors.Is(err, ErrDrainTimeout) || !strings.Contains(err.Error(), "report: 1") {
				t.Errorf("Run returned %v", err)
			}
			if cause := <-causes; cause != ErrDrainTimeout {
				t.Errorf("the task was cut with the cause %v", cause)
			}
			s.expectHistory(StateStarting, StateReady, StateDraining, StateDone)
		})
	}
}

func TestNoDrainDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		app := App{DrainTimeout: -1}
		s := perform(t, &app, &fakeSelf{})
		s.ready()
		app.Task("long", func(ctx context.Context) error {
			time.Sleep(100 * time.Hour)
			return ctx.Err()
		})
		begin := time.Now()
		s.end()
		if err := s.wait(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took != 100*time.Hour {
			t.Errorf("the drain took %v", took)
		}
	})
}

// TestLateAreNamed has everything that can be late be so.
func TestLateAreNamed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		path := socketPath(t)
		work := stuck(t)
		app.Serve("unix", path, newStill())
		app.Go("daemon", work)
		app.Loop("loop", work)
		app.Every("tick", time.Hour, work)
		Work(&app, "waiter", 2, func(context.Context) (int, error) { return 0, work(nil) }, func(context.Context, int) error { return nil })
		Work(&app, "worker", 3, func(context.Context) (int, error) { return 1, nil }, func(context.Context, int) error { return work(nil) })
		s := perform(t, &app, &fakeSelf{})
		s.ready()
		for range 2 {
			app.Task("mail", work)
		}
		synctest.Wait()
		begin := time.Now()
		s.end()
		err := s.wait()
		if took := time.Since(begin); took != 30*time.Second+cutGrace {
			t.Errorf("the drain took %v, want 30s and 1s for what was cut to notice", took)
		}
		if !errors.Is(err, ErrDrainTimeout) {
			t.Fatalf("Run returned %v", err)
		}
		for _, name := range []string{"unix " + path, "daemon: 1", "loop: 1", "waiter (waiting)", "worker: 3", "mail: 2"} {
			if !strings.Contains(err.Error(), name) {
				t.Errorf("%q is not named in: %v", name, err)
			}
		}
		if strings.Contains(err.Error(), "tick") {
			t.Errorf("what had nothing in hand is named in: %v", err)
		}
	})
}

// TestLateServerIsNamed is a server that does not say what it has in hand.
func TestLateServerIsNamed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		path := socketPath(t)
		app.Serve("unix", path, newStill())
		s := perform(t, &app, &fakeSelf{})
		s.ready()
		s.end()
		if err := s.wait(); !errors.Is(err, ErrDrainTimeout) || !strings.Contains(err.Error(), "unix "+path) {
			t.Errorf("Run returned %v", err)
		}
	})
}

func TestCleanupLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		failed := errors.New("disk full")
		order := make(chan string, 3)
		app.Cleanup("first", func(ctx context.Context) error {
			order <- "first"
			deadline, ok := ctx.Deadline()
			if left := time.Until(deadline); !ok || left != 5*time.Second {
				t.Errorf("it has %v, %v, want 5s", left, ok)
			}
			select {
			case <-Draining(ctx):
			default:
				t.Error("its context does not know of the drain")
			}
			return failed
		})
		app.Cleanup("slow", func(ctx context.Context) error {
			order <- "slow"
			time.Sleep(4 * time.Second)
			return ctx.Err()
		})
		app.Cleanup("hangs", stuck(t))
		app.Cleanup("last", func(context.Context) error { order <- "last"; return nil })
		s := perform(t, &app, &fakeSelf{})
		s.ready()
		begin := time.Now()
		s.end()
		err := s.wait()
		if took := time.Since(begin); took != 9*time.Second {
			t.Errorf("the clean-up took %v, want 5s and 4s", took)
		}
		if !errors.Is(err, failed) {
			t.Errorf("%v does not wrap the error of a cleanup", err)
		}
		for _, want := range []string{`cleanup "hangs": not done after 5s`, `cleanup "first": disk full`} {
			if !strings.Contains(fmt.Sprint(err), want) {
				t.Errorf("%q is not in: %v", want, err)
			}
		}
		if got := []string{<-order, <-order, <-order}; !slices.Equal(got, []string{"last", "slow", "first"}) {
			t.Errorf("order: %v", got)
		}
	})
}

// TestCleanupComesAfterTheDeadline: work was cut, and is cleaned up after.
func TestCleanupComesAfterTheDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		app := App{DrainTimeout: time.Second}
		cleaned := false
		app.Cleanup("tidy", func(ctx context.Context) error {
			cleaned = true
			return ctx.Err()
		})
		s := perform(t, &app, &fakeSelf{})
		s.ready()
		app.Task("stuck", stuck(t))
		s.end()
		if err := s.wait(); !errors.Is(err, ErrDrainTimeout) || strings.Contains(err.Error(), "tidy") {
			t.Errorf("Run returned %v", err)
		}
		if !cleaned {
			t.Error("no clean-up")
		}
	})
}

// TestReadyTimeout has a Setup that listens to its context, and one that does
// not.
func TestReadyTimeout(t *testing.T) {
	t.Parallel()
	polite := func(ctx context.Context) error {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	for name, c := range map[string]struct {
		setup func(t *testing.T) func(context.Context) error
		took  time.Duration
	}{
		"polite": {func(*testing.T) func(context.Context) error { return polite }, time.Minute},
		"hangs":  {stuck, time.Minute + cutGrace},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				app := App{Setup: c.setup(t)}
				self := &fakeSelf{legacy: &handoff.Legacy{From: 1}}
				begin := time.Now()
				s := perform(t, &app, self)
				err := s.wait()
				const reason = "not serving after 1m0s: it is still busy with setup"
				if took := time.Since(begin); took != c.took {
					t.Errorf("Run took %v, want %v", took, c.took)
				}
				if err == nil || !strings.Contains(err.Error(), reason) {
					t.Errorf("Run returned %v", err)
				}
				if !self.heard("failed at setup: " + reason) {
					t.Errorf("the predecessor was told %q", self.said)
				}
				s.expectHistory(StateStarting, StateDraining, StateDone)
			})
		})
	}
}

func TestNoReadyTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		app := App{ReadyTimeout: -1, Setup: func(context.Context) error { time.Sleep(100 * time.Hour); return nil }}
		s := perform(t, &app, &fakeSelf{})
		s.ready()
		s.end()
		if err := s.wait(); err != nil {
			t.Error(err)
		}
	})
}

// TestReadyTimeoutIsOver: it ends with the start, not with the commit.
func TestReadyTimeoutIsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		app := App{ReadyTimeout: time.Second}
		self := &fakeSelf{legacy: &handoff.Legacy{From: 1}}
		s := perform(t, &app, self)
		time.Sleep(time.Hour) // in probation
		s.self.events <- handoff.Go{}
		s.ready()
		s.end()
		if err := s.wait(); err != nil {
			t.Error(err)
		}
	})
}

// TestStopWithin is another generation's deadline, which is shorter than ours.
func TestStopWithin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		s := perform(t, &app, &fakeSelf{})
		s.ready()
		app.Task("task", func(ctx context.Context) error { <-ctx.Done(); return nil })
		begin := time.Now()
		s.self.events <- handoff.Stop{Within: 3 * time.Second}
		if err := s.wait(); !errors.Is(err, ErrDrainTimeout) {
			t.Errorf("Run returned %v", err)
		}
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("the drain took %v", took)
		}
	})
}

// TestRepeatedTermDoesNotRestartTheDrain: the deadline is that of the first.
func TestRepeatedTermDoesNotRestartTheDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		s := perform(t, &app, &fakeSelf{})
		s.ready()
		app.Task("task", func(ctx context.Context) error { <-ctx.Done(); return nil })
		begin := time.Now()
		for range 29 {
			s.signal(syscall.SIGTERM)
			time.Sleep(time.Second)
		}
		if err := s.wait(); !errors.Is(err, ErrDrainTimeout) {
			t.Errorf("Run returned %v", err)
		}
		if took := time.Since(begin); took != 30*time.Second {
			t.Errorf("the drain took %v", took)
		}
		s.expectHistory(StateStarting, StateReady, StateDraining, StateDone)
	})
}

func TestSecondInterruptEndsItAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		s := perform(t, &app, &fakeSelf{})
		s.ready()
		app.Task("long", func(ctx context.Context) error { time.Sleep(20 * time.Second); return nil })
		synctest.Wait()
		begin := time.Now()
		s.signal(syscall.SIGTERM)
		s.signal(syscall.SIGINT)
		s.signal(syscall.SIGTERM)
		synctest.Wait()
		select {
		case <-s.done:
			t.Fatal("one SIGINT and two SIGTERM ended it")
		default:
		}
		s.signal(syscall.SIGINT)
		err := s.wait()
		if took := time.Since(begin); took != 0 {
			t.Errorf("it took %v", took)
		}
		if err == nil || !strings.Contains(err.Error(), "interrupted twice") || !strings.Contains(err.Error(), "long: 1") {
			t.Errorf("Run returned %v", err)
		}
		s.expectHistory(StateStarting, StateReady, StateDraining, StateDone)
		time.Sleep(time.Minute) // what was left behind ends, too
	})
}
