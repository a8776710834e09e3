//lint:file-ignore SA1019 Deprecated since Protocols can do without it; only that way can a connection be wrapped above TLS.

package httpdrain

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
)

// The keys of [http.Server.TLSNextProto]. Under the second net/http hands over connections without TLS whose
// client began with the HTTP/2 preface, in a *tls.Conn that only serves as an envelope.
const (
	protoTLS   = http2.NextProtoTLS
	protoPlain = "unencrypted_http2"
)

// announcement is GOAWAY with the highest stream there can be and NO_ERROR: "a server that is attempting to
// gracefully shut down a connection SHOULD send" it first (RFC 9113, section 6.8).
// farewell is the same from a client. x/net/http2 answers it with the GOAWAY that names the last
// stream it has seen, finishes the streams up to that one, and closes after a second.
const (
	announcement = "\x00\x00\x08\x07\x00\x00\x00\x00\x00" + "\x7f\xff\xff\xff" + "\x00\x00\x00\x00"
	farewell     = "\x00\x00\x08\x07\x00\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00"
)

// setUpHTTP2 puts a server from x/net into TLSNextProto where net/http would put its own copy of it. net/http
// itself is asked whether it would: the answer depends on Protocols, TLSNextProto, TLSConfig and GODEBUG.
// What is wrong with the configuration it will report to the caller of Serve as it always does.
func (s *Server) setUpHTTP2() {
	protos := maps.Clone(s.srv.TLSNextProto)
	for name, serve := range protos {
		protos[name] = s.foreignProto(serve)
	}
	probe := &http.Server{
		Protocols:    s.srv.Protocols,
		TLSConfig:    s.srv.TLSConfig.Clone(),
		TLSNextProto: maps.Clone(s.srv.TLSNextProto),
		IdleTimeout:  s.srv.IdleTimeout,
		ReadTimeout:  s.srv.ReadTimeout,
	}
	probe.ServeTLS(closedListener{}, "", "")
	_, callers := protos[protoTLS]
	_, enabled := probe.TLSNextProto[protoTLS]
	h2 := new(http2.Server)
	if enabled && !callers && http2.ConfigureServer(probe, h2) == nil {
		// What h2 wants to do at the shutdown it has registered with probe.
		s.srv.RegisterOnShutdown(func() { probe.Shutdown(context.Background()) })
		if protos == nil {
			protos = make(map[string]func(*http.Server, *tls.Conn, http.Handler))
		}
		protos[protoTLS] = func(_ *http.Server, tc *tls.Conn, h http.Handler) {
			s.serveHTTP2(h2, tc, h, false)
		}
		protos[protoPlain] = func(_ *http.Server, tc *tls.Conn, h http.Handler) {
			s.serveHTTP2(h2, unpack(tc), h, true)
		}
	}
	s.srv.TLSNextProto = protos
}

// closedListener makes Serve return after it has prepared everything.
type closedListener struct{}

func (closedListener) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (closedListener) Close() error              { return nil }
func (closedListener) Addr() net.Addr            { return &net.TCPAddr{} }

// unpack returns the connection in the envelope, or tc if it is none.
func unpack(tc *tls.Conn) net.Conn {
	if e, ok := tc.NetConn().(interface{ UnencryptedNetConn() net.Conn }); ok {
		return e.UnencryptedNetConn()
	}
	return tc
}

// foreignProto marks connections that the caller's own protocol takes.
func (s *Server) foreignProto(serve func(*http.Server, *tls.Conn, http.Handler)) func(*http.Server, *tls.Conn, http.Handler) {
	return func(srv *http.Server, tc *tls.Conn, h http.Handler) {
		if c, _ := lookup(unpack(tc)); c != nil {
			c.mu.Lock()
			c.foreign = true
			c.become(active)
			c.mu.Unlock()
			s.mu.Lock()
			s.foreign++
			s.settle()
			s.mu.Unlock()
		}
		serve(srv, tc, h)
	}
}

