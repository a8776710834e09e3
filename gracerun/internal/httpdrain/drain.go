package httpdrain

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
)

// Drain stops accepting at once and returns when everything in hand is finished: it closes the listeners
// and waits for the connections, then calls Shutdown, which runs what was registered by
// [http.Server.RegisterOnShutdown], and last waits for hijacked connections to be closed.
// Connections that a listener had already accepted are still served.
//
// When ctx ends first, Drain closes all connections that are left, hijacked ones too, and returns a
// *[CutError] at once, without waiting for their handlers. Otherwise the error is that of closing a
// listener, if any. Further calls wait for the same end; each of them cuts when its own ctx ends.
func (s *Server) Drain(ctx context.Context) error {
	if s.draining.Swap(true) {
		select {
		case <-s.drained:
			return s.result
		case <-ctx.Done():
			return s.cut(ctx)
		}
	}
	defer close(s.drained)
	s.result = s.drain(ctx)
	return s.result
}

func (s *Server) drain(ctx context.Context) error {
	closed := s.closeListeners()
	for _, c := range s.begin() {
		c.drain()
	}
	defer s.goaways.Wait() // each ends with its connection at the latest
	if !wait(ctx, s.served) {
		return s.cut(ctx)
	}
	// Before the wait for hijacked connections: a function registered for the shutdown may be what
	// closes them. Nothing is left that Shutdown could harm; what it waits for are the caller's protocols.
	if s.srv.Shutdown(ctx) != nil && ctx.Err() != nil {
		return s.cut(ctx)
	}
	if !wait(ctx, s.empty) {
		return s.cut(ctx)
	}
	return closed
}

func wait(ctx context.Context, done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

// closeListeners closes what is still served. Nothing can be added, because draining is set.
func (s *Server) closeListeners() error {
	s.mu.Lock()
	listeners := slices.Collect(maps.Keys(s.listeners))
	s.mu.Unlock()
	var err error
	for _, a := range listeners {
		if e := a.Close(); e != nil && !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// begin returns the connections there are. Any later one sees for itself that the drain is on.
func (s *Server) begin() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle()
	return slices.Collect(maps.Keys(s.conns))
}

// cut closes every connection below TLS, without a close_notify: the peer shall see that it was cut off.
// (Besides, sending one can take 5 seconds when the peer does not read.)
func (s *Server) cut(ctx context.Context) error {
	err := &CutError{Cut: s.Stats(), Err: context.Cause(ctx)}
	s.mu.Lock()
	conns := slices.Collect(maps.Keys(s.conns))
	s.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
	s.srv.Close() // what is not ours to watch
	return err
}

// settle closes served and empty when their time has come. s.mu is held. During a drain the listeners only
// become fewer, and so, once these are gone, do the connections: what is closed here stays true.
func (s *Server) settle() {
	if !s.draining.Load() || len(s.listeners) > 0 || len(s.conns) > s.hijacked+s.foreign {
		return
	}
	closeOnce(s.served)
	if s.hijacked == 0 {
		closeOnce(s.empty)
	}
}

// closeOnce closes c unless it is closed. The caller holds the lock that all closers hold.
func closeOnce(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

// enter adds a listener, unless the drain has begun.
func (s *Server) enter(a *acceptor) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Load() {
		return false
	}
	s.listeners[a] = struct{}{}
	return true
}

func (s *Server) leave(a *acceptor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, a)
	s.settle()
}

// watch adds a connection and returns what net/http shall use in its place.
func (s *Server) watch(raw net.Conn, tls bool) net.Conn {
	c := &conn{s: s, raw: raw, tls: tls}
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	if s.draining.Load() {
		c.drain() // the listener had it up its sleeve
	}
	return c.wrap()
}

// forget removes a connection that has ended.
func (s *Server) forget(c *conn) {
	taken, foreign := c.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.conns[c]; !ok {
		return
	}
	delete(s.conns, c)
	if taken {
		s.hijacked--
	}
	if foreign {
		s.foreign--
	}
	s.settle()
}
