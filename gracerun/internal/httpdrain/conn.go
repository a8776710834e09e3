package httpdrain

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// silence is what a connection that has not asked for anything yet gets on top of the linger time.
// net/http's Shutdown grants it the same (golang/go#22682).
const silence = 5 * time.Second

// phase is where a connection stands. It is finer than [http.ConnState], which says idle until the whole
// header of a request has been parsed.
type phase int

const (
	fresh    phase = iota // nothing has been asked for yet
	active                // bytes of a request have arrived, and it is not answered yet
	idle                  // between requests
	hijacked              // a handler's own
)

// A conn watches one connection, from below TLS. It overrides what it needs to see of it.
type conn struct {
	s   *Server
	raw net.Conn
	tls bool // what is read is TLS records

	// busy: an HTTP/1 request is in hand. Until its answer is complete there is nothing to note or to judge, and
	// mu, which would be taken ten times for each request, is left alone.
	busy atomic.Bool

	mu       sync.Mutex
	phase    phase
	early    bool // active: the last read was net/http's look beyond the request, and it has a byte of the next
	polled   bool // idle: the wait for the next request has begun
	foreign  bool // speaks a protocol of the caller's: not ours to end
	framed   *framedConn
	deadline time.Time   // the read deadline that was asked for, unless busy
	timer    *time.Timer // calls expire; nil until the first arm
	due      time.Time   // when the time to linger is over
	expired  bool        // it is: raw's read deadline has passed so that the reader wakes up and judges
	ended    bool        // judged, or closed
}

// follows reports whether bytes say that a request is on its way, which they do in HTTP/1 only.
func (c *conn) follows() bool { return c.framed == nil && !c.foreign }

// Read reads and judges. The decision that an idle connection has had its time is taken here and not where the
// timer fires, since only the reader knows that nothing has been read that net/http is still to look at.
func (c *conn) Read(p []byte) (int, error) {
	for {
		n, err := c.raw.Read(p)
		if n > 0 {
			c.received(len(p) == 1)
			return n, err
		}
		if c.busy.Load() || !errors.Is(err, os.ErrDeadlineExceeded) || c.isFramed() {
			return n, err // HTTP/2 judges at the boundary of a frame, see framedConn
		}
		switch c.judge(true) {
		case notDue:
			return n, err
		case retire:
			return 0, io.EOF
		}
	}
}

// received notes that bytes have arrived; single means that just one was asked for. net/http does that while a
// handler runs, to see whether the client is still there, and keeps what it gets for the next request.
func (c *conn) received(single bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.early = single
	switch {
	case !c.follows() || c.phase == active || c.phase == hijacked:
	case c.phase == fresh && c.tls:
		// The handshake or a request, which cannot be told apart from here: go by the silence after it.
		if c.s.draining.Load() {
			c.arm()
		}
	default:
		c.become(active)
	}
}

// SetReadDeadline keeps t in mind while the deadline is used to wake the reader.
//
// It also tells what bytes cannot: net/http sets the deadline of the wait for the next request, waits until
// there is something of it, and sets the deadline for reading it. The second time, a request is on its way
// even if it was pipelined and came out of a buffer above.
func (c *conn) SetReadDeadline(t time.Time) error {
	if c.busy.Load() {
		return c.raw.SetReadDeadline(t) // net/http sets it anew when the connection is idle
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	if c.phase == idle && c.follows() {
		if c.polled {
			c.become(active)
		}
		c.polled = true
	}
	if c.expired {
		return nil
	}
	return c.raw.SetReadDeadline(t)
}

// SetDeadline sets both deadlines.
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.raw.SetWriteDeadline(t))
}

// Close closes the connection. It is what ends the watch over a hijacked one.
func (c *conn) Close() error {
	err := c.raw.Close()
	c.mu.Lock()
	taken := c.phase == hijacked
	c.mu.Unlock()
	if taken {
		c.s.forget(c)
	}
	return err
}

// NetConn returns the genuine connection.
func (c *conn) NetConn() net.Conn { return c.raw }

// enter is called as net/http reports a new state.
func (c *conn) enter(p phase) {
	if p == active && c.busy.Load() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if p == idle && c.early && c.follows() {
		return // the next request is on its way already
	}
	c.become(p)
	if p == idle && c.s.draining.Load() {
		c.arm()
	}
}