// serveHTTP2 does what x/net/http2 would do, on a connection of ours.
func (s *Server) serveHTTP2(h2 *http2.Server, nc net.Conn, h http.Handler, sawPreface bool) {
	opts := &http2.ServeConnOpts{BaseConfig: s.srv, Handler: h, SawClientPreface: sawPreface}
	if b, ok := h.(interface{ BaseContext() context.Context }); ok {
		opts.Context = b.BaseContext() // with the values that ConnContext has put in
	}
	if c, _ := lookup(nc); c != nil {
		nc = c.frame(nc, sawPreface)
	}
	h2.ServeConn(nc, opts)
}

// frame returns nc as the HTTP/2 connection which x/net/http2 is to serve.
func (c *conn) frame(nc net.Conn, sawPreface bool) net.Conn {
	f := &framedConn{Conn: nc, c: c}
	if !sawPreface {
		f.in.left = len(http2.ClientPreface)
	}
	c.mu.Lock()
	c.framed = f
	c.become(fresh)
	if c.s.draining.Load() {
		f.wanted = true
		c.arm()
	}
	c.mu.Unlock()
	if tc, ok := nc.(*tls.Conn); ok {
		return framedTLS{f, tc}
	}
	return f
}

// A framedConn is an HTTP/2 connection, seen from above TLS.
type framedConn struct {
	net.Conn
	c *conn

	in   frames // this and last belong to the reader
	last string // what is left of the farewell

	opened atomic.Bool   // the client has opened a stream
	reads  atomic.Uint32 // that brought something

	mu     sync.Mutex
	out    frames
	wanted bool // the announcement is to be sent
}

// Read reads and judges as [conn.Read] does. What it does when the time is up is to speak for the client: its
// farewell makes the server end this one connection as gracefully as it can.
func (f *framedConn) Read(p []byte) (int, error) {
	for {
		if f.last != "" {
			n := copy(p, f.last)
			f.last = f.last[n:]
			return n, nil
		}
		n, err := f.Conn.Read(p)
		f.reads.Add(1)
		f.in.scan(p[:n])
		if f.in.headers && !f.opened.Load() {
			f.opened.Store(true)
		}
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		switch f.c.judge(f.in.boundary()) {
		case notDue:
			return n, err
		case retire:
			if f.in.count == 0 {
				return 0, io.EOF // in place of the client's preface
			}
			f.last = farewell
		}
	}
}

// Write writes p, and the announcement after it if that is wanted and the last frame in p is complete.
func (f *framedConn) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.Conn.Write(p)
	f.out.scan(p[:n])
	f.inject()
	return n, err
}

// announce asks the client to use another connection for its next request.
func (f *framedConn) announce() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wanted = true
	f.inject()
}

// inject sends the announcement if it may be sent here: after the server's first frame, its SETTINGS, and
// before any other GOAWAY, since the last stream that one names must never be raised. f.mu is held.
//
// A client that has not opened a stream yet is left in peace until it has: it made the connection for a request that it
// is about to send, and net/http's client fails that request if the GOAWAY is faster ("cannot rewind body").
func (f *framedConn) inject() {
	if !f.wanted || !f.opened.Load() || f.out.goaway || f.out.count == 0 || !f.out.boundary() {
		return
	}
	f.out.goaway = true
	f.awaitQuiet()
	io.WriteString(f.Conn, announcement) // an error is seen by the server's next write too
}

// awaitQuiet holds the answers back until the client has fallen silent, for 5 to 15 ms. A request that has
// chosen this connection, and waits its turn to be written when the GOAWAY comes, is failed by net/http's client if
// its body cannot be sent twice. Clients that wait for answers have sent theirs by then. f.mu is held.
func (f *framedConn) awaitQuiet() {
	for range 3 {
		before := f.reads.Load()
		time.Sleep(5 * time.Millisecond)
		if f.reads.Load() == before {
			return
		}
	}
}

func (f *framedConn) watched() (*conn, net.Conn) {
	if tc, ok := f.Conn.(*tls.Conn); ok {
		return f.c, tc
	}
	return f.c, f.c.raw
}

// framedTLS shows x/net/http2 that there is TLS.
type framedTLS struct {
	*framedConn
	tls *tls.Conn
}

func (f framedTLS) ConnectionState() tls.ConnectionState { return f.tls.ConnectionState() }
