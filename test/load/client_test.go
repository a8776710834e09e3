package load_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/test/load"
)

func TestGoodServer(t *testing.T) {
	t.Parallel()
	const short = 30 * time.Millisecond
	for _, k := range []struct {
		kind   string
		client func(load.Target) load.Client
	}{
		{"keep-alive", func(t load.Target) load.Client { return &load.KeepAlive{Target: t} }},
		{"look", func(t load.Target) load.Client { return &load.KeepAlive{Target: t, Look: true} }},
		{"big", func(t load.Target) load.Client { return &load.KeepAlive{Target: t, Size: 20_000, Get: -1} }},
		{"fresh", func(t load.Target) load.Client { return &load.Fresh{Target: t} }},
		{"fresh GET", func(t load.Target) load.Client { return &load.Fresh{Target: t, Get: true} }},
		{"slow", func(t load.Target) load.Client { return &load.Slow{Target: t, Sleep: short} }},
		{"stream", func(t load.Target) load.Client { return &load.Stream{Target: t, For: short} }},
		{"http/2", func(t load.Target) load.Client { return &load.HTTP2{Target: t, Conns: 2} }},
	} {
		for _, tt := range []struct {
			name, network string
			secure        bool
		}{{"tcp", "tcp", false}, {"tls", "tcp", true}, {"unix", "unix", false}} {
			t.Run(k.kind+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				target, service := good(t, tt.network, tt.secure)
				shared := k.client(target)
				run(t, load.Group{N: 8, Think: time.Millisecond, New: func() load.Client {
					if k.kind == "http/2" {
						return shared
					}
					return k.client(target)
				}}, service)
			})
		}
	}
}

// run runs g for a moment: nothing may fail, and no request be sent twice.
func run(t *testing.T, g load.Group, service *service) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var r load.Runner
	go func() {
		defer cancel()
		for load.Pause(ctx, 150*time.Millisecond) && r.Snapshot().OK == 0 { // on a machine that is busy
		}
	}()
	res := r.Run(ctx, g)
	if len(res.Failures) > 0 || res.Kinds[0].OK == 0 {
		t.Fatal(res)
	}
	if got := service.requests.Load(); got != int64(res.Kinds[0].OK) {
		t.Errorf("the server saw %d requests, the clients made %d", got, res.Kinds[0].OK)
	}
	for _, a := range res.Answers {
		if a.Generation != 7 || a.PID != 42 || a.Count > res.Kinds[0].OK || a.Last.Before(a.First) {
			t.Errorf("answers %+v", a)
		}
	}
}

const (
	ok    = "HTTP/1.1 200 OK\r\n"
	whole = ok + "Content-Length: 64\r\n\r\n%s"
	who   = ok + "Content-Length: 19\r\n\r\ngeneration 1 pid 23%.0s"
)

