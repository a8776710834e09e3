package gracerun

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
)

// A config is what a service rereads; the test says when and how it goes.
type config struct {
	began  chan struct{}
	result chan error
}

func newConfig() *config { return &config{make(chan struct{}), make(chan error)} }

func (c *config) reload(context.Context) error {
	c.began <- struct{}{}
	return <-c.result
}

// none fails the test if a call has begun.
func (c *config) none(t *testing.T) {
	t.Helper()
	synctest.Wait()
	select {
	case <-c.began:
		t.Error("one call of Reload too many")
	default:
	}
}

// ask asks as the control socket does, and returns where the answer comes.
func (s *stage) askReload() <-chan error {
	answer := make(chan error, 1)
	go func() { answer <- s.app.running().reload(s.t.Context()) }()
	synctest.Wait()
	return answer
}

func TestHangupReload(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newConfig()
		app := App{Hangup: HangupReload, Reload: c.reload}
		s, e := performUpgrades(t, &app)
		s.signal(syscall.SIGHUP)
		<-c.began
		e.none()
		c.result <- errors.New("line 3: no such colour")
		answer := s.askReload()
		<-c.began
		c.result <- nil
		if err := <-answer; err != nil {
			t.Error(err)
		}
		upgraded := s.call(t.Context()) // is still there
		<-e.begun
		e.result <- nil
		if err := <-upgraded; err != nil {
			t.Error(err)
		}
		if err := s.wait(); err != nil {
			t.Error(err)
		}
		s.expectHistory(StateStarting, StateReady, StateUpgrading, StateDraining, StateDone)
	})
}

// TestReloadsMerge: the configuration may have changed since a call began, so
// that whoever asks later gets another, but one for all.
func TestReloadsMerge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newConfig()
		app := App{Reload: c.reload}
		s, _ := performUpgrades(t, &app)
		first := s.askReload()
		<-c.began
		second, third := s.askReload(), s.askReload()
		c.none(t)
		wrong := errors.New("wrong")
		c.result <- wrong
		<-c.began
		c.result <- nil
		if err := <-first; !errors.Is(err, wrong) {
			t.Errorf("the first: %v", err)
		}
		if err := errors.Join(<-second, <-third); err != nil {
			t.Error(err)
		}
		c.none(t)
		s.end()
		if err := s.wait(); err != nil {
			t.Error(err)
		}
	})
}

// TestReloadInUpgrade: which process will serve is not known yet.
func TestReloadInUpgrade(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newConfig()
		app := App{Hangup: HangupReload, Reload: c.reload}
		busy := newStill() // else the old generation would be done at once
		app.Serve("unix", socketPath(t), busy)
		s, e := performUpgrades(t, &app)
		upgraded := s.call(t.Context())
		<-e.begun
		s.signal(syscall.SIGHUP)
		c.none(t)
		e.result <- refusal()
		if err := <-upgraded; err == nil {
			t.Error("the upgrade did not fail")
		}
		<-c.began // it is this one
		c.result <- nil

		next := newElder(t, 2)
		upgraded = s.call(t.Context())
		<-e.begun
		answer := s.askReload()
		s.self.mu.Lock()
		s.self.successor = next.Peer
		s.self.mu.Unlock()
		e.result <- nil // it is the successor
		if err := <-upgraded; err != nil {
			t.Error(err)
		}
		if err := <-answer; !errors.Is(err, ErrDraining) {
			t.Errorf("the answer to who can ask the successor: %v", err)
		}
		close(busy.finish)
		if err := s.wait(); err != nil {
			t.Error(err)
		}
	})
}

func TestReloadFaults(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := perform(t, &App{Hangup: HangupReload}, &fakeSelf{})
		if err := s.wait(); err == nil || !strings.Contains(err.Error(), "Reload is nil") {
			t.Errorf("Run returned %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s, _ := performUpgrades(t, new(App))
		if err := <-s.askReload(); !errors.Is(err, errNoReload) {
			t.Errorf("without Reload: %v", err)
		}
		s.end()
		if err := s.wait(); err != nil {
			t.Error(err)
		}
	})
}
