// Package httpdrain takes an [http.Server] out of service without losing a request.
//
// [http.Server.Shutdown] closes idle keep-alive connections into the client's next request
// (golang/go#23829) and throws away a request it has already read on a fresh connection
// (golang/go#75591). [Server.Drain] closes only the listeners and then lets every connection come to
// an end the client can see coming:
//
//   - HTTP/1: every answer carries "Connection: close". A connection that is idle may bring one last
//     request for as long as [Options.Linger]. Whether it is idle is decided on bytes, by the very read
//     that waits for the request, and on Unix after a last look into the kernel's buffer.
//   - HTTP/2: a GOAWAY that refuses no stream (RFC 9113, section 6.8) asks the client to go elsewhere with
//     its next request; the streams it has opened are finished, and those it opens before it has heard. A
//     client that has not opened one yet may open its first.
//   - Hijacked connections (WebSocket) are waited for until they are closed.
//
// While no drain is going on, a request costs no allocation, no system call and no shared lock more than
// with net/http alone.
//
// What it cannot see it leaves to Shutdown, which Drain calls in the end: connections that a
// listener delivers as *[tls.Conn] (use [Server.ServeTLS], not [tls.NewListener]), and protocols that the caller
// has put into [http.Server.TLSNextProto], "h2" included.
package httpdrain

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Options says how a [Server] drains. The zero value lets nothing idle linger.
type Options struct {
	// Linger is how long an idle connection may wait for a last request, from the start of the drain or
	// from when it became idle during the drain. An HTTP/2 connection that has had no stream for that
	// long is told that the end has come, and closed a second later. A connection that has not asked
	// for anything yet gets 5 seconds more, and with TLS, where a handshake cannot be told from
	// a request, as much again after each byte. Zero or negative means no wait.
	//
	// A client that thinks for less than Linger loses nothing. One that thinks longer can lose a request
	// if it does not look for the end of the connection before it sends, or if both happen at once.
	Linger time.Duration

	// Context derives the context of all requests from the server's base context (that is, from the
	// result of the server's own BaseContext). It is called once, or if there is a BaseContext once for each
	// listener.
	// nil leaves the base context as it is.
	Context func(context.Context) context.Context

	// BeforeAccept is called before each accept. nil does nothing.
	BeforeAccept func()
}

// A Server is an [http.Server] that can be drained. Make one with [New].
type Server struct {
	srv      *http.Server
	linger   time.Duration
	before   func() // each accept
	draining atomic.Bool
	expired  atomic.Int64 // connections ended because their time was up

	http2Once sync.Once
	goaways   sync.WaitGroup // goroutines that announce the end to an HTTP/2 client

	mu        sync.Mutex
	listeners map[*acceptor]struct{} // those in a call of Serve
	conns     map[*conn]struct{}     // from Accept to StateClosed; if hijacked, to Close
	hijacked  int                    // how many of conns are
	foreign   int                    // how many of conns speak a protocol of the caller's

	served  chan struct{} // closed when draining and nothing is left that Drain waits for, except hijacked
	empty   chan struct{} // closed when those are gone too
	drained chan struct{} // closed when the first call of Drain has ended, with result
	result  error
}

// New takes over srv, which must not be serving yet, and returns a Server that can drain it. It replaces
// the fields Handler, ConnState, ConnContext and BaseContext of srv by functions that call what was
// there before; a nil Handler stays [http.DefaultServeMux], looked up for each request. They must not be set
// again afterwards. TLSNextProto follows when serving begins, with an HTTP/2 server that can be drained
// where net/http would have used its own.
//
// ConnState and ConnContext see the genuine connections, such as *[net.TCPConn] or *[tls.Conn], never a
// wrapper. What Hijack returns without TLS is a wrapper, which has all methods of *net.TCPConn or
// *net.UnixConn if it is around one; its NetConn method returns the genuine connection. A hijacked
// connection counts as work in hand until it is closed by its own Close (the wrapper's, or the *tls.Conn's).
func New(srv *http.Server, o Options) *Server {
	s := &Server{
		srv:       srv,
		linger:    max(o.Linger, 0),
		before:    o.BeforeAccept,
		listeners: make(map[*acceptor]struct{}),
		conns:     make(map[*conn]struct{}),
		served:    make(chan struct{}),
		empty:     make(chan struct{}),
		drained:   make(chan struct{}),
	}
	if s.before == nil {
		s.before = func() {}
	}
	srv.Handler = &handler{s, srv.Handler}
	srv.ConnState = s.connState(srv.ConnState)
	srv.BaseContext = baseContext(srv.BaseContext, o.Context)
	if user := srv.ConnContext; user != nil {
		srv.ConnContext = func(ctx context.Context, nc net.Conn) context.Context {
			_, genuine := lookup(nc)
			return user(ctx, genuine)
		}
	}
	return s
}

