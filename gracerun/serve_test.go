package gracerun_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun"
)

// client returns one whose connections end with the test.
func client(t *testing.T, roots *x509.CertPool) *http.Client {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func get(t *testing.T, c *http.Client, url string) (proto, body string) {
	t.Helper()
	resp, err := c.Get(url)
	check(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	check(t, err)
	return resp.Proto, string(text)
}

// greeter answers with the request's path.
func greeter() *http.Server {
	return &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Path) })}
}

func TestPlainAndTLSOfOneServer(t *testing.T) {
	t.Parallel()
	certFile, keyFile, roots := certificate(t)
	app := gracerun.App{Linger: -1}
	srv := greeter()
	app.Serve("tcp", "127.0.0.1:0", srv)
	app.Serve("tcp", "127.0.0.1:0", gracerun.TLS(srv, certFile, keyFile))
	path := filepath.Join(t.TempDir(), "s")
	app.Serve("unix", path, srv)
	s := start(t, &app)
	c := client(t, roots)
	if proto, body := get(t, c, "http://"+s.bound(0)+"/plain"); proto != "HTTP/1.1" || body != "/plain" {
		t.Errorf("plain: %s %s", proto, body)
	}
	if proto, body := get(t, c, "https://"+s.bound(1)+"/tls"); proto != "HTTP/2.0" || body != "/tls" {
		t.Errorf("TLS: %s %s", proto, body)
	}
	conn, err := net.Dial("unix", path)
	check(t, err)
	fmt.Fprint(conn, "GET /unix HTTP/1.0\r\n\r\n")
	if text, err := io.ReadAll(conn); err != nil || string(text[len(text)-5:]) != "/unix" {
		t.Errorf("unix: %q, %v", text, err)
	}
	conn.Close()
	c.CloseIdleConnections()
	s.stop()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket file is still there: %v", err)
	}
}

// TestCertificates that are of no use end the start.
func TestCertificates(t *testing.T) {
	t.Parallel()
	certFile, keyFile, _ := certificate(t)
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	check(t, err)
	for name, c := range map[string]struct {
		cfg       *tls.Config
		cert, key string
		want      string
	}{
		"none":         {want: "no certificate"},
		"an empty cfg": {cfg: &tls.Config{}, want: "no certificate"},
		"no such file": {cert: certFile + ".not", key: keyFile, want: "no such file"},
		"swapped":      {cert: keyFile, key: certFile, want: "tcp 127.0.0.1:0: tls: "},
	} {
		var app gracerun.App
		app.Serve("tcp", "127.0.0.1:0", gracerun.TLS(&http.Server{TLSConfig: c.cfg}, c.cert, c.key))
		t.Log(name)
		expectAll(t, run(t, &app), c.want)
	}
	for _, cfg := range []*tls.Config{
		{Certificates: []tls.Certificate{pair}},
		{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &pair, nil }},
		{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil }},
	} {
		var app gracerun.App
		app.Serve("tcp", "127.0.0.1:0", gracerun.TLS(&http.Server{TLSConfig: cfg}, "", ""))
		start(t, &app).stop()
	}
}

// TestRequestInHand is answered in the drain, and its handler is told of it.
func TestRequestInHand(t *testing.T) {
	t.Parallel()
	began := make(chan struct{})
	type key struct{}
	srv := &http.Server{
		BaseContext: func(net.Listener) context.Context { return context.WithValue(context.Background(), key{}, "mine") },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(began)
			<-gracerun.Draining(r.Context())
			fmt.Fprint(w, r.Context().Value(key{}), " ", gracerun.UntilDrain(r.Context()).Err())
		}),
	}
	app := gracerun.App{Linger: -1}
	app.Serve("tcp", "127.0.0.1:0", srv)
	s := start(t, &app)
	go func() {
		<-began
		s.end()
	}()
	resp, err := client(t, nil).Get("http://" + s.bound(0))
	check(t, err)
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || string(body) != "mine context canceled" {
		t.Errorf("the answer: %q, %v", body, err)
	}
	s.stop()
}

// TestCutRequest: the deadline cuts what is in hand, and says so.
func TestCutRequest(t *testing.T) {
	t.Parallel()
	cause := make(chan error, 1)
	began := make(chan struct{})
	app := gracerun.App{DrainTimeout: 10 * time.Millisecond}
	app.Serve("tcp", "127.0.0.1:0", &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
		cause <- context.Cause(gracerun.ThroughDrain(r.Context()))
	})})
	s := start(t, &app)
	go func() {
		<-began
		s.end()
	}()
	if resp, err := client(t, nil).Get("http://" + s.bound(0)); err == nil {
		resp.Body.Close()
	}
	err := s.wait()
	expectAll(t, err, "tcp 127.0.0.1:0: 1")
	if !errors.Is(err, gracerun.ErrDrainTimeout) {
		t.Errorf("Run returned %v", err)
	}
	if err := <-cause; err != gracerun.ErrDrainTimeout {
		t.Errorf("the request ended with the cause %v", err)
	}
}

