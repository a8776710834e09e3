//lint:file-ignore SA1019 What is deprecated is used by callers still.

package httpdrain_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/gracerun/grace/gracerun/internal/httpdrain"
)

func TestCutNamesWhatWasLeft(t *testing.T) {
	t.Parallel()
	entered, cut := make(chan struct{}, 2), make(chan struct{})
	mux := http.NewServeMux()
	mux.Handle("/", handler())
	mux.HandleFunc("/stuck", func(_ http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-cut // deaf to its context
	})
	srv := &http.Server{Handler: mux, ErrorLog: discard()}
	d := httpdrain.New(srv, httpdrain.Options{Linger: time.Hour})
	ln := listen(t)
	var serving sync.WaitGroup
	serving.Go(func() { d.Serve(ln) })

	dial := dialer(ln.Addr().String(), nil)
	var conns []net.Conn
	for _, request := range []string{
		"", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
		"GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n", "GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /talk HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		nc, r, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		conns = append(conns, nc)
		io.WriteString(nc, request)
		switch {
		case strings.Contains(request, "stuck"):
			<-entered
		case request != "":
			if _, err := http.ReadResponse(r, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := httpdrain.Stats{New: 1, Active: 2, Idle: 1, Hijacked: 1}
	waitFor(t, func() bool { return d.Stats() == want })

	cause := errors.New("out of time")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	err := d.Drain(ctx)
	ce, ok := errors.AsType[*httpdrain.CutError](err)
	if !ok || ce.Cut != want || !errors.Is(err, cause) {
		t.Errorf("Drain: %v (%+v), want %+v", err, ce, want)
	}
	const text = "drain cut short, connections closed: 2 active, 1 hijacked, 1 idle, 1 new: out of time"
	if err.Error() != text {
		t.Errorf("got  %q\nwant %q", err, text)
	}
	serving.Wait()
	for i, nc := range conns {
		nc.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.Copy(io.Discard, nc); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("connection %d is still open", i)
		}
	}
	close(cut)
	waitFor(t, func() bool { return d.Stats().Total() == 0 })
}

// waitFor waits for what has no event: net/http reports a state after the answer has been sent.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(limit) {
			t.Fatal("waited in vain")
		}
		<-time.After(time.Millisecond)
	}
}

func TestServeAfterDrain(t *testing.T) {
	t.Parallel()
	d := httpdrain.New(&http.Server{}, httpdrain.Options{})
	for range 2 {
		if err := d.Drain(t.Context()); err != nil {
			t.Errorf("Drain: %v", err)
		}
	}
	ln := listen(t)
	if err := d.Serve(ln); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is open: %v", err)
	}
}

func TestServeReportsOtherEnds(t *testing.T) {
	t.Parallel()
	d := httpdrain.New(&http.Server{}, httpdrain.Options{})
	if err := d.ServeTLS(listen(t), "no such file", "no such file"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("ServeTLS: %v", err)
	}
	srv := &http.Server{}
	d = httpdrain.New(srv, httpdrain.Options{})
	srv.Close()
	if err := d.Serve(listen(t)); !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Serve after Close: %v", err)
	}
}

// slyListener accepts a connection and delivers it only when it has been closed.
type slyListener struct {
	net.Listener
	accepted chan struct{}
	closed   chan struct{}
	once     sync.Once
}

func (l *slyListener) Accept() (nc net.Conn, err error) {
	nc, err = l.Listener.Accept()
	if err == nil {
		l.once.Do(func() { close(l.accepted) })
		<-l.closed
	}
	return nc, err
}

func (l *slyListener) Close() error {
	err := l.Listener.Close()
	close(l.closed) // panics if it is closed twice
	return err
}