func TestFailureStages(t *testing.T) {
	t.Parallel()
	post := func(t load.Target) load.Client { return &load.Fresh{Target: t} }
	get := func(t load.Target) load.Client { return &load.KeepAlive{Target: t, Get: 1} }
	stream := func(t load.Target) load.Client { return &load.Stream{Target: t} }
	tcp := func(t load.Target) load.Client { return &load.TCP{Target: t, Lines: 2} }
	then := func(f, g func(net.Conn)) func(net.Conn) { return func(c net.Conn) { f(c); g(c) } }
	say := func(s string) func(net.Conn) { return func(c net.Conn) { io.WriteString(c, s) } }
	hang := func(c net.Conn) { io.Copy(io.Discard, c) }
	line := func(c net.Conn) { bufio.NewReader(c).ReadString('\n') }
	request := func(c net.Conn) { readRequest(bufio.NewReader(c)) }

	for _, tt := range []struct {
		name   string
		client func(load.Target) load.Client
		handle func(net.Conn)
		want   load.Stage
	}{
		{"close", post, request, load.StageEOFBefore},
		{"reset", post, then(request, reset), load.StageResetBefore},
		{"hang", post, hang, load.StageTimeout},
		{"hang inside", post, then(script(ok+"%.0s"), hang), load.StageTimeout},
		{"close in header", post, script(ok + "%.0s"), load.StageEOFInside},
		{"close in body", post, script(ok + "Content-Length: 100\r\n\r\n%s"), load.StageEOFInside},
		{"reset in body", post, then(script(ok+"Content-Length: 100\r\n\r\n%s"), reset), load.StageResetInside},
		{"short echo", post, script(ok + "Content-Length: 30\r\n\r\n%.30s"), load.StageShort},
		{"other echo", post, script(ok + "Content-Length: 64\r\n\r\n%.30s" + strings.Repeat("x", 34)), load.StageWrongAnswer},
		{"error status", post, script("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n%.0s"), load.StageWrongAnswer},
		{"not HTTP", post, script("SSH-2.0-x\r\n\r\n%.0s"), load.StageWrongAnswer},
		{"endless", post, script(ok + "\r\n%s"), load.StageWrongAnswer},
		{"nameless", get, script(ok + "Content-Length: 5\r\n\r\nhello%.0s"), load.StageWrongAnswer},
		{"stream cut", stream, script(ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nline\n\r\n%s"), load.StageEOFInside},
		{"stream reset", stream, then(script(ok+"Transfer-Encoding: chunked\r\n\r\n5\r\nline\n\r\n%s"), reset), load.StageResetInside},
		{"stream cut in line", stream, script(ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nlin\r\n0\r\n\r\n%s"), load.StageWrongAnswer},
		{"stream without end", stream, script(ok + "\r\nline\n%s"), load.StageWrongAnswer},
		{"tcp close", tcp, say(""), load.StageEOFBefore},
		{"tcp wrong greeting", tcp, say("hello\n"), load.StageWrongAnswer},
		{"tcp hang", tcp, hang, load.StageTimeout},
		{"tcp close later", tcp, then(say("generation 1 pid 23\n"), line), load.StageEOFInside},
		{"tcp reset later", tcp, then(say("generation 1 pid 23\n"), then(line, reset)), load.StageResetInside},
		{"tcp wrong echo", tcp, then(say("generation 1 pid 23\nbye\n"), hang), load.StageWrongAnswer},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			target := bad(t, tt.handle)
			if tt.want == load.StageTimeout {
				target.Timeout = 50 * time.Millisecond
			}
			c := tt.client(target)
			if c, ok := c.(io.Closer); ok {
				defer c.Close()
			}
			if s, ok := c.(*load.Stream); ok {
				s.For = time.Millisecond
			}
			expect(t, c.Do(), tt.want)
		})
	}
}

// expect fails the test unless o failed at stage want; "" is success.
func expect(t *testing.T, o load.Outcome, want load.Stage) {
	t.Helper()
	switch {
	case o.Failure == nil && want != "":
		t.Fatalf("no failure, want %q", want)
	case o.Failure != nil && o.Failure.Stage != want:
		t.Fatalf("%v, want %q", o.Failure, want)
	}
}

func TestNoConnection(t *testing.T) {
	t.Parallel()
	ln := listen(t, "tcp")
	ln.Close()
	gone := load.Target{Address: ln.Addr().String()}
	o := (&load.Fresh{Target: gone}).Do()
	expect(t, o, load.StageRefused)
	if !errors.Is(o.Failure, syscall.ECONNREFUSED) {
		t.Errorf("%v does not wrap ECONNREFUSED", o.Failure)
	}
	expect(t, (&load.KeepAlive{Target: gone}).Do(), load.StageRefused)
	expect(t, (&load.TCP{Target: gone}).Do(), load.StageRefused)
	expect(t, (&load.HTTP2{Target: gone}).Do(), load.StageRefused)

	missing := load.Target{Network: "unix", Address: filepath.Join(t.TempDir(), "none")}
	expect(t, (&load.Fresh{Target: missing}).Do(), load.StageDial)

	secure, _ := good(t, "tcp", true)
	mute := bad(t, func(net.Conn) {})
	mute.TLS = secure.TLS
	expect(t, (&load.Fresh{Target: mute}).Do(), load.StageDial)
}

func TestEarlyPoliteEnd(t *testing.T) {
	t.Parallel()
	target := bad(t, script(ok+"Transfer-Encoding: chunked\r\n\r\n5\r\nline\n\r\n0\r\n\r\n%s"))
	expect(t, (&load.Stream{Target: target}).Do(), "")
}

func TestConnectionCloseIsAnAnnouncement(t *testing.T) {
	t.Parallel()
	target := bad(t, script(who, ok+"Connection: close\r\nContent-Length: 64\r\n\r\n%s"))
	k := &load.KeepAlive{Target: target}
	defer k.Close()
	for i := range 6 {
		o := k.Do()
		expect(t, o, "")
		if first := i%2 == 0; o.Dialed != first || o.Announced != !first {
			t.Fatalf("request %d: %+v", i, o)
		}
	}
}

func TestTCP(t *testing.T) {
	t.Parallel()
	target := bad(t, func(c net.Conn) {
		io.WriteString(c, "generation 3 pid 99\n")
		io.Copy(c, c)
	})
	o := (&load.TCP{Target: target, Lines: 5, Pause: time.Millisecond}).Do()
	if o.Failure != nil || o.Generation != 3 || o.PID != 99 {
		t.Fatalf("%+v", o)
	}
}

// A naive client loses the request that it sends on a connection closed while
// idle, and says what it knows of that connection.
func TestIdleCloseIsLost(t *testing.T) {
	t.Parallel()
	closed := make(chan bool, 1)
	k := &load.KeepAlive{Target: bad(t, func(c net.Conn) {
		script(who)(c)
		fin(c.(*net.TCPConn))
		closed <- true
	})}
	defer k.Close()
	expect(t, k.Do(), "")
	<-closed
	f := k.Do().Failure
	if f == nil || !f.Reused || f.PID != 23 {
		t.Fatalf("%+v", f)
	}
	if f.Stage != load.StageResetBefore && f.Stage != load.StageEOFBefore { // the order of FIN and RST is the kernel's
		t.Fatal(f)
	}
}

// Servers that drop a request on a reused connection, to which net/http's
// Transport answers by sending it again.
func TestNothingIsSentTwice(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	target := bad(t, func(c net.Conn) {
		br := bufio.NewReader(c)
		if _, ok := readRequest(br); !ok {
			return
		}
		requests.Add(1)
		io.WriteString(c, ok+"Content-Length: 19\r\n\r\ngeneration 1 pid 23")
		if _, ok := readRequest(br); ok {
			requests.Add(1)
		}
	})
	k := &load.KeepAlive{Target: target, Get: 1}
	for range 3 {
		expect(t, k.Do(), "")
		expect(t, k.Do(), load.StageEOFBefore)
	}
	if n := requests.Swap(0); n != 6 {
		t.Errorf("6 requests were made, %d were sent", n)
	}

	tr := new(http.Transport) // the server does provoke a retry
	defer tr.CloseIdleConnections()
	for range 2 {
		resp, err := (&http.Client{Transport: tr}).Get("http://" + target.Address)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	if n := requests.Load(); n != 3 {
		t.Errorf("net/http made 2 requests and sent %d, want 3", n)
	}
}
