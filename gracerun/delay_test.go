package gracerun

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gracerun/grace/gracerun/internal/handoff"
)

// probe is the answer of a handler.
func probe(h http.Handler) string {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	return strings.TrimSpace(http.StatusText(w.Code) + ": " + w.Body.String())
}

const (
	readyAnswer = "OK: ready"
	stopAnswer  = "Service Unavailable: not ready: stopping: terminated"
)

// A slow service has a task that takes work until its drain begins, and then one more
// second.
type slow struct {
	*stage
	took chan time.Duration // from the beginning until the taking ended
}

func performSlow(t *testing.T, app *App) *slow {
	t.Helper()
	s := &slow{took: make(chan time.Duration, 1)}
	app.Go("worker", func(ctx context.Context) error {
		begin := time.Now()
		<-ctx.Done()
		s.took <- time.Since(begin)
		time.Sleep(time.Second)
		return nil
	})
	s.stage = perform(t, app, &fakeSelf{})
	s.ready()
	synctest.Wait() // until the task runs
	return s
}

// expect fails the test unless the taking ended after takes, and Run a second later,
// with nil.
func (s *slow) expect(takes time.Duration) {
	s.t.Helper()
	begin := time.Now()
	if took := <-s.took; took != takes {
		s.t.Errorf("the taking ended after %v, want %v", took, takes)
	}
	if err := s.wait(); err != nil {
		s.t.Errorf("Run returned %v", err)
	}
	if took := time.Since(begin); took > takes+time.Second {
		s.t.Errorf("the end took %v", took)
	}
	s.expectHistory(StateStarting, StateReady, StateDraining, StateDone)
}

// TestStopDelay: it is not ready from the first moment, takes work until the delay is
// over, and has all of the drain's time after that.
func TestStopDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := performSlow(t, &App{StopDelay: 5 * time.Second})
		if got := probe(s.app.ReadyHandler()); got != readyAnswer {
			t.Errorf("before: %s", got)
		}
		begin := time.Now()
		s.signal(syscall.SIGTERM)
		synctest.Wait()
		if got := probe(s.app.ReadyHandler()); got != stopAnswer {
			t.Errorf("in the delay: %s", got)
		}
		st := s.app.Status()
		if st.State != StateDraining || !st.TakesUntil.Equal(begin.Add(5*time.Second)) || !st.Deadline.Equal(begin.Add(35*time.Second)) {
			t.Errorf("in the delay: %v, takes until %v, deadline %v", st.State, st.TakesUntil.Sub(begin), st.Deadline.Sub(begin))
		}
		if err := s.app.Upgrade(t.Context()); err != ErrDraining {
			t.Errorf("Upgrade: %v", err)
		}
		time.Sleep(5*time.Second + 500*time.Millisecond)
		if st := s.app.Status(); !st.TakesUntil.IsZero() || !st.Deadline.Equal(begin.Add(35*time.Second)) {
			t.Errorf("after the delay: takes until %v, deadline %v", st.TakesUntil, st.Deadline.Sub(begin))
		}
		if got := probe(s.app.ReadyHandler()); got != stopAnswer {
			t.Errorf("in the drain: %s", got)
		}
		s.expect(5 * time.Second)
	})
}

// TestStopDelayEndsEarly: whoever insists does not wait.
func TestStopDelayEndsEarly(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		signals []os.Signal // two a second
		takes   time.Duration
	}{
		"a second TERM":    {[]os.Signal{syscall.SIGTERM, syscall.SIGTERM}, 500 * time.Millisecond},
		"INT after a TERM": {[]os.Signal{syscall.SIGTERM, syscall.SIGINT}, 500 * time.Millisecond},
		"INT":              {[]os.Signal{syscall.SIGINT}, 0},
		"a HUP":            {[]os.Signal{syscall.SIGTERM, syscall.SIGHUP}, 5 * time.Second},
		"many":             {[]os.Signal{syscall.SIGTERM, syscall.SIGTERM, syscall.SIGTERM}, 500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := performSlow(t, &App{StopDelay: 5 * time.Second})
				go func() {
					for i, sig := range c.signals {
						if i > 0 {
							time.Sleep(500 * time.Millisecond)
						}
						s.signal(sig)
					}
				}()
				s.expect(c.takes)
			})
		})
	}
}

// TestStopDelayOfContext: the end of Run's context is a stop from outside, too, and
// without a delay there is none.
func TestStopDelayOfContext(t *testing.T) {
	t.Parallel()
	for _, delay := range []time.Duration{-1, 0, 3 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			s := performSlow(t, &App{StopDelay: delay})
			s.end()
			s.expect(max(0, delay))
		})
	}
}

// TestFaultEndsStopDelay: it is Run's error, and nobody waits for a service that
// serves no more.
func TestFaultEndsStopDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		app := App{StopDelay: time.Minute}
		broken := errors.New("broken")
		fail := make(chan struct{})
		app.Serve("unix", socketPath(t), Funcs{ServeFunc: func(net.Listener) error { <-fail; return broken }})
		s := perform(t, &app, &fakeSelf{})
		s.ready()
		begin := time.Now()
		s.signal(syscall.SIGTERM)
		time.Sleep(time.Second)
		close(fail)
		if err := s.wait(); !errors.Is(err, broken) {
			t.Errorf("Run returned %v", err)
		}
		if took := time.Since(begin); took != time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// TestStopDelayWithin: of a time that another generation gives, the drain has its part.
