//go:build unix

//lint:file-ignore SA1019 The transport of x/net does not fail a request that it has not sent.

package httpdrain_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/gracerun/internal/httpdrain"
)

// In these tests generations of a service follow each other while clients that never retry keep asking. The
// generations share the kernel's sockets, as processes would.

const (
	handovers = 12
	interval  = 100 * time.Millisecond
	linger    = 500 * time.Millisecond
)

// A tally counts what one kind of client has met.
type tally struct {
	ok, failed atomic.Int64
	first      sync.Once
	err        error
}

func (t *tally) add(err error) {
	if err == nil {
		t.ok.Add(1)
		return
	}
	t.failed.Add(1)
	t.first.Do(func() { t.err = err })
}

type address struct{ plain, tls string }

// A client asks until stop is closed, and reports each request.
type client func(stop <-chan struct{}, to address, report func(error))

var clients = []struct {
	name string
	n    int
	run  client
}{
	{"keep-alive POST", 8, func(stop <-chan struct{}, to address, report func(error)) {
		keepAlive(stop, dialer(to.plain, nil), 20*time.Millisecond, false, report)
	}},
	{"keep-alive POST, looks for FIN", 8, func(stop <-chan struct{}, to address, report func(error)) {
		keepAlive(stop, dialer(to.plain, nil), 2*linger, true, report)
	}},
	{"TLS keep-alive POST", 4, func(stop <-chan struct{}, to address, report func(error)) {
		keepAlive(stop, dialer(to.tls, []string{"http/1.1"}), 20*time.Millisecond, false, report)
	}},
	{"fresh POST", 4, func(stop <-chan struct{}, to address, report func(error)) {
		for !stopped(stop) {
			report(freshPost(to.plain))
		}
	}},
	{"HTTP/2", 8, func(stop <-chan struct{}, to address, report func(error)) {
		streams(stop, 8, "https://"+to.tls+"/", report)
	}},
	{"h2c", 2, func(stop <-chan struct{}, to address, report func(error)) {
		streams(stop, 8, "http://"+to.plain+"/", report)
	}},
	{"HTTP/2 long stream", 1, func(stop <-chan struct{}, to address, report func(error)) {
		streams(stop, 4, "https://"+to.tls+"/long", report)
	}},
	{"hijack", 2, func(stop <-chan struct{}, to address, report func(error)) {
		for !stopped(stop) {
			report(talk(to.plain))
		}
	}},
}

// Not parallel, nor is the next: they want the machine for themselves.
func TestHandoverLosesNothing(t *testing.T) {
	tallies, late := generations(t, func(ctx context.Context, d *httpdrain.Server, _ *http.Server) error {
		return d.Drain(ctx)
	})
	for i, c := range clients {
		n, failed := tallies[i].ok.Load(), tallies[i].failed.Load()
		t.Logf("%-32s %6d requests, %d failed", c.name, n, failed)
		if failed > 0 {
			t.Errorf("%s: %d requests failed: %v", c.name, failed, tallies[i].err)
		}
		if n == 0 {
			t.Errorf("%s: no request at all", c.name)
		}
	}
	for _, err := range late {
		t.Errorf("Drain: %v", err)
	}
}

// TestShutdownLosesRequests proves that the clients above would notice.
func TestShutdownLosesRequests(t *testing.T) {
	tallies, _ := generations(t, func(ctx context.Context, _ *httpdrain.Server, srv *http.Server) error {
		return srv.Shutdown(ctx)
	})
	var failed int64
	for i, c := range clients {
		n := tallies[i].failed.Load()
		t.Logf("%-32s %6d requests, %d failed", c.name, tallies[i].ok.Load(), n)
		failed += n
	}
	if failed == 0 {
		t.Error("no request failed with plain Shutdown: these clients would not see a loss")
	}
}

