package gracerun

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/gracerun/grace/listener"
)

// ConnServer is a Server for protocols of one's own: it calls Handle for each
// connection, in a goroutine. It may be registered by value or by pointer; the
// fields are read when serving begins.
type ConnServer struct {
	// Handle owns the connection until it returns; then it is closed. ctx
	// lasts through the drain and carries [Draining]: how a conversation ends
	// politely is up to the protocol. At the drain's deadline ctx ends, and the
	// connection is closed under Handle.
	Handle func(ctx context.Context, conn net.Conn)

	// MaxConns is how many connections of an address may be open at once. At
	// the limit accepting waits. 0 or negative means no limit.
	MaxConns int
}

// Serve accepts connections until ln is closed, and returns when their handlers
// have. An App does not need it: it serves a ConnServer with the App's context.
func (c ConnServer) Serve(ln net.Listener) error {
	s := &connServer{s: c, ctx: context.Background(), yield: func() {}}
	err := s.serve(&address{ln: ln})
	s.handlers.Wait()
	return err
}

// Shutdown does nothing: outside an App, closing the listener is what ends Serve.
func (c ConnServer) Shutdown(context.Context) error { return nil }

type connServer struct {
	s        ConnServer
	key      any
	ctx      context.Context // of handlers
	yield    func()          // before each accept
	handlers sync.WaitGroup  // and of accept loops

	mu       sync.Mutex
	tracked  []*listener.Tracked
	draining bool
}

func (c *connServer) registered() any { return c.key }

func (c *connServer) begin(l *life) {
	c.ctx, c.yield = l.end.do, l.yield.pause
	if p, ok := c.key.(*ConnServer); ok {
		c.s = *p // as it is now: Setup may have set more of it
	}
}

func (c *connServer) serve(ad *address) error {
	t := listener.Track(ad.ln, c.s.MaxConns)
	if !c.accepting(t) {
		return t.Close()
	}
	defer c.handlers.Done()
	var delay time.Duration
	for {
		c.yield()
		conn, err := t.Accept()
		switch {
		case err == nil:
			delay = 0
			c.handlers.Go(func() { c.handle(conn) })
		case errors.Is(err, net.ErrClosed):
			return nil
		case passes(err):
			// As net/http does: the next attempt may find a descriptor.
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			wait(c.ctx, delay)
		default:
			return err
		}
	}
}

// accepting counts an accept loop, unless the drain came first.
func (c *connServer) accepting(t *listener.Tracked) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining {
		return false
	}
	c.tracked = append(c.tracked, t)
	c.handlers.Add(1)
	return true
}

// passes reports whether an error of accept is no reason to stop accepting.
func passes(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.ECONNRESET} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (c *connServer) handle(conn net.Conn) {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	defer conn.Close()
	defer context.AfterFunc(c.ctx, func() { conn.Close() })()
	c.s.Handle(ctx, conn)
}

func (c *connServer) drain(ctx context.Context, _ []*address) error {
	c.mu.Lock()
	c.draining = true
	for _, t := range c.tracked {
		t.Close()
	}
	c.mu.Unlock()
	done := make(chan struct{})
	go func() {
		c.handlers.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	err := fmt.Errorf("%d connections were cut: %w", c.inHand(), context.Cause(ctx))
	select { // Cleanup must not find handlers that have only just noticed
	case <-done:
	case <-time.After(cutGrace):
	}
	return err
}

func (c *connServer) inHand() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, t := range c.tracked {
		n += t.Len()
	}
	return n
}

// past is a deadline that has passed.
var past = time.Unix(1, 0)

// wait returns after d, or earlier when ctx ends; then it returns false.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
