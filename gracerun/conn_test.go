package gracerun

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A script is a listener whose Accept does what it says, one after the other,
// and then waits until it is closed.
type script struct {
	accepts chan func() (net.Conn, error)
	closed  chan struct{}
	once    sync.Once
}

func newScript(accepts ...func() (net.Conn, error)) *script {
	s := &script{accepts: make(chan func() (net.Conn, error), len(accepts)), closed: make(chan struct{})}
	for _, f := range accepts {
		s.accepts <- f
	}
	return s
}

func (s *script) Accept() (net.Conn, error) {
	select {
	case <-s.closed:
		return nil, net.ErrClosed
	default:
	}
	select {
	case f := <-s.accepts:
		return f()
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

func (s *script) Close() error   { s.once.Do(func() { close(s.closed) }); return nil }
func (s *script) Addr() net.Addr { return &net.TCPAddr{} }

// TestConnServerDrainsBeforeItServes: the drain may begin before the accept loop
// has been scheduled, which then must take nothing.
func TestConnServerDrainsBeforeItServes(t *testing.T) {
	t.Parallel()
	c := &connServer{ctx: t.Context(), s: ConnServer{Handle: func(context.Context, net.Conn) { t.Error("a connection was taken") }}}
	ln := newScript(func() (net.Conn, error) {
		mine, theirs := net.Pipe()
		mine.Close()
		return theirs, nil
	})
	ad := &address{network: "tcp", address: ":0", server: c, ln: ln, ended: make(chan struct{})}
	if err := c.drain(t.Context(), []*address{ad}); err != nil {
		t.Error(err)
	}
	served := make(chan error, 1)
	go func() { served <- c.serve(ad) }()
	select {
	case err := <-served:
		if err != nil {
			t.Errorf("serve returned %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits for connections in a drain")
		ln.Close()
		<-served
	}
}

// TestAcceptErrors: what passes is waited for, as net/http does; what does not
// ends the server.
func TestAcceptErrors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clock := newElapsed()
		fails := func(err error) func() (net.Conn, error) {
			return func() (net.Conn, error) {
				clock.note()
				return nil, &net.OpError{Op: "accept", Net: "tcp", Err: err}
			}
		}
		works := func() (net.Conn, error) {
			clock.note()
			mine, theirs := net.Pipe()
			mine.Close()
			return theirs, nil
		}
		ln := newScript(
			fails(syscall.EMFILE), fails(syscall.ENFILE), fails(syscall.ENOBUFS), fails(syscall.ENOMEM), fails(syscall.ECONNABORTED),
			fails(syscall.ECONNRESET), fails(syscall.EMFILE), fails(syscall.EMFILE), fails(syscall.EMFILE), fails(syscall.EMFILE),
			works, fails(syscall.EMFILE), fails(syscall.EINVAL))
		err := ConnServer{Handle: func(context.Context, net.Conn) {}}.Serve(ln)
		if !errors.Is(err, syscall.EINVAL) {
			t.Errorf("Serve returned %v", err)
		}
		const ms = time.Millisecond
		want := []time.Duration{0}
		for _, pause := range []time.Duration{5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000, 0, 5} {
			want = append(want, want[len(want)-1]+pause*ms)
		}
		if got := clock.all(); !slices.Equal(got, want) {
			t.Errorf("it accepted at %v\nwant           %v", got, want)
		}
	})
}