// generations runs the clients through a number of hand-overs and returns the errors of leave too.
func generations(t *testing.T, leave func(context.Context, *httpdrain.Server, *http.Server) error) ([]tally, []error) {
	plain, secure := listen(t), listen(t)
	to := address{plain.Addr().String(), secure.Addr().String()}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()

	var (
		mu   sync.Mutex
		errs []error
		gens sync.WaitGroup
	)
	start := func() (stop func()) {
		srv := &http.Server{Handler: handler(), Protocols: protocols("http1", "h2", "h2c"), TLSConfig: serverTLS(), ErrorLog: discard()}
		d := httpdrain.New(srv, httpdrain.Options{Linger: linger})
		gens.Go(func() { d.Serve(dup(t, plain)) })
		gens.Go(func() { d.ServeTLS(dup(t, secure), "", "") })
		return func() {
			gens.Go(func() {
				if err := leave(ctx, d, srv); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			})
		}
	}

	current := start()
	done := make(chan struct{})
	tallies := make([]tally, len(clients))
	var asking sync.WaitGroup
	for i, c := range clients {
		for range c.n {
			asking.Go(func() { c.run(done, to, tallies[i].add) })
		}
	}
	for range handovers {
		<-time.After(interval)
		next := start()
		current()
		current = next
	}
	close(done)
	asking.Wait()
	current()
	gens.Wait()
	return tallies, errs
}

// keepAlive posts on one connection until it is told that it will be closed.
func keepAlive(stop <-chan struct{}, dial dial, think time.Duration, looks bool, report func(error)) {
	for !stopped(stop) {
		nc, r, err := dial()
		if err != nil {
			report(err)
			return
		}
		for again := true; again && !stopped(stop); {
			again, err = post(nc, r)
			report(err)
			if !again {
				break
			}
			answered := time.Now()
			<-time.After(rand.N(think))
			if looks {
				again = !finished(nc)
			} else { // on a machine that is busy it gives up before the server does
				again = time.Since(answered) < linger/2
			}
		}
		nc.Close()
	}
}

func freshPost(addr string) error {
	nc, r, err := dialer(addr, nil)()
	if err != nil {
		return err
	}
	defer nc.Close()
	_, err = post(nc, r)
	return err
}

// finished looks for FIN, as careful clients do before they send.
func finished(nc net.Conn) bool {
	rc, err := nc.(syscall.Conn).SyscallConn()
	if err != nil {
		return true
	}
	end := false
	rc.Control(func(fd uintptr) {
		n, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		end = n == 0 && err == nil
	})
	return end
}

// streams posts bodies that cannot be sent twice, n at a time. It uses the transport of x/net: net/http's
// fails a request that it has not sent yet when a GOAWAY overtakes it ("cannot rewind body").
func streams(stop <-chan struct{}, n int, url string, report func(error)) {
	tr := &http2.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	if strings.HasPrefix(url, "http:") {
		tr.AllowHTTP = true
		tr.DialTLSContext = func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		}
	}
	defer tr.CloseIdleConnections()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for !stopped(stop) {
				report(postStream(tr, url))
			}
		})
	}
	wg.Wait()
}

func postStream(tr http.RoundTripper, url string) error {
	resp, err := (&http.Client{Transport: tr}).Post(url, "text/plain", io.NopCloser(strings.NewReader("hello")))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.ProtoMajor != 2 {
		return errors.New("not HTTP/2")
	}
	return expect(resp.Body, "ok")
}

// talk upgrades a connection and uses it for longer than a generation lasts.
func talk(addr string) error {
	nc, r, err := dialer(addr, nil)()
	if err != nil {
		return err
	}
	defer nc.Close()
	io.WriteString(nc, "GET /talk HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: talk\r\n\r\n")
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return errors.New(resp.Status)
	}
	for i := range 15 {
		fmt.Fprintf(nc, "%d\n", i)
		if line, err := r.ReadString('\n'); err != nil || line != fmt.Sprintln(i) {
			return fmt.Errorf("answer %q: %w", line, err)
		}
		<-time.After(20 * time.Millisecond)
	}
	return nil
}

func stopped(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// dup returns another listener on the same socket, as a successor adopts it. (File would make it blocking.)
func dup(t *testing.T, ln *net.TCPListener) net.Listener {
	rc, err := ln.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var fd int
	var derr error
	if err := rc.Control(func(old uintptr) {
		fd, derr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0)
	}); err != nil || derr != nil {
		t.Fatal(err, derr)
	}
	f := os.NewFile(uintptr(fd), "listener")
	defer f.Close()
	d, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
