package gracerun

import (
	"context"
	"errors"
	"os"
	"reflect"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gracerun/grace/gracerun/internal/handoff"
)

// engine is an Upgrade that a test leads through its steps.
type engine struct {
	t      *testing.T
	begun  chan handoff.Limits // an attempt has begun; its child is not started yet
	spawn  chan struct{}
	result chan error
	gaveUp chan error // the attempt's context has ended, with this cause
}

func newEngine(t *testing.T, self *fakeSelf) *engine {
	e := &engine{t, make(chan handoff.Limits), make(chan struct{}), make(chan error), make(chan error, 1)}
	self.upgrade = func(ctx context.Context, l handoff.Limits, estate func() handoff.Estate, progress func(handoff.Progress)) error {
		e.begun <- l
		for {
			select {
			case <-e.spawn:
				estate()
				progress(handoff.Progress{Stage: handoff.StageInit, PID: 4711})
			case err := <-e.result:
				return err
			case <-ctx.Done():
				e.gaveUp <- context.Cause(ctx)
				return &handoff.Refusal{Stage: handoff.StageStart, Err: context.Cause(ctx)}
			}
		}
	}
	return e
}

// performUpgrades runs app, whose upgrades e leads, until it is ready.
func performUpgrades(t *testing.T, app *App) (s *stage, e *engine) {
	t.Helper()
	self := &fakeSelf{}
	e = newEngine(t, self)
	s = perform(t, app, self)
	s.ready()
	return s, e
}

// start has the child started.
func (e *engine) start() {
	e.spawn <- struct{}{}
	synctest.Wait()
}

// none fails the test if an attempt has begun.
func (e *engine) none() {
	e.t.Helper()
	synctest.Wait()
	select {
	case <-e.begun:
		e.t.Error("one upgrade too many")
	default:
	}
}

var errNoDatabase = errors.New("no database")

func refusal() error {
	return &handoff.Refusal{PID: 4711, Stage: handoff.StageSetup, Err: errNoDatabase}
}

// call calls Upgrade and returns where its answer comes.
func (s *stage) call(ctx context.Context) <-chan error {
	answer := make(chan error, 1)
	go func() { answer <- s.app.Upgrade(ctx) }()
	synctest.Wait()
	return answer
}

func TestUpgradeCommits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		s, e := performUpgrades(t, &app)
		answer := s.call(t.Context())
		<-e.begun
		e.start()
		time.Sleep(time.Second)
		if st := app.Status(); st.State != StateUpgrading {
			t.Errorf("state: %v", st.State)
		}
		e.result <- nil
		if err := <-answer; err != nil {
			t.Error(err)
		}
		if err := s.wait(); err != nil {
			t.Errorf("Run returned %v", err)
		}
		s.expectHistory(StateStarting, StateReady, StateUpgrading, StateDraining, StateDone)
		last := app.Status().LastUpgrade
		want := UpgradeResult{From: 1, To: 2, PID: 4711, Took: time.Second, At: last.At}
		if last != want {
			t.Errorf("LastUpgrade = %+v, want %+v", last, want)
		}
		if err := app.Upgrade(t.Context()); !errors.Is(err, ErrDraining) {
			t.Errorf("Upgrade after Run: %v", err)
		}
	})
}

func TestUpgradeRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		s, e := performUpgrades(t, &app)
		answer := s.call(t.Context())
		<-e.begun
		time.Sleep(time.Second)
		e.result <- refusal()
		err := <-answer
		up := new(UpgradeError)
		if !errors.As(err, &up) || up.PID != 4711 || up.Stage != "setup" || !errors.Is(err, errNoDatabase) {
			t.Errorf("Upgrade returned %#v", err)
		}
		if got := err.Error(); got != "gracerun: upgrade failed at setup (pid 4711): no database" {
			t.Errorf("it says %q", got)
		}
		last := app.Status().LastUpgrade
		if want := (UpgradeResult{From: 1, To: 2, PID: 4711, Took: time.Second, At: last.At, Stage: "setup", Error: "no database"}); last != want {
			t.Errorf("LastUpgrade = %+v, want %+v", last, want)
		}
		s.signal(syscall.SIGHUP) // the next one works
		<-e.begun
		e.result <- nil
		if err := s.wait(); err != nil {
			t.Errorf("Run returned %v", err)
		}
		s.expectHistory(StateStarting, StateReady, StateUpgrading, StateReady, StateUpgrading, StateDraining, StateDone)
	})
}

// TestLimits: zero is the default, negative none.
func TestLimits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		app  *App
		want handoff.Limits
	}{
		{&App{}, handoff.Limits{Ready: time.Minute, Probation: 500 * time.Millisecond, Drain: 30 * time.Second, Generations: 4}},
		{&App{ReadyTimeout: -1, Probation: -1, DrainTimeout: -1, Generations: -1}, handoff.Limits{Generations: -1}},
		{&App{ReadyTimeout: time.Hour, Probation: 2, DrainTimeout: 3, Generations: 5}, handoff.Limits{Ready: time.Hour, Probation: 2, Drain: 3, Generations: 5}},
	} {
		synctest.Test(t, func(t *testing.T) {
			s, e := performUpgrades(t, c.app)
			s.signal(syscall.SIGHUP)
			if got := <-e.begun; !reflect.DeepEqual(got, c.want) {
				t.Errorf("limits %+v, want %+v", got, c.want)
			}
			e.result <- nil
			s.wait()
		})
	}
}

