package listener_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gracerun/grace/listener"
)

// A pipeListener accepts in-memory connections.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{make(chan net.Conn), make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.closed); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

func (l *pipeListener) dial() {
	c, _ := net.Pipe()
	l.conns <- c
}

// acceptAll accepts until an error.
func acceptAll(ln net.Listener) (accepted chan net.Conn, ended chan error) {
	accepted, ended = make(chan net.Conn), make(chan error)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- c
		}
	}()
	return accepted, ended
}

func TestTrackLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pl := newPipeListener()
		ln := listener.Track(pl, 2)
		accepted, ended := acceptAll(ln)
		for range 3 {
			go pl.dial()
		}
		first := <-accepted
		<-accepted
		synctest.Wait()
		select {
		case <-accepted:
			t.Fatal("accepted a third connection")
		default:
		}
		first.Close()
		first.Close()
		<-accepted
		if n := ln.Len(); n != 2 {
			t.Errorf("Len = %d, want 2", n)
		}
		synctest.Wait() // at the limit again
		ln.Close()
		var op *net.OpError
		if err := <-ended; !errors.As(err, &op) || !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept after Close: %v", err)
		}
	})
}

func TestTrackWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pl := newPipeListener()
		ln := listener.Track(pl, 0)
		if err := ln.Wait(t.Context()); err != nil {
			t.Errorf("Wait without connections: %v", err)
		}
		accepted, ended := acceptAll(ln)
		var conns []net.Conn
		for range 3 {
			pl.dial()
			conns = append(conns, <-accepted)
		}
		ln.Close()
		<-ended
		late := errors.New("late")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(late)
		if err := ln.Wait(ctx); err != late {
			t.Errorf("Wait = %v, want the cause", err)
		}
		waited := make(chan error, 2)
		for range cap(waited) {
			go func() { waited <- ln.Wait(t.Context()) }()
		}
		for _, c := range conns {
			synctest.Wait()
			if len(waited) > 0 {
				t.Fatal("Wait returned early")
			}
			c.Close()
		}
		for range cap(waited) {
			if err := <-waited; err != nil {
				t.Errorf("Wait = %v", err)
			}
		}
	})
}

// TestTrackFailedAccept wants the place of a failed Accept to be free again.
func TestTrackFailedAccept(t *testing.T) {
	t.Parallel()
	inner, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ln := listener.Track(inner, 1)
	defer ln.Close()
	inner.SetDeadline(time.Now())
	for range 2 {
		if _, err := ln.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Accept = %v", err)
		}
	}
}

// trackedPair returns a client and the tracked connection it has.
func trackedPair(t *testing.T, network, address string) (client, server net.Conn, ln *listener.Tracked) {
	t.Helper()
	inner, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	ln = listener.Track(inner, -1)
	t.Cleanup(func() { ln.Close() })
	client, err = net.Dial(network, ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	server, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return client, server, ln
}

func TestTrackedTCP(t *testing.T) {
	t.Parallel()
	client, server, ln := trackedPair(t, "tcp", "127.0.0.1:0")
	if _, ok := server.(interface {
		io.ReaderFrom
		SetLinger(int) error
	}); !ok {
		t.Errorf("%T lacks methods of *net.TCPConn", server)
	}
	testTracked(t, client, server, ln)
}

func TestTrackedUnix(t *testing.T) {
	t.Parallel()
	client, server, ln := trackedPair(t, "unix", filepath.Join(t.TempDir(), "s"))
	if _, ok := server.(interface {
		ReadMsgUnix(b, oob []byte) (n, oobn, flags int, addr *net.UnixAddr, err error)
	}); !ok {
		t.Errorf("%T lacks methods of *net.UnixConn", server)
	}
	testTracked(t, client, server, ln)
}

// testTracked uses what both kinds of connection have.
func testTracked(t *testing.T, client, server net.Conn, ln *listener.Tracked) {
	t.Helper()
	tracked, ok := server.(interface {
		syscall.Conn
		CloseWrite() error
		NetConn() net.Conn
	})
	if !ok {
		t.Fatalf("%T lacks methods", server)
	}
	if inner := tracked.NetConn(); inner == server || inner.RemoteAddr() != server.RemoteAddr() {
		t.Errorf("NetConn = %v", inner)
	}
	if err := tracked.CloseWrite(); err != nil {
		t.Error(err)
	}
	if n, err := client.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("after CloseWrite: %d, %v", n, err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if err := server.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
	if ln.Len() != 0 {
		t.Errorf("Len = %d", ln.Len())
	}
}