// echo is a ConnServer for lines, which says goodbye in a drain.
func echo(ctx context.Context, conn net.Conn) {
	take := gracerun.UntilDrain(ctx)
	defer context.AfterFunc(take, func() { conn.SetReadDeadline(time.Unix(1, 0)) })()
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		fmt.Fprintln(conn, lines.Text())
	}
	if take.Err() != nil {
		fmt.Fprintln(conn, "goodbye")
	}
}

// converse dials and has one line echoed.
func converse(t *testing.T, network, address, line string) (*bufio.Reader, net.Conn) {
	t.Helper()
	conn, err := net.Dial(network, address)
	check(t, err)
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintln(conn, line)
	r := bufio.NewReader(conn)
	if got, err := r.ReadString('\n'); err != nil || got != line+"\n" {
		t.Fatalf("said %q, heard %q, %v", line, got, err)
	}
	return r, conn
}

func TestConnServer(t *testing.T) {
	t.Parallel()
	var app gracerun.App
	path := filepath.Join(t.TempDir(), "s")
	srv := &gracerun.ConnServer{Handle: echo}
	app.Serve("tcp", "127.0.0.1:0", srv)
	app.Serve("unix", path, srv)
	s := start(t, &app)
	tcp, _ := converse(t, "tcp", s.bound(0), "over TCP")
	unix, _ := converse(t, "unix", path, "over a unix socket")
	if h := app.Status().InHand; len(h) != 1 || h[0].Count != 2 || h[0].Name != "tcp 127.0.0.1:0, unix "+path {
		t.Errorf("in hand: %+v", h)
	}
	s.end()
	for _, r := range []*bufio.Reader{tcp, unix} {
		if text, err := io.ReadAll(r); err != nil || string(text) != "goodbye\n" {
			t.Errorf("at the end: %q, %v", text, err)
		}
	}
	s.stop()
}

// TestMaxConns: at the limit the next connection waits, and is not lost.
func TestMaxConns(t *testing.T) {
	t.Parallel()
	var app gracerun.App
	var open, most atomic.Int32
	app.Serve("tcp", "127.0.0.1:0", gracerun.ConnServer{MaxConns: 2, Handle: func(ctx context.Context, conn net.Conn) {
		n := open.Add(1)
		defer open.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		echo(ctx, conn)
	}})
	s := start(t, &app)
	_, first := converse(t, "tcp", s.bound(0), "first")
	converse(t, "tcp", s.bound(0), "second")
	third, err := net.Dial("tcp", s.bound(0)) // the kernel takes it
	check(t, err)
	defer third.Close()
	fmt.Fprintln(third, "third")
	first.Close()
	if got, err := bufio.NewReader(third).ReadString('\n'); err != nil || got != "third\n" {
		t.Errorf("heard %q, %v", got, err)
	}
	s.stop()
	if n := most.Load(); n != 2 {
		t.Errorf("%d were open at once", n)
	}
}

// TestCutConnection: at the deadline it is closed under a handler that does
// not look at its context.
func TestCutConnection(t *testing.T) {
	t.Parallel()
	app := gracerun.App{DrainTimeout: 10 * time.Millisecond}
	causes := make(chan error, 1)
	app.Serve("tcp", "127.0.0.1:0", gracerun.ConnServer{Handle: func(ctx context.Context, conn net.Conn) {
		io.Copy(conn, conn)
		causes <- context.Cause(ctx)
	}})
	s := start(t, &app)
	converse(t, "tcp", s.bound(0), "hello")
	s.end()
	err := s.wait()
	expectAll(t, err, "tcp 127.0.0.1:0: 1")
	if cause := <-causes; !errors.Is(err, gracerun.ErrDrainTimeout) || cause != gracerun.ErrDrainTimeout {
		t.Errorf("Run returned %v, the cause was %v", err, cause)
	}
}

// TestConnServerAlone works outside an App, too.
func TestConnServerAlone(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	srv := gracerun.ConnServer{Handle: func(ctx context.Context, conn net.Conn) { io.Copy(conn, conn) }}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	_, conn := converse(t, "tcp", ln.Addr().String(), "hello")
	check(t, srv.Shutdown(t.Context()))
	ln.Close()
	select {
	case err := <-done:
		t.Errorf("Serve returned %v before its handler did", err)
	default:
	}
	conn.Close()
	check(t, <-done)
}

