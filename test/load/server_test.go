package load_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gracerun/grace/test/load"
)

// service is what a good server answers. It counts requests.
type service struct{ requests atomic.Int64 }

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	d, _ := time.ParseDuration(r.FormValue("d"))
	switch r.URL.Path {
	case "/":
		fmt.Fprintln(w, "generation 7 pid 42")
	case "/echo":
		body, _ := io.ReadAll(r.Body) // whole: see http.ResponseWriter on reading after writing
		w.Write(body)
	case "/sleep":
		time.Sleep(d)
		fmt.Fprintln(w, "generation 7 pid 42")
	case "/stream":
		for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			fmt.Fprintln(w, "a line")
			w.(http.Flusher).Flush()
		}
	}
}

// good starts a server with the service. Its end waits until the clients have
// closed every connection themselves.
func good(t *testing.T, network string, secure bool) (load.Target, *service) {
	t.Helper()
	s := new(service)
	var open sync.WaitGroup
	srv := httptest.NewUnstartedServer(s)
	if network == "unix" {
		srv.Listener.Close()
		srv.Listener = listen(t, network)
	}
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetHTTP1(true)
	srv.Config.Protocols.SetHTTP2(true)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Done()
		}
	}
	target := load.Target{Network: network, Address: srv.Listener.Addr().String()}
	srv.EnableHTTP2 = secure
	if secure {
		srv.StartTLS()
		target.TLS = trust(srv)
	} else {
		srv.Start()
	}
	t.Cleanup(func() { open.Wait(); srv.Close() })
	return target, s
}

func trust(srv *httptest.Server) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	return &tls.Config{RootCAs: roots}
}

func listen(t *testing.T, network string) net.Listener {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// bad starts a server that leaves each connection to handle, and closes it
// afterwards.
func bad(t *testing.T, handle func(c net.Conn)) load.Target {
	t.Helper()
	ln := listen(t, "tcp")
	target := load.Target{Address: ln.Addr().String(), Timeout: 10 * time.Second}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				handle(c)
			})
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return target
}

// script returns a handler for bad: the n-th request of a connection is
// answered with the n-th text, in which a single %s stands for what was sent.
func script(answers ...string) func(net.Conn) {
	return func(c net.Conn) {
		br := bufio.NewReader(c)
		for _, a := range answers {
			body, ok := readRequest(br)
			if !ok {
				return
			}
			fmt.Fprintf(c, a, body)
		}
	}
}

func readRequest(br *bufio.Reader) (body string, ok bool) {
	r, err := http.ReadRequest(br)
	if err != nil {
		return "", false
	}
	b, err := io.ReadAll(r.Body)
	return string(b), err == nil
}

// reset makes the end of c a RST.
func reset(c net.Conn) { c.(*net.TCPConn).SetLinger(0) }

// fin closes c and returns when the other side has the FIN: with SO_LINGER,
// close(2) waits for its acknowledgement.
func fin(c *net.TCPConn) {
	c.SetLinger(5)
	c.Close()
}