// TestJoinOrQueue: who asks before the child is started joins, who asks after it
// may mean a newer program.
func TestJoinOrQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		s, e := performUpgrades(t, &app)
		first := s.call(t.Context())
		<-e.begun
		joined := s.call(t.Context())
		e.start()
		queued, too := s.call(t.Context()), s.call(t.Context())
		s.signal(syscall.SIGHUP)
		synctest.Wait()
		e.result <- refusal()
		if a, b := <-first, <-joined; !errors.Is(a, errNoDatabase) || !errors.Is(b, errNoDatabase) {
			t.Errorf("the first two: %v, %v", a, b)
		}
		<-e.begun // one for all that were in the queue
		e.result <- nil
		if a, b := <-queued, <-too; a != nil || b != nil {
			t.Errorf("the queue: %v, %v", a, b)
		}
		e.none()
		s.wait()
		s.expectHistory(StateStarting, StateReady, StateUpgrading, StateReady, StateUpgrading, StateDraining, StateDone)
	})
}

// TestUpgradeBeforeReady: a call gets its answer, a signal is kept.
func TestUpgradeBeforeReady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		setup := make(chan struct{})
		app := App{Setup: func(context.Context) error { <-setup; return nil }}
		if err := app.Upgrade(t.Context()); !errors.Is(err, ErrNotReady) {
			t.Errorf("before Run: %v", err)
		}
		self := &fakeSelf{}
		e := newEngine(t, self)
		s := perform(t, &app, self)
		synctest.Wait()
		if err := app.Upgrade(t.Context()); !errors.Is(err, ErrNotReady) {
			t.Errorf("in Setup: %v", err)
		}
		for range 3 {
			s.signal(syscall.SIGHUP)
		}
		e.none()
		close(setup)
		<-e.begun
		e.none()
		e.result <- nil
		s.wait()
	})
}

// TestEarlyHUP came before the App listened for it.
func TestEarlyHUP(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		self := &fakeSelf{hup: true}
		e := newEngine(t, self)
		s := perform(t, &app, self)
		<-e.begun
		e.result <- nil
		s.wait()
		s.expectHistory(StateStarting, StateReady, StateUpgrading, StateDraining, StateDone)
	})
}

// TestCallIsGivenUp by the one who made it.
func TestCallIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		s, e := performUpgrades(t, &app)
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("lost patience"))
		defer cancel()
		answer := s.call(ctx)
		<-e.begun
		err := <-answer
		if cause := <-e.gaveUp; !errors.Is(cause, context.Cause(ctx)) {
			t.Errorf("it was given up with the cause %v", cause)
		}
		if up := new(UpgradeError); !errors.As(err, &up) || !errors.Is(err, context.Cause(ctx)) {
			t.Errorf("Upgrade returned %v", err)
		}
		synctest.Wait()
		if st := app.Status().State; st != StateReady {
			t.Errorf("state: %v", st)
		}
		s.end()
		s.wait()
	})
}

// TestOneOfTwoGivesUp: the other still wants it.
func TestOneOfTwoGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		s, e := performUpgrades(t, &app)
		ctx, cancel := context.WithCancel(t.Context())
		answer := s.call(ctx)
		<-e.begun
		other := s.call(t.Context())
		e.start()
		queuedCtx, cancelQueued := context.WithCancel(t.Context())
		queued := s.call(queuedCtx)
		cancelQueued()
		if err := <-queued; !errors.Is(err, context.Canceled) || errors.Is(err, ErrUpgrading) {
			t.Errorf("out of the queue: %v", err)
		}
		cancel()
		if err := <-answer; !errors.Is(err, ErrUpgrading) || !errors.Is(err, context.Canceled) {
			t.Errorf("Upgrade returned %v", err)
		}
		e.result <- nil
		if err := <-other; err != nil {
			t.Errorf("the other: %v", err)
		}
		s.wait()
	})
}

// TestTermDuringUpgrade: the successor on its way is to leave, too, and whoever
// asked hears of it.
func TestTermDuringUpgrade(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		s, e := performUpgrades(t, &app)
		answer := s.call(t.Context())
		<-e.begun
		s.signal(syscall.SIGTERM)
		<-e.gaveUp
		if err := <-answer; err == nil {
			t.Error("Upgrade returned nil")
		}
		if err := s.wait(); err != nil {
			t.Errorf("Run returned %v", err)
		}
		s.expectHistory(StateStarting, StateReady, StateUpgrading, StateDraining, StateDone)
	})
}

// TestFaultDuringUpgrade: the successor goes on; it is all that is left.
func TestFaultDuringUpgrade(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		fault := make(chan error)
		app.Go("store", func(context.Context) error { return <-fault })
		s, e := performUpgrades(t, &app)
		s.signal(syscall.SIGHUP)
		<-e.begun
		fault <- os.ErrPermission
		time.Sleep(time.Hour) // Run waits for what becomes of the successor
		select {
		case err := <-e.gaveUp:
			t.Errorf("the upgrade was given up: %v", err)
		default:
		}
		e.result <- nil
		if err := s.wait(); !errors.Is(err, os.ErrPermission) {
			t.Errorf("Run returned %v", err)
		}
	})
}

// TestUpgradeInTheDrain has no successor to pass it on to.
func TestUpgradeInTheDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		s := perform(t, &app, &fakeSelf{})
		s.ready()
		app.Task("long", func(context.Context) error { time.Sleep(time.Second); return nil })
		s.end()
		synctest.Wait()
		if err := app.Upgrade(t.Context()); !errors.Is(err, ErrDraining) {
			t.Errorf("Upgrade returned %v", err)
		}
		s.signal(syscall.SIGHUP)
		if err := s.wait(); err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
}

func TestUpgradeErrorText(t *testing.T) {
	t.Parallel()
	err := &UpgradeError{Stage: "start", Err: errNoDatabase}
	if got := err.Error(); got != "gracerun: upgrade failed at start: no database" {
		t.Errorf("it says %q", got)
	}
}