func TestFuncs(t *testing.T) {
	t.Parallel()
	var app gracerun.App
	srv := greeter()
	shut := make(chan error, 1)
	app.Serve("tcp", "127.0.0.1:0", gracerun.Funcs{ServeFunc: srv.Serve, ShutdownFunc: func(ctx context.Context) error {
		select {
		case <-gracerun.Draining(ctx):
		default:
			t.Error("shut down without a drain")
		}
		err := srv.Shutdown(ctx)
		shut <- err
		return err
	}})
	var accepted atomic.Int32 // without ShutdownFunc, closing the listener is all
	app.Serve("tcp", "127.0.0.1:0", gracerun.Funcs{ServeFunc: func(ln net.Listener) error {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return err
			}
			accepted.Add(1)
			conn.Close()
		}
	}})
	s := start(t, &app)
	c := client(t, nil)
	if _, body := get(t, c, "http://"+s.bound(0)+"/funcs"); body != "/funcs" {
		t.Errorf("the answer: %s", body)
	}
	c.CloseIdleConnections()
	conn, err := net.Dial("tcp", s.bound(1))
	check(t, err)
	io.ReadAll(conn)
	conn.Close()
	s.stop()
	if err := <-shut; err != nil || accepted.Load() != 1 {
		t.Errorf("Shutdown: %v; accepted: %d", err, accepted.Load())
	}
}

// TestServerStops: a server that returns while the service runs ends it.
func TestServerStops(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken pipe organ")
	for _, c := range []struct {
		err  error
		want string
	}{{broken, "server tcp 127.0.0.1:0 stopped: broken pipe organ"}, {nil, "its Serve returned"}} {
		var app gracerun.App
		stop := make(chan struct{})
		app.Serve("tcp", "127.0.0.1:0", gracerun.Funcs{ServeFunc: func(net.Listener) error { <-stop; return c.err }})
		s := start(t, &app)
		close(stop)
		err := s.wait()
		expectAll(t, err, "gracerun: ", c.want)
		if c.err != nil && !errors.Is(err, c.err) {
			t.Errorf("%v does not wrap %v", err, c.err)
		}
	}
}

// TestShutdownFails: what a server says when it ends is part of Run's error.
func TestShutdownFails(t *testing.T) {
	t.Parallel()
	var app gracerun.App
	failed := errors.New("half of it was lost")
	app.Serve("tcp", "127.0.0.1:0", gracerun.Funcs{
		ServeFunc:    func(ln net.Listener) error { _, err := ln.Accept(); return err },
		ShutdownFunc: func(context.Context) error { return failed },
	})
	s := start(t, &app)
	s.end()
	err := s.wait()
	expectAll(t, err, "tcp 127.0.0.1:0: half of it was lost")
	if !errors.Is(err, failed) {
		t.Errorf("%v does not wrap it", err)
	}
}

// answerPackets echoes packets until it is told to stop reading; the last
// answer is on its way then.
func answerPackets(c net.PacketConn) error {
	buf := make([]byte, 100)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return err
		}
		if _, err := c.WriteTo(buf[:n], from); err != nil {
			return err
		}
	}
}

func TestServePacket(t *testing.T) {
	t.Parallel()
	var app gracerun.App
	late := make(chan error, 1)
	server := make(chan net.PacketConn, 1)
	app.ServePacket("udp", "127.0.0.1:0", gracerun.PacketFuncs{
		ServeFunc: func(c net.PacketConn) error {
			if _, ok := c.(*net.UDPConn); !ok {
				t.Errorf("it got a %T", c)
			}
			server <- c
			return answerPackets(c)
		},
		ShutdownFunc: func(context.Context) error {
			c := <-server
			_, err := c.WriteTo([]byte("late"), c.LocalAddr())
			late <- err
			return nil
		},
	})
	path := filepath.Join(t.TempDir(), "s")
	app.ServePacket("unixgram", path, gracerun.PacketFuncs{ServeFunc: func(c net.PacketConn) error {
		if _, ok := c.(*net.UnixConn); !ok {
			t.Errorf("it got a %T", c)
		}
		return answerPackets(c)
	}})
	s := start(t, &app)
	mine := filepath.Join(t.TempDir(), "c")
	for _, d := range []struct {
		net.Dialer
		network, address string
	}{
		{net.Dialer{}, "udp", s.bound(0)},
		{net.Dialer{LocalAddr: &net.UnixAddr{Name: mine, Net: "unixgram"}}, "unixgram", path},
	} {
		conn, err := d.Dial(d.network, d.address)
		check(t, err)
		fmt.Fprint(conn, "hello")
		buf := make([]byte, 10)
		if n, err := conn.Read(buf); err != nil || string(buf[:n]) != "hello" {
			t.Errorf("%s: %q, %v", d.network, buf[:n], err)
		}
		conn.Close()
	}
	s.stop()
	if err := <-late; err != nil {
		t.Errorf("an answer in the drain: %v", err)
	}
}
