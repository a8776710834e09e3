package gracerun

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gracerun/grace/gracerun/internal/handoff"
	"github.com/gracerun/grace/pidfile"
)

// TestSignalsBeforeSetup: nothing of the service runs before signals are caught,
// for a SIGHUP in a slow Setup would end the process.
func TestSignalsBeforeSetup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began, deaf := time.Now(), time.Second
		app := App{Setup: func(context.Context) error {
			if since := time.Since(began); since < deaf {
				t.Errorf("Setup was called %v after Run, signals are caught after %v", since, deaf)
			}
			return nil
		}}
		s := perform(t, &app, &fakeSelf{deaf: deaf})
		s.ready()
		s.end()
		if err := s.wait(); err != nil {
			t.Error(err)
		}
	})
}

// TestLifeOfASuccessor is the order of a start in the hands of a predecessor.
func TestLifeOfASuccessor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := time.Now()
		self := &fakeSelf{legacy: &handoff.Legacy{From: 6, Asked: asked}}
		began := make(chan struct{})
		app := App{
			RunDir: t.TempDir(),
			Setup:  func(context.Context) error { self.say("in Setup"); return nil },
			Check:  func(context.Context) error { self.say("in Check"); return nil },
		}
		app.Go("task", func(context.Context) error { close(began); return nil })
		pid := filepath.Join(app.RunDir, "test.pid")
		s := perform(t, &app, self)
		time.Sleep(time.Second)
		select {
		case <-began:
			t.Error("a task began before the commit")
		case <-app.Ready():
			t.Error("it is ready before the commit")
		default:
		}
		if _, err := os.Stat(pid); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the pid file was written before the commit: %v", err)
		}
		self.events <- handoff.Go{}
		s.ready()
		<-began
		st := app.Status()
		if st.Generation != 7 || st.LastUpgrade.From != 6 || st.LastUpgrade.To != 7 || st.LastUpgrade.Took != time.Second {
			t.Errorf("Status = %+v", st)
		}
		if got, err := pidfile.Read(pid); err != nil || got != os.Getpid() {
			t.Errorf("pid file: %d, %v", got, err)
		}
		s.end()
		if err := s.wait(); err != nil {
			t.Error(err)
		}
		want := []string{"stage setup", "in Setup", "stage listen", "stage check", "in Check", "serving", "commit", "close"}
		if !slices.Equal(self.said, want) {
			t.Errorf("order: %q\nwant   %q", self.said, want)
		}
	})
}

// TestOrphan: the predecessor died while this generation started, or served.
func TestOrphan(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{time.Second, 3 * time.Second} { // Setup takes 2
		synctest.Test(t, func(t *testing.T) {
			self := &fakeSelf{legacy: &handoff.Legacy{From: 1}}
			app := App{Setup: func(context.Context) error { time.Sleep(2 * time.Second); return nil }}
			s := perform(t, &app, self)
			time.Sleep(d)
			self.events <- handoff.Go{Orphan: true}
			s.ready()
			if !self.heard("commit") {
				t.Error("no commit")
			}
			s.end()
			if err := s.wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAbort: what serves already is drained, in its own time.
func TestAbort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		srv := newStill()
		app.Serve("unix", socketPath(t), srv)
		s := perform(t, &app, &fakeSelf{legacy: &handoff.Legacy{From: 1}})
		synctest.Wait()
		begin := time.Now()
		time.AfterFunc(20*time.Second, func() { close(srv.finish) })
		s.self.events <- handoff.Abort{Reason: "TERM"}
		if err := s.wait(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took != 20*time.Second {
			t.Errorf("the drain took %v", took)
		}
		s.expectHistory(StateStarting, StateDraining, StateDone)
		if s.self.heard("commit") {
			t.Error("it committed")
		}
	})
}

// TestFaultInProbation: the reason is the successor's own words, also when it
// served already.
func TestFaultInProbation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		path := socketPath(t)
		broken := make(chan error)
		app.Serve("unix", path, Funcs{ServeFunc: func(net.Listener) error { return <-broken }})
		self := &fakeSelf{legacy: &handoff.Legacy{From: 1}}
		s := perform(t, &app, self)
		synctest.Wait()
		broken <- errors.New("out of luck")
		err := s.wait()
		if err == nil || !strings.Contains(err.Error(), "server unix "+path+" stopped: out of luck") {
			t.Errorf("Run returned %v", err)
		}
		if !slices.ContainsFunc(self.said, func(s string) bool {
			return strings.HasPrefix(s, "failed at ") && strings.Contains(s, "out of luck")
		}) {
			t.Errorf("the predecessor was told %q", self.said)
		}
	})
}

