package load

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"sync/atomic"
)

// HTTP2 sends requests as [KeepAlive] does, as streams over a few connections:
// TLS with ALPN h2, or with Target.TLS nil unencrypted with prior knowledge
// (h2c). One HTTP2 is shared by the goroutines of a group, each of which is a
// stream at a time:
//
//	h2 := &load.HTTP2{Target: target}
//	load.Group{Kind: "http/2", N: 64, New: func() load.Client { return h2 }}
//
// Bodies are one-shot. A GOAWAY is an announcement: the connection's streams
// go on and the next request takes another connection, and so does one that was
// about to be sent, of which nothing had been written. A stream that the
// server refuses, by GOAWAY or RST_STREAM, is lost, as a reset.
type HTTP2 struct {
	Target Target
	Conns  int // connections; 0 = 8. A stream above the server's limit for its connection waits
	Size   int // as KeepAlive's
	Get    int // as KeepAlive's

	once  sync.Once
	slots []h2Slot
	turn  atomic.Uint32
}

// Do makes one request. It may be called by many goroutines at once.
func (h *HTTP2) Do() (o Outcome) {
	h.once.Do(func() { h.slots = make([]h2Slot, cmp.Or(max(h.Conns, 0), 8)) })
	ctx, cancel := context.WithDeadline(context.Background(), h.Target.deadline(0))
	defer cancel()
	slot := &h.slots[h.turn.Add(1)%uint32(len(h.slots))]
	for range 3 { // a server that says goodbye to every connection is none
		var c *h2Conn
		if c, o.Failure = slot.take(ctx, &h.Target, &o); c == nil {
			return o
		}
		r := next(int(c.requests.Add(1)-1), h.Get, h.Size)
		var written bool
		written, o.Failure = c.exchange(ctx, &o, r)
		c.release()
		if written || !c.leaving() {
			return o
		}
	}
	return o
}

// Close closes the connections, each when its last stream has ended. Do would
// open others.
func (h *HTTP2) Close() error {
	for i := range h.slots {
		h.slots[i].close()
	}
	return nil
}

// h2Slot holds the connection of the moment.
type h2Slot struct {
	mu   sync.Mutex
	conn *h2Conn
}

// take returns the connection, a new one if it has ended or is about to; the
// caller releases it. While one goroutine dials, those that need the same
// connection wait for it.
func (s *h2Slot) take(ctx context.Context, t *Target, o *Outcome) (*h2Conn, *Failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.conn; c != nil {
		// In this order: a GOAWAY ends a connection that has no stream.
		ended := c.Err() != nil
		announced := c.wire.goaway.Load()
		if !announced && !ended {
			c.users.Add(1)
			return c, nil
		}
		o.Announced = o.Announced || announced
		o.IdleClosed = o.IdleClosed || !announced && !c.broken.Load()
		c.release()
	}
	var f *Failure
	if s.conn, f = dialHTTP2(ctx, t); f != nil {
		return nil, f
	}
	o.Dialed = true
	s.conn.users.Store(2)
	return s.conn, nil
}

func (s *h2Slot) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		s.conn.release()
		s.conn = nil
	}
}

// h2Conn is an HTTP/2 connection.
type h2Conn struct {
	*http.ClientConn
	wire     *h2Wire
	url      url.URL
	requests atomic.Int64
	answers  atomic.Int64
	pid      atomic.Int64 // the last one that said so
	broken   atomic.Bool  // its end was noticed, by a stream that was lost
	users    atomic.Int64 // its slot is one; the last one closes it
}

func dialHTTP2(ctx context.Context, t *Target) (*h2Conn, *Failure) {
	c := &h2Conn{url: url.URL{Scheme: "http", Host: t.authority()}}
	if t.TLS != nil {
		c.url.Scheme = "https"
	}
	// The transport sees neither the address nor TLS, so that a GOAWAY can be
	// noticed between the two: a ClientConn tells only that no stream is free.
	tr := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	tr.Protocols.SetUnencryptedHTTP2(true)
	tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		nc, err := t.dial(ctx, "h2")
		if err != nil {
			return nil, err
		}
		c.wire = &h2Wire{Conn: nc}
		return c.wire, nil
	}
	var err error
	if c.ClientConn, err = tr.NewClientConn(ctx, "http", "localhost:80"); err != nil {
		return nil, undialed(err)
	}
	return c, nil
}

func (c *h2Conn) release() {
	if c.users.Add(-1) == 0 {
		c.Close()
	}
}

// leaving reports whether another connection should take what was not sent
// on this one: the server said goodbye, or ended it between two answers. A new
// connection that just ends is a failure.
func (c *h2Conn) leaving() bool {
	return c.wire.goaway.Load() || c.Err() != nil && c.answers.Load() > 0
}

// exchange makes a request, notes in o who answered, and reports whether
// anything of it was written.
func (c *h2Conn) exchange(ctx context.Context, o *Outcome, r *request) (written bool, f *Failure) {
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	resp, body, f := c.roundTrip(ctx, r)
	if f == nil {
		f = r.judge(o, resp, body)
	}
	if o.PID != 0 {
		c.pid.Store(int64(o.PID))
	}
	if f != nil {
		f.Reused, f.PID = c.answers.Load() > 0, int(c.pid.Load())
		if sent.Load() && c.Err() != nil {
			c.broken.Store(true)
		}
		return sent.Load(), f
	}
	c.answers.Add(1)
	return true, nil
}

func (c *h2Conn) roundTrip(ctx context.Context, r *request) (*http.Response, []byte, *Failure) {
	u := c.url
	u.Path = r.path
	req := (&http.Request{Method: r.method, URL: &u, Header: http.Header{}}).WithContext(ctx)
	if r.body != nil {
		req.Body = io.NopCloser(bytes.NewReader(r.body))
	}
	resp, err := c.RoundTrip(req)
	if err != nil {
		return nil, nil, lostStream(err, false)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, nil, lostStream(err, true)
	}
	return resp, body, nil
}

// lostStream is lost for a stream: it knows further errors, all of which say
// that the server ended it.
func lostStream(err error, inside bool) *Failure {
	f := lost(err, inside)
	if f.Stage != StageWrongAnswer {
		return f
	}
	if f.Stage = StageResetBefore; inside {
		f.Stage = StageResetInside
	}
	return f
}

// h2Wire notices a GOAWAY in what is read through it.
type h2Wire struct {
	net.Conn
	goaway atomic.Bool
	head   [9]byte // of the frame being read, RFC 9113 4.1: length, type, flags, stream
	have   int     // bytes in head
	skip   int     // bytes of payload to come
}

func (w *h2Wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	for b := p[:n]; len(b) > 0; {
		if w.skip > 0 {
			k := min(w.skip, len(b))
			w.skip -= k
			b = b[k:]
			continue
		}
		k := copy(w.head[w.have:], b)
		b = b[k:]
		if w.have += k; w.have < len(w.head) {
			continue
		}
		w.have = 0
		w.skip = int(w.head[0])<<16 | int(w.head[1])<<8 | int(w.head[2])
		if w.head[3] == 7 { // GOAWAY
			w.goaway.Store(true)
		}
	}
	return n, err
}
