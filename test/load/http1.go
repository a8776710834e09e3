package load

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"time"
)

const protoHTTP1 = "http/1.1"

// KeepAlive sends requests over one connection for as long as the server keeps
// it: POST /echo, and now and then GET /. An answer with Connection: close is
// an announcement, not a failure: the next request dials. It is for one
// goroutine.
type KeepAlive struct {
	Target Target
	Size   int // bytes in a POST; 0 = 64. The whole request is written before the answer is read, so keep it below a socket buffer
	Get    int // every Get-th request of a connection is GET /, the first one included; 0 = 10, < 0 = none

	// Look makes the client look whether the server has closed the connection
	// before it sends, as most client libraries do, and dial if so. Without, a
	// request sent on a connection that was closed is lost. Linux, macOS and
	// the BSDs; elsewhere each look is a failure that wraps errors.ErrUnsupported.
	Look bool

	conn *conn
}

// Do makes one request.
func (k *KeepAlive) Do() (o Outcome) {
	deadline := k.Target.deadline(0)
	if k.conn != nil && k.Look {
		closed, err := k.conn.closed()
		if err != nil {
			o.Failure = undialed(err)
			return o
		}
		if closed {
			o.IdleClosed = true
			k.Close()
		}
	}
	if k.conn == nil {
		if k.conn, o.Failure = open(&k.Target, deadline); o.Failure != nil {
			return o
		}
		o.Dialed = true
	}
	if !k.conn.exchange(&o, next(k.conn.answers, k.Get, k.Size), deadline) {
		k.Close()
	}
	return o
}

// Close closes the connection. Do would open another.
func (k *KeepAlive) Close() error {
	if k.conn == nil {
		return nil
	}
	err := k.conn.Close()
	k.conn = nil
	return err
}

// Fresh opens a connection for each POST /echo.
type Fresh struct {
	Target Target
	Size   int  // as KeepAlive's
	Get    bool // GET / instead
}

// Do makes one request.
func (f *Fresh) Do() Outcome {
	if f.Get {
		return once(&f.Target, who(), 0)
	}
	return once(&f.Target, echo(f.Size), 0)
}

// Slow asks for /sleep on a new connection: a request that is in hand for long.
type Slow struct {
	Target Target
	Sleep  time.Duration // 0 = 500 ms
}

// Do makes one request.
func (s *Slow) Do() Outcome {
	d := s.Sleep
	if d <= 0 {
		d = 500 * time.Millisecond
	}
	return once(&s.Target, sleep(d), d)
}

// Stream asks for /stream on a new connection. The answer may end early, but
// properly: the last line and the chunked encoding's terminator must be there.
type Stream struct {
	Target Target
	For    time.Duration // 0 = 5 s
}

// Do makes one request.
func (s *Stream) Do() Outcome {
	d := s.For
	if d <= 0 {
		d = 5 * time.Second
	}
	return once(&s.Target, stream(d), d)
}

// once makes a request on a connection of its own.
func once(t *Target, r *request, extra time.Duration) (o Outcome) {
	deadline := t.deadline(extra)
	c, f := open(t, deadline)
	if f != nil {
		o.Failure = f
		return o
	}
	defer c.Close()
	o.Dialed = true
	r.last = true
	c.exchange(&o, r, deadline)
	return o
}

// conn is a connection on which HTTP/1.1 or lines are spoken.
type conn struct {
	net.Conn
	br      *bufio.Reader
	host    string
	answers int
	pid     int       // the last one that said so
	written time.Time // when the last request was; zero: it is not yet
}

func open(t *Target, deadline time.Time) (*conn, *Failure) {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	nc, err := t.dial(ctx, protoHTTP1)
	if err != nil {
		return nil, undialed(err)
	}
	return &conn{Conn: nc, br: bufio.NewReader(nc), host: t.authority()}, nil
}

// closed reports whether an idle connection has ended. Bytes that nobody asked
// for count too: a TLS alert, or a server's parting words.
func (c *conn) closed() (bool, error) {
	if c.br.Buffered() > 0 {
		return true, nil
	}
	nc := c.Conn
	if tc, ok := nc.(interface{ NetConn() net.Conn }); ok { // *tls.Conn
		nc = tc.NetConn()
	}
	return readable(nc)
}

// exchange makes a request, notes in o how it went, and reports whether the
// connection can carry another.
func (c *conn) exchange(o *Outcome, r *request, deadline time.Time) (keep bool) {
	resp, body, f := c.roundTrip(r, deadline)
	if f == nil {
		o.Announced = resp.Close && !r.last
		f = r.judge(o, resp, body)
	}
	if o.PID != 0 {
		c.pid = o.PID
	}
	if f != nil {
		o.Failure = c.failed(f)
		return false
	}
	c.answers++
	return !resp.Close
}

// failed adds what is known about the connection.
func (c *conn) failed(f *Failure) *Failure {
	f.Reused, f.PID, f.Written = c.answers > 0, c.pid, c.written
	return f
}

func (c *conn) roundTrip(r *request, deadline time.Time) (*http.Response, []byte, *Failure) {
	c.SetDeadline(deadline)
	c.written = time.Time{}
	if _, err := c.Write(r.wire(c.host)); err != nil {
		return nil, nil, lost(err, false)
	}
	c.written = time.Now()
	if _, err := c.br.Peek(1); err != nil {
		return nil, nil, lost(err, false)
	}
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		return nil, nil, lost(err, true)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, nil, lost(err, true)
	}
	return resp, body, nil
}