// TestStopDuringListen: what is stopped before it serves takes nothing, since
// nothing would finish it.
func TestStopDuringListen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		var s *stage
		app.ListenConfig = &net.ListenConfig{Control: func(string, string, syscall.RawConn) error {
			s.end()
			<-app.life.end.take.Done()
			return nil
		}}
		begin := make(chan struct{})
		app.Setup = func(context.Context) error { <-begin; return nil }
		srv := newStill()
		close(srv.finish)
		app.Serve("unix", socketPath(t), Funcs{
			ServeFunc:    func(ln net.Listener) error { t.Error("it serves although it drains"); return srv.Serve(ln) },
			ShutdownFunc: srv.Shutdown,
		})
		s = perform(t, &app, &fakeSelf{})
		close(begin)
		if err := s.wait(); err != nil && !errors.Is(err, ErrDraining) {
			t.Error(err)
		}
	})
}

// TestCleanupAfterFailedStart: what Setup opened is closed again.
func TestCleanupAfterFailedStart(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"setup", "listen", "check"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			failure := errors.New("failed")
			cleaned := make(chan struct{}, 1)
			var app App
			fail := func(at string) error {
				if at == where {
					return failure
				}
				return nil
			}
			app.Setup = func(context.Context) error {
				app.Cleanup("pool", func(context.Context) error { cleaned <- struct{}{}; return nil })
				return fail("setup")
			}
			app.ListenConfig = &net.ListenConfig{Control: func(string, string, syscall.RawConn) error { return fail("listen") }}
			app.Check = func(context.Context) error { return fail("check") }
			srv := newStill()
			close(srv.finish)
			app.Serve("unix", socketPath(t), srv)
			self := &fakeSelf{}
			s := perform(t, &app, self)
			if err := s.wait(); !errors.Is(err, failure) {
				t.Errorf("Run returned %v", err)
			}
			select {
			case <-cleaned:
			default:
				t.Error("no clean-up")
			}
			if !slices.ContainsFunc(self.said, func(s string) bool { return strings.HasPrefix(s, "failed at "+where) }) {
				t.Errorf("the predecessor was told %q", self.said)
			}
		})
	}
}

// TestSetupEndsTooLate: Run gave up waiting for it.
func TestSetupEndsTooLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		app.Cleanup("tidy", func(context.Context) error { return nil })
		app.Setup = func(context.Context) error { time.Sleep(2 * time.Minute); return nil }
		s := perform(t, &app, &fakeSelf{})
		if err := s.wait(); err == nil {
			t.Error("Run returned nil")
		}
		time.Sleep(time.Hour)
		s.expectHistory(StateStarting, StateDraining, StateDone)
	})
}

// TestInterruptKeepsTheFault: who interrupts an App that failed is told why it
// did.
func TestInterruptKeepsTheFault(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		fault := errors.New("no more disks")
		app.Go("store", func(context.Context) error { return fault })
		app.OnState = func(s State) {
			if s == StateReady {
				app.Task("long", func(context.Context) error { time.Sleep(20 * time.Second); return nil })
			}
		}
		s := perform(t, &app, &fakeSelf{})
		synctest.Wait()
		s.signal(syscall.SIGINT)
		s.signal(syscall.SIGINT)
		if err := s.wait(); !errors.Is(err, fault) {
			t.Errorf("Run returned %v", err)
		}
		time.Sleep(time.Minute)
	})
}

func TestFaultOfATask(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		fault, second := errors.New("no more disks"), errors.New("too late to matter")
		app.Go("store", func(context.Context) error { time.Sleep(time.Second); return fault })
		app.Go("other", func(ctx context.Context) error { <-ctx.Done(); return second })
		s := perform(t, &app, &fakeSelf{})
		if err := s.wait(); !errors.Is(err, fault) || errors.Is(err, second) || !strings.Contains(err.Error(), "gracerun: store: no more disks") {
			t.Errorf("Run returned %v", err)
		}
	})
}

// TestDrainWithoutWork takes no time at all: nothing polls.
func TestDrainWithoutWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		srv := newStill()
		close(srv.finish)
		app.Serve("unix", socketPath(t), srv)
		idle := func(ctx context.Context) error { <-UntilDrain(ctx).Done(); return nil }
		app.Go("daemon", idle)
		app.Loop("loop", idle)
		app.Every("tick", time.Hour, idle)
		Work(&app, "work", 2, func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, context.Cause(ctx) },
			func(context.Context, int) error { return nil })
		s := perform(t, &app, &fakeSelf{})
		s.ready()
		synctest.Wait()
		begin := time.Now()
		s.end()
		if err := s.wait(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("the drain took %v", took)
		}
	})
}