// become sets the phase. c.mu is held.
func (c *conn) become(p phase) {
	c.phase, c.polled = p, false
	c.busy.Store(p == active && c.follows())
	if c.expired {
		c.expired = false
		c.raw.SetReadDeadline(c.deadline)
	}
}

// drain begins to count the time that the connection may still linger.
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.arm()
	if f := c.framed; f != nil {
		c.s.goaways.Go(f.announce) // not here: it may have to wait for a client that does not read
	}
}

// arm starts the time to linger anew if the connection has nothing to do. c.mu is held.
func (c *conn) arm() {
	if c.foreign || c.ended {
		return
	}
	wait := c.s.linger
	switch c.phase {
	case active, hijacked:
		return
	case fresh:
		wait += silence
	}
	c.due = time.Now().Add(wait)
	if c.timer == nil {
		c.timer = time.AfterFunc(wait, c.expire)
	} else {
		c.timer.Reset(wait)
	}
}

// expire wakes the reader, which then judges. It does nothing when the timer was late for a new start.
func (c *conn) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || c.phase == active || c.phase == hijacked || time.Now().Before(c.due) {
		return
	}
	c.expired = true
	c.raw.SetReadDeadline(time.Unix(1, 0))
}

type verdict int

const (
	notDue  verdict = iota // the read timed out for a reason of the upper layer's
	carryOn                // something has come after all: read on
	retire                 // the connection has had its time
)

// judge decides about a connection whose read has timed out. This is the one place where it is settled what
// becomes of an idle connection in a drain. The caller is its reader; boundary means that nothing
// has been read of what comes next.
func (c *conn) judge(boundary bool) verdict {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.expired {
		return notDue
	}
	c.expired = false
	c.raw.SetReadDeadline(c.deadline)
	quiet := c.phase == fresh || c.phase == idle && boundary
	if !quiet || pending(c.raw) {
		if c.framed != nil {
			c.arm() // the bytes need not be a request; there may be no other occasion
		}
		return carryOn
	}
	c.ended = true
	c.s.expired.Add(1)
	if w, ok := c.raw.(interface{ CloseWrite() error }); ok && !c.tls && c.framed == nil {
		// Now, not some scheduling later in net/http's Close: a request that crosses this FIN
		// on its way is lost to a client that looked before it sent (RFC 9112, section 9.5).
		w.CloseWrite()
	}
	return retire
}

// end stops the timer and reports what forget must know.
func (c *conn) end() (taken, foreign bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.timer != nil {
		c.timer.Stop()
	}
	return c.phase == hijacked, c.foreign
}

func (c *conn) isFramed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.framed != nil
}

// The methods of *conn must win over those of the connection it watches, and all others must show through:
// net/http looks for ReadFrom (sendfile) and CloseWrite. In Go the shallower embedded method wins.
// *net.TCPConn and *net.UnixConn have Read, Close and the deadlines one level down, by an
// embedding of their own; what they declare themselves does not meet a method of *conn.
type (
	tcpConn struct {
		*conn
		*net.TCPConn
	}
	unixConn struct {
		*conn
		*net.UnixConn
	}
	otherConn struct {
		*conn
		deeper
	}
	deeper struct{ net.Conn }
)

func (c *conn) wrap() net.Conn {
	switch raw := c.raw.(type) {
	case *net.TCPConn:
		return &tcpConn{c, raw}
	case *net.UnixConn:
		return &unixConn{c, raw}
	}
	return &otherConn{c, deeper{c.raw}}
}

// watched is implemented by our connections.
type watched interface {
	watched() (c *conn, genuine net.Conn)
}

func (c *conn) watched() (*conn, net.Conn) { return c, c.raw }

// lookup returns the watch over a connection that net/http speaks of, nil if there is none,
// and the connection that a user of net/http knows.
func lookup(nc net.Conn) (*conn, net.Conn) {
	switch nc := nc.(type) {
	case watched:
		return nc.watched()
	case *tls.Conn:
		if w, ok := nc.NetConn().(watched); ok {
			c, _ := w.watched()
			return c, nc
		}
	}
	return nil, nc
}
