package listener

import (
	"context"
	"net"
	"sync"
)

// Tracked is a listener that counts its connections; see [Track].
type Tracked struct {
	net.Listener
	slots     chan struct{} // holds one per connection, or Accept on its way; nil = no limit
	closed    chan struct{}
	closeOnce sync.Once

	mu   sync.Mutex
	n    int
	idle chan struct{} // closed when n falls to 0; nil if nobody waits
}

// Track returns a listener that takes connections from ln and counts those that
// are still open. If max is positive, Accept waits while max connections are
// open; zero or negative means no limit.
//
// The connections embed the *net.TCPConn or *net.UnixConn they wrap, and so have
// all of its methods; NetConn() net.Conn returns it. Others are wrapped as
// net.Conn. A connection counts until its Close is called, however often.
func Track(ln net.Listener, max int) *Tracked {
	t := &Tracked{Listener: ln, closed: make(chan struct{})}
	if max > 0 {
		t.slots = make(chan struct{}, max)
	}
	return t
}

// Accept returns the next connection. It waits while the limit is reached; Close
// of t (not of the listener below it) ends that wait with an error that wraps
// [net.ErrClosed].
func (t *Tracked) Accept() (net.Conn, error) {
	if t.slots != nil {
		select {
		case t.slots <- struct{}{}:
		case <-t.closed:
			addr := t.Addr()
			return nil, &net.OpError{Op: "accept", Net: addr.Network(), Addr: addr, Err: net.ErrClosed}
		}
	}
	c, err := t.Listener.Accept()
	if err != nil {
		t.release()
		return nil, err
	}
	t.mu.Lock()
	t.n++
	t.mu.Unlock()
	return wrap(c, sync.OnceFunc(t.done)), nil
}

// Close closes the listener, not its connections.
func (t *Tracked) Close() error {
	t.closeOnce.Do(func() { close(t.closed) })
	return t.Listener.Close()
}

// Len returns the number of connections that are open.
func (t *Tracked) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n
}

// Wait returns nil as soon as no connection is open, or the cause of ctx's end.
// A connection that is accepted meanwhile counts: end the accept loop first.
func (t *Tracked) Wait(ctx context.Context) error {
	t.mu.Lock()
	if t.n == 0 {
		t.mu.Unlock()
		return nil
	}
	if t.idle == nil {
		t.idle = make(chan struct{})
	}
	idle := t.idle
	t.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// done takes one connection off the count.
func (t *Tracked) done() {
	t.mu.Lock()
	t.n--
	if t.n == 0 && t.idle != nil {
		close(t.idle)
		t.idle = nil
	}
	t.mu.Unlock()
	t.release()
}

// release gives a slot back.
func (t *Tracked) release() {
	if t.slots != nil {
		<-t.slots
	}
}

// wrap returns c with a Close that calls done. Embedding the concrete type, not
// net.Conn, keeps what servers look for: CloseWrite, SyscallConn, and ReadFrom,
// without which a file is not sent by sendfile(2).
func wrap(c net.Conn, done func()) net.Conn {
	switch c := c.(type) {
	case *net.TCPConn:
		return &tcpConn{c, done}
	case *net.UnixConn:
		return &unixConn{c, done}
	default:
		return &otherConn{c, done}
	}
}

type tcpConn struct {
	*net.TCPConn
	done func()
}

func (c *tcpConn) NetConn() net.Conn { return c.TCPConn }

func (c *tcpConn) Close() error {
	defer c.done()
	return c.TCPConn.Close()
}

type unixConn struct {
	*net.UnixConn
	done func()
}

func (c *unixConn) NetConn() net.Conn { return c.UnixConn }

func (c *unixConn) Close() error {
	defer c.done()
	return c.UnixConn.Close()
}

type otherConn struct {
	net.Conn
	done func()
}

func (c *otherConn) NetConn() net.Conn { return c.Conn }

func (c *otherConn) Close() error {
	defer c.done()
	return c.Conn.Close()
}