// Serve serves connections from ln like [http.Server.Serve], and closes ln in the end. It may be called
// for several listeners, also together with ServeTLS. It returns nil when it was ended by Drain, while
// connections may still be in hand; at once if the drain has already begun. Any other error is that of
// net/http, such as [http.ErrServerClosed] after a Close or Shutdown that did not come from Drain.
func (s *Server) Serve(ln net.Listener) error {
	return s.serve(ln, false, s.srv.Serve)
}

// ServeTLS is to [http.Server.ServeTLS] what Serve is to [http.Server.Serve].
func (s *Server) ServeTLS(ln net.Listener, certFile, keyFile string) error {
	return s.serve(ln, true, func(ln net.Listener) error {
		return s.srv.ServeTLS(ln, certFile, keyFile)
	})
}

func (s *Server) serve(ln net.Listener, tls bool, serve func(net.Listener) error) error {
	a := &acceptor{Listener: ln, s: s, tls: tls, close: sync.OnceValue(ln.Close)}
	defer a.Close()
	if !s.enter(a) {
		return nil
	}
	defer s.leave(a)
	s.http2Once.Do(s.setUpHTTP2)
	err := serve(a)
	if s.draining.Load() {
		return nil // net/http saw the closed listener, not why it was closed
	}
	return err
}

// handler announces the end of the connection with each answer of a drain.
type handler struct {
	s    *Server
	next http.Handler
}

// ServeHTTP leaves an HTTP/2 answer alone: net/http would turn the header into a final GOAWAY, which loses
// the streams that are on their way. It also leaves alone what may become another protocol: a reverse
// proxy adds the upgrade's Connection header to what is there.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.s.draining.Load() && r.ProtoMajor == 1 && r.Header["Upgrade"] == nil {
		w.Header().Set("Connection", "close")
	}
	if h.next == nil {
		http.DefaultServeMux.ServeHTTP(w, r)
		return
	}
	h.next.ServeHTTP(w, r)
}

// baseContext returns a BaseContext that derives from the user's, if there is one; else all listeners share
// one context.
func baseContext(user func(net.Listener) context.Context, derive func(context.Context) context.Context) func(net.Listener) context.Context {
	if derive == nil {
		derive = func(ctx context.Context) context.Context { return ctx }
	}
	if user == nil {
		ctx := derive(context.Background())
		return func(net.Listener) context.Context { return ctx }
	}
	return func(ln net.Listener) context.Context {
		if a, ok := ln.(*acceptor); ok {
			ln = a.Listener
		}
		ctx := user(ln)
		if ctx == nil {
			return nil // net/http has its own words for that
		}
		return derive(ctx)
	}
}

// connState follows what net/http says of a connection, and passes it on.
func (s *Server) connState(user func(net.Conn, http.ConnState)) func(net.Conn, http.ConnState) {
	return func(nc net.Conn, state http.ConnState) {
		c, genuine := lookup(nc)
		if c != nil && state != http.StateClosed {
			s.follow(c, state)
		}
		if user != nil {
			user(genuine, state)
		}
		if c != nil && state == http.StateClosed {
			s.forget(c) // last: this may end the drain
		}
	}
}

func (s *Server) follow(c *conn, state http.ConnState) {
	switch state {
	case http.StateActive:
		c.enter(active)
	case http.StateIdle:
		c.enter(idle)
	case http.StateHijacked:
		c.enter(hijacked)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.hijacked++
		s.settle()
	}
}

// An acceptor is a listener whose connections are watched.
type acceptor struct {
	net.Listener
	s     *Server
	tls   bool // the connections will speak TLS
	close func() error
}

// Accept leaves a *tls.Conn as it is, because net/http must see it as one.
func (a *acceptor) Accept() (net.Conn, error) {
	a.s.before()
	nc, err := a.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if _, ok := nc.(*tls.Conn); ok {
		return nc, nil
	}
	return a.s.watch(nc, a.tls), nil
}

// Close closes the listener once, as net/http does: it may be called by Drain and by the end of Serve.
func (a *acceptor) Close() error { return a.close() }
