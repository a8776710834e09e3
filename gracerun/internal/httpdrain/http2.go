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
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// The keys of [http.Server.TLSNextProto]. Under the second net/http hands over connections without TLS whose
// client began with the HTTP/2 preface, in a *tls.Conn that only serves as an envelope.
const (
	protoTLS   = "h2"
	protoPlain = "unencrypted_http2"
)

// preface is what a client begins with, and prefaceTimeout how long it may take, as in net/http.
const (
	preface        = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	prefaceTimeout = 10 * time.Second
)

// announcement is GOAWAY with the highest stream there can be and NO_ERROR: "a server that is attempting to
// gracefully shut down a connection SHOULD send" it first (RFC 9113, section 6.8).
// farewell is the same from a client. net/http answers it with the GOAWAY that names the last
// stream it has seen, finishes the streams up to that one, and closes after a second.
const (
	announcement = "\x00\x00\x08\x07\x00\x00\x00\x00\x00" + "\x7f\xff\xff\xff" + "\x00\x00\x00\x00"
	farewell     = "\x00\x00\x08\x07\x00\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00"
)

// An http2Func serves a connection, as a value of [http.Server.TLSNextProto] does.
type http2Func = func(*http.Server, *tls.Conn, http.Handler)

// setUpHTTP2 puts itself between net/http and its HTTP/2 server, so that this one gets a wrapped connection. That
// cannot be done with a *tls.Conn, but net/http's function for connections without TLS takes any, in the
// envelope in which x/net/http2 gives it to net/http too. net/http itself is asked whether it would
// serve HTTP/2: the answer depends on Protocols, TLSNextProto, TLSConfig and GODEBUG. What is wrong with
// the configuration it will report to the caller of Serve as it always does.
func (s *Server) setUpHTTP2() {
	protos := maps.Clone(s.srv.TLSNextProto)
	for name, serve := range protos {
		protos[name] = s.foreignProto(serve)
	}
	probe := s.probe()
	_, callers := protos[protoTLS]
	genuine, framed := probe.TLSNextProto[protoTLS], probe.TLSNextProto[protoPlain]
	if !callers && genuine != nil && framed != nil {
		// What HTTP/2 wants to do at the shutdown is registered with probe.
		s.srv.RegisterOnShutdown(func() { probe.Shutdown(context.Background()) })
		if protos == nil {
			protos = make(map[string]http2Func)
		}
		protos[protoTLS] = func(srv *http.Server, tc *tls.Conn, h http.Handler) {
			if c, _ := lookup(tc); c == nil {
				genuine(srv, tc, h)
			} else if nc := c.frame(tc, false); readPreface(nc) == nil {
				framed(srv, pack(nc), h)
			}
		}
		protos[protoPlain] = func(srv *http.Server, tc *tls.Conn, h http.Handler) {
			nc := unpack(tc)
			if c, _ := lookup(nc); c != nil {
				nc = c.frame(nc, true)
			}
			framed(srv, pack(nc), h)
		}
	}
	s.srv.TLSNextProto = protos
}

// probe returns a server with the protocols that net/http would serve for s.srv.
func (s *Server) probe() *http.Server {
	probe := &http.Server{
		Protocols:    s.srv.Protocols,
		TLSConfig:    s.srv.TLSConfig.Clone(),
		TLSNextProto: maps.Clone(s.srv.TLSNextProto),
		IdleTimeout:  s.srv.IdleTimeout,
		ReadTimeout:  s.srv.ReadTimeout,
	}
	if probe.TLSConfig != nil { // without h2 in it, Serve would not ask further
		probe.TLSConfig.NextProtos = append(slices.Clip(probe.TLSConfig.NextProtos), protoTLS)
	}
	probe.Serve(closedListener{}) // not ServeTLS, so that only who calls that is linked with TLS's server half
	return probe
}

// closedListener makes Serve return after it has prepared everything.
type closedListener struct{}

func (closedListener) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (closedListener) Close() error              { return nil }
func (closedListener) Addr() net.Addr            { return &net.TCPAddr{} }

// readPreface takes the client's first words. net/http closes the connection if they are others.
func readPreface(nc net.Conn) error {
	late := time.AfterFunc(prefaceTimeout, func() { nc.Close() })
	defer late.Stop()
	var got [len(preface)]byte
	if _, err := io.ReadFull(nc, got[:]); err != nil {
		return err
	}
	if string(got[:]) != preface {
		return errors.New("httpdrain: no HTTP/2 preface")
	}
	return nil
}

// An envelope carries a connection in a *tls.Conn that does nothing.
type envelope struct {
	net.Conn
	conn net.Conn
}

func (e envelope) UnencryptedNetConn() net.Conn { return e.conn }

func pack(nc net.Conn) *tls.Conn { return tls.Client(envelope{conn: nc}, nil) }

// unpack returns the connection in the envelope, or tc if it is none.
func unpack(tc *tls.Conn) net.Conn {
	if e, ok := tc.NetConn().(interface{ UnencryptedNetConn() net.Conn }); ok {
		return e.UnencryptedNetConn()
	}
	return tc
}

// foreignProto marks connections that the caller's own protocol takes.
func (s *Server) foreignProto(serve http2Func) http2Func {
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

// frame returns nc as the HTTP/2 connection which net/http is to serve.
func (c *conn) frame(nc net.Conn, sawPreface bool) net.Conn {
	f := &framedConn{Conn: nc, c: c}
	if !sawPreface {
		f.in.left = len(preface)
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

// framedTLS shows net/http that there is TLS.
type framedTLS struct {
	*framedConn
	tls *tls.Conn
}

func (f framedTLS) ConnectionState() tls.ConnectionState { return f.tls.ConnectionState() }