func TestStopDelayWithin(t *testing.T) {
	t.Parallel()
	for within, takes := range map[time.Duration]time.Duration{0: 5 * time.Second, 35 * time.Second: 5 * time.Second, 30 * time.Second: 0} {
		synctest.Test(t, func(t *testing.T) {
			s := performSlow(t, &App{StopDelay: 5 * time.Second})
			s.self.events <- handoff.Stop{Within: within}
			s.expect(takes)
		})
	}
}

// TestStopDelayWithinNoLimit: of its own it has none, but the other generation has.
func TestStopDelayWithinNoLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := performSlow(t, &App{StopDelay: 5 * time.Second, DrainTimeout: -1})
		s.self.events <- handoff.Stop{Within: 4 * time.Second}
		s.expect(0)
	})
}

// TestNoStopDelayBeforeReady: who has not begun to serve has nothing to wait for, and
// neither has who is replaced.
func TestNoStopDelayBeforeReady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		app := App{StopDelay: time.Hour, Setup: func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }}
		s := perform(t, &app, &fakeSelf{})
		synctest.Wait()
		if got := probe(app.ReadyHandler()); got != "Service Unavailable: not ready: starting: setup" {
			t.Errorf("in the start: %s", got)
		}
		begin := time.Now()
		s.signal(syscall.SIGTERM)
		if err := s.wait(); err != nil && !errors.Is(err, ErrDraining) {
			t.Error(err)
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("it took %v", took)
		}
	})
}

// TestReadyHandlerInProbation: the service is ready, whoever is asked.
func TestReadyHandlerInProbation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		if got := probe(app.ReadyHandler()); got != "Service Unavailable: not ready: starting" {
			t.Errorf("before Run: %s", got)
		}
		self := &fakeSelf{legacy: &handoff.Legacy{From: 1}}
		s := perform(t, &app, self)
		synctest.Wait()
		if got := probe(app.ReadyHandler()); got != readyAnswer {
			t.Errorf("in probation: %s", got)
		}
		self.events <- handoff.Go{}
		s.ready()
		if got := probe(app.ReadyHandler()); got != readyAnswer {
			t.Errorf("as the owner: %s", got)
		}
		s.end()
		if err := s.wait(); err != nil {
			t.Error(err)
		}
		if got := probe(app.ReadyHandler()); !strings.HasPrefix(got, "Service Unavailable") {
			t.Errorf("after Run: %s", got)
		}
	})
}

// TestHealth: it is asked while there is something to ask, and a loop that hangs is
// found out.
func TestHealth(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sick := errors.New("deadlock")
		hang, begin := make(chan struct{}), make(chan struct{})
		app := App{
			Health: func(context.Context) error { return sick },
			Setup:  func(context.Context) error { <-begin; return nil },
			OnState: func(s State) {
				if s == StateDraining {
					<-hang
				}
			},
		}
		const alive, failed = "OK: alive", "Service Unavailable: not alive: deadlock"
		late := make(chan string, 1)
		app.Cleanup("pool", func(context.Context) error { late <- probe(app.LiveHandler()); return nil })
		s := perform(t, &app, &fakeSelf{})
		synctest.Wait()
		if got := probe(app.LiveHandler()); got != alive {
			t.Errorf("in the start: %s", got)
		}
		close(begin)
		s.ready()
		if got := probe(app.LiveHandler()); got != failed {
			t.Errorf("when it is sick: %s", got)
		}
		s.signal(syscall.SIGTERM)
		synctest.Wait()
		if got := probe(app.LiveHandler()); !strings.Contains(got, "the App itself does not answer") {
			t.Errorf("when it hangs: %s", got)
		}
		close(hang)
		if err := s.wait(); err != nil {
			t.Error(err)
		}
		if got := <-late; got != alive {
			t.Errorf("in the cleanup: %s", got)
		}
		if got := probe(app.LiveHandler()); got != alive {
			t.Errorf("at the end: %s", got)
		}
	})
}

// TestHealthHangs: who asks gets an answer, also of a Health that does not look at its
// context; else each of its requests would be in hand for all of the drain.
func TestHealthHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		app := App{Health: func(context.Context) error { <-end; return nil }}
		s := perform(t, &app, &fakeSelf{})
		s.ready()
		if got := probe(app.LiveHandler()); !strings.Contains(got, "App.Health: no answer within 10s") {
			t.Error(got)
		}
		close(end)
		s.signal(syscall.SIGTERM)
		if err := s.wait(); err != nil {
			t.Error(err)
		}
	})
}

// TestLateHangup: a HUP between the end of Run and that of the process is no death of
// the service, whose status a supervisor looks at.
func TestLateHangup(t *testing.T) {
	s := newSignals()
	s.notify()
	s.silence()
	defer signal.Reset(syscall.SIGHUP)
	if !signal.Ignored(syscall.SIGHUP) {
		t.Error("a late HUP kills")
	}
}