// TestPulledConnection has a client whose connection only reaches the server in the drain. For HTTP/2 it is net/http's,
// whose first request must not meet the GOAWAY before it has been sent.
func TestPulledConnection(t *testing.T) {
	t.Parallel()
	for _, proto := range []string{"http1", "h2"} {
		srv := &http.Server{Handler: handler(), TLSConfig: serverTLS(), Protocols: protocols(proto), ErrorLog: discard()}
		d := httpdrain.New(srv, httpdrain.Options{Linger: time.Second})
		ln := &slyListener{Listener: listen(t), accepted: make(chan struct{}), closed: make(chan struct{})}
		served := make(chan error, 1)
		go func() { served <- d.ServeTLS(ln, "", "") }()
		answered := make(chan error, 1)
		go func() {
			tr := &http.Transport{Protocols: protocols(proto), TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
			defer tr.CloseIdleConnections()
			resp, err := tr.RoundTrip(postOnce("https://" + ln.Addr().String()))
			if err == nil {
				err = expect(resp.Body, "ok")
				resp.Body.Close()
			}
			answered <- err
		}()
		<-ln.accepted
		if err := d.Drain(t.Context()); err != nil {
			t.Errorf("%s: Drain: %v", proto, err)
		}
		if err := <-served; err != nil {
			t.Errorf("%s: Serve: %v", proto, err)
		}
		if err := <-answered; err != nil {
			t.Errorf("%s: %v", proto, err)
		}
	}
}

func postOnce(url string) *http.Request {
	req, err := http.NewRequest("POST", url, io.NopCloser(strings.NewReader("hello")))
	if err != nil {
		panic(err)
	}
	return req
}

// TestFarewellOverTCP: an idle HTTP/2 connection is told what the last stream was before it ends. The pipes of
// the other tests have no half that could be closed too early.
func TestFarewellOverTCP(t *testing.T) {
	t.Parallel()
	d := httpdrain.New(&http.Server{Handler: handler(), Protocols: protocols("h2c")}, httpdrain.Options{Linger: 50 * time.Millisecond})
	ln := listen(t)
	served := make(chan error, 1)
	go func() { served <- d.Serve(ln) }()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	f := newFramer(t, nc)
	f.get(1)
	for d.Stats().Idle == 0 {
		runtime.Gosched()
	}
	if err := d.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	<-f.done
	if n := len(f.goaways); n != 2 || f.goaways[0].last != 1<<31-1 || f.goaways[1].last != 1 {
		t.Errorf("GOAWAYs %v", f.goaways)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestShutdownHooksEndHijacked registers what closes a WebSocket where net/http says it should be.
func TestShutdownHooksEndHijacked(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		bye := make(chan struct{})
		srv := &http.Server{TLSConfig: serverTLS(), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			nc, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			if _, ok := nc.(interface{ NetConn() net.Conn }).NetConn().(*net.TCPConn); !ok && !secure {
				t.Errorf("not a wrapper of a *net.TCPConn: %T", nc)
			}
			io.WriteString(nc, "hello\n")
			go func() {
				<-bye
				io.WriteString(nc, "bye\n")
				nc.Close()
			}()
		})}
		srv.RegisterOnShutdown(func() { close(bye) })
		d := httpdrain.New(srv, httpdrain.Options{})
		ln := listen(t)
		dial := dialer(ln.Addr().String(), nil)
		if secure {
			go d.ServeTLS(ln, "", "")
			dial = dialer(ln.Addr().String(), []string{"http/1.1"})
		} else {
			go d.Serve(ln)
		}
		nc, r, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		io.WriteString(nc, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if line, err := r.ReadString('\n'); line != "hello\n" {
			t.Fatal(line, err)
		}
		if err := d.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		if line, err := r.ReadString('\n'); line != "bye\n" {
			t.Error(line, err)
		}
	}
}

// TestOwnHTTP2 leaves the caller's HTTP/2 server alone; Shutdown drains it.
func TestOwnHTTP2(t *testing.T) {
	t.Parallel()
	srv := &http.Server{Handler: handler(), TLSConfig: serverTLS()}
	if err := http2.ConfigureServer(srv, nil); err != nil {
		t.Fatal(err)
	}
	d := httpdrain.New(srv, httpdrain.Options{})
	ln := listen(t)
	go d.ServeTLS(ln, "", "")
	tr := &http2.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(postOnce("https://" + ln.Addr().String() + "/long"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if st := d.Stats(); st.HTTP2 != 0 || st.Active != 1 {
		t.Errorf("%+v", st)
	}
	drained := make(chan error, 1)
	go func() { drained <- d.Drain(t.Context()) }()
	if err := expect(resp.Body, "ok"); err != nil {
		t.Error(err)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// TestNoHTTP2 checks that what net/http takes for "no HTTP/2" is respected, and that its TLSConfig is not touched.
func TestNoHTTP2(t *testing.T) {
	t.Parallel()
	type protos = map[string]func(*http.Server, *tls.Conn, http.Handler)
	for _, srv := range []*http.Server{{TLSNextProto: protos{}}, {Protocols: protocols("http1")}} {
		srv.TLSConfig = serverTLS()
		d := httpdrain.New(srv, httpdrain.Options{})
		ln := listen(t)
		go d.ServeTLS(ln, "", "")
		nc, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		if p := nc.ConnectionState().NegotiatedProtocol; p != "http/1.1" {
			t.Errorf("negotiated %q", p)
		}
		nc.Close()
		if err := d.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		if srv.TLSConfig.NextProtos != nil {
			t.Errorf("TLSConfig has got %q", srv.TLSConfig.NextProtos)
		}
	}
}

type ctxKey string

// TestHooks checks that the caller's hooks are called as net/http calls them.
func TestHooks(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		var (
			mu     sync.Mutex
			states []string
		)
		ln := listen(t)
		genuine := func(nc net.Conn) {
			_, plain := nc.(*net.TCPConn)
			_, tls := nc.(*tls.Conn)
			if !plain && !tls || tls != secure {
				t.Errorf("a hook sees a %T", nc)
			}
		}
		srv := &http.Server{
			TLSConfig: serverTLS(),
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for _, key := range []ctxKey{"base", "derived", "conn"} {
					fmt.Fprint(w, r.Context().Value(key))
				}
			}),
			BaseContext: func(l net.Listener) context.Context {
				if _, ok := l.(*net.TCPListener); !ok && !secure {
					t.Errorf("BaseContext sees a %T", l)
				}
				return context.WithValue(t.Context(), ctxKey("base"), 1)
			},
			ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
				genuine(nc)
				return context.WithValue(ctx, ctxKey("conn"), 3)
			},
			ConnState: func(nc net.Conn, s http.ConnState) {
				genuine(nc)
				mu.Lock()
				defer mu.Unlock()
				states = append(states, s.String())
			},
		}
		d := httpdrain.New(srv, httpdrain.Options{Context: func(ctx context.Context) context.Context {
			return context.WithValue(ctx, ctxKey("derived"), ctx.Value(ctxKey("base")).(int)+1)
		}})
		serve, url, proto := d.Serve, "http://"+ln.Addr().String(), "http1"
		want := []string{"new", "active", "idle", "closed"}
		if secure {
			serve, url, proto = func(ln net.Listener) error { return d.ServeTLS(ln, "", "") }, "https://"+ln.Addr().String(), "h2"
			want = []string{"new", "active", "idle", "active", "idle", "closed"} // the first two are for the preface
		}
		go serve(ln)
		tr := &http.Transport{Protocols: protocols(proto), TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
		resp, err := tr.RoundTrip(postOnce(url))
		if err != nil {
			t.Fatal(err)
		}
		if err := expect(resp.Body, "123"); err != nil {
			t.Error(err)
		}
		resp.Body.Close()
		if err := d.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		tr.CloseIdleConnections()
		if !slices.Equal(states, want) {
			t.Errorf("states %q, want %q", states, want)
		}
	}
}

// spy counts how a file is read.
type spy struct {
	*os.File
	reads int
}

func (s *spy) Read(p []byte) (int, error) {
	s.reads++
	return s.File.Read(p)
}

// WriteTo must not be seen: io.Copy would prefer it.
func (s *spy) WriteTo() {}

func TestSendfile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := &spy{File: f}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1048576")
		w.Header().Set("Content-Type", "application/octet-stream") // so that net/http need not look
		io.Copy(w, s)
	})}
	d := httpdrain.New(srv, httpdrain.Options{})
	ln := listen(t)
	go d.Serve(ln)
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(postOnce("http://" + ln.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, resp.Body); n != 1<<20 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	resp.Body.Close()
	if err := d.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	if s.reads > 2 {
		t.Errorf("the file was read %d times instead of being sent", s.reads)
	}
}

// TestUnixSocket serves what is not TCP, and the default mux.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	d := httpdrain.New(&http.Server{}, httpdrain.Options{})
	go d.Serve(ln)
	nc, err := net.Dial("unix", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	io.WriteString(nc, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if resp, err := http.ReadResponse(bufio.NewReader(nc), nil); err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("%v, %v", resp, err)
	}
	if err := d.Drain(t.Context()); err != nil {
		t.Error(err)
	}
}
