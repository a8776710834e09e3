package gracerun

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun/internal/handoff"
	"github.com/gracerun/grace/gracerun/internal/systemd"
)

// These tests are in the package because they stand in for the world: signals
// and other generations are channels and funcs here, so that every time-out
// passes in virtual time.

// A fakeSelf is a generation without other processes. What the App tells them
// is noted in said; what they do is sent to events.
type fakeSelf struct {
	legacy  *handoff.Legacy
	manager systemd.Manager
	passed  systemd.Sockets
	events  chan any
	older   []*handoff.Peer
	hup     bool
	deaf    time.Duration // how long it takes until signals are caught
	late    bool          // a TERM comes in the last moment
	upgrade func(context.Context, handoff.Limits, func() handoff.Estate, func(handoff.Progress)) error

	mu        sync.Mutex
	said      []string
	successor *handoff.Peer
}

func (f *fakeSelf) say(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.said = append(f.said, fmt.Sprintf(format, args...))
}

// heard reports whether the App said exactly this.
func (f *fakeSelf) heard(text string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Contains(f.said, text)
}

func (f *fakeSelf) Number() int {
	if f.legacy != nil {
		return f.legacy.From + 1
	}
	return 1
}

func (f *fakeSelf) Upgrade(ctx context.Context, l handoff.Limits, e func() handoff.Estate, p func(handoff.Progress)) error {
	return f.upgrade(ctx, l, e, p)
}

func (f *fakeSelf) Successor() *handoff.Peer {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.successor
}

func (f *fakeSelf) Legacy() *handoff.Legacy        { return f.legacy }
func (f *fakeSelf) Events() <-chan any             { return f.events }
func (f *fakeSelf) HUP() bool                      { return f.hup }
func (f *fakeSelf) Stage(stage string)             { f.say("stage %s", stage) }
func (f *fakeSelf) Serving(string)                 { f.say("serving") }
func (f *fakeSelf) Failed(stage string, err error) { f.say("failed at %s: %v", stage, err) }
func (f *fakeSelf) Commit(own func())              { own(); f.say("commit") }
func (f *fakeSelf) Older() []*handoff.Peer         { return f.older }
func (f *fakeSelf) Close()                         { f.say("close") }

// A stage is an App that runs with a fakeSelf.
type stage struct {
	t       *testing.T
	app     *App
	self    *fakeSelf
	signals signals
	end     context.CancelFunc // of Run's context
	done    chan struct{}      // closed when Run has returned err
	err     error

	mu     sync.Mutex
	states []State
}

// perform runs app, which gets a name, and where it has none a run directory and a
// silent logger.
func perform(t *testing.T, app *App, self *fakeSelf) *stage {
	t.Helper()
	s := &stage{t: t, app: app, self: self, done: make(chan struct{})}
	self.events = make(chan any)
	app.Name = "test"
	if app.Logger == nil {
		app.Logger = slog.New(slog.DiscardHandler)
	}
	if app.RunDir == "" {
		app.RunDir = t.TempDir()
	}
	told := app.OnState
	app.OnState = func(state State) {
		s.mu.Lock()
		s.states = append(s.states, state)
		s.mu.Unlock()
		if told != nil {
			told(state)
		}
	}
	ctx, end := context.WithCancel(t.Context())
	s.end = end
	notified := make(chan struct{})
	go func() {
		defer close(s.done)
		s.err = app.run(ctx, world{
			manager: func() (systemd.Manager, systemd.Sockets, error) {
				return self.manager, self.passed, nil
			},
			claim:  func(string) (generations, error) { return self, nil },
			notify: func(c signals) { time.Sleep(self.deaf); s.signals = c; close(notified) },
			flush: func(c signals) {
				if self.late {
					c.stop <- syscall.SIGTERM
				}
			},
			silent: func(signals) {},

			openControl: func(*life) {}, // a real Accept stops virtual time
		})
	}()
	<-notified
	return s
}

// signal sends one, and waits while there is no room for it.
func (s *stage) signal(sig os.Signal) {
	c := s.signals.stop
	if sig == syscall.SIGHUP {
		c = s.signals.hangup
	}
	c <- sig
}

// ready waits until the App is ready, in virtual time.
func (s *stage) ready() {
	s.t.Helper()
	select {
	case <-s.app.Ready():
	case <-s.done:
		s.t.Fatalf("Run returned before it was ready: %v", s.err)
	}
}

// wait returns Run's error.
func (s *stage) wait() error {
	<-s.done
	return s.err
}

// history is the states that OnState was told.
func (s *stage) history() []State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.states)
}

// expectHistory fails the test unless OnState was told exactly want.
func (s *stage) expectHistory(want ...State) {
	s.t.Helper()
	if got := s.history(); !slices.Equal(got, want) {
		s.t.Errorf("OnState was told %v, want %v", got, want)
	}
}

// socketPath is a short path for a unix socket.
func socketPath(t *testing.T) string { return filepath.Join(t.TempDir(), "s") }

// still is a Server that accepts nothing, so that virtual time goes on: it
// serves until it is shut down, and Shutdown lasts until finish is closed.
type still struct {
	stop, finish chan struct{}
}

func newStill() *still { return &still{make(chan struct{}), make(chan struct{})} }

func (s *still) Serve(net.Listener) error {
	<-s.stop
	return nil
}

func (s *still) Shutdown(ctx context.Context) error {
	close(s.stop)
	select {
	case <-s.finish:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
