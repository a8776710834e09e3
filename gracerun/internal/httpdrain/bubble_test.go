package httpdrain_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"github.com/gracerun/grace/gracerun/internal/httpdrain"
)

// These tests run in virtual time, on connections that are pipes: a drain takes exactly as long as it has to.

// pipes is a listener whose connections are dialed in the process.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	close func()
}

func newPipes() *pipes {
	p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	p.close = sync.OnceFunc(func() { close(p.done) })
	return p
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case nc := <-p.conns:
		return nc, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.close(); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial() net.Conn {
	mine, theirs := net.Pipe()
	p.conns <- theirs
	return mine
}

// bubble serves srv on pipes and returns a function that drains and says how long that took.
func bubble(t *testing.T, srv *http.Server, linger time.Duration) (*pipes, func() time.Duration) {
	ln := newPipes()
	d := httpdrain.New(srv, httpdrain.Options{Linger: linger})
	served := make(chan error, 1)
	go func() { served <- d.Serve(ln) }()
	return ln, func() time.Duration {
		synctest.Wait()
		start := time.Now()
		if err := d.Drain(t.Context()); err != nil {
			t.Errorf("Drain: %v", err)
		}
		took := time.Since(start)
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if st := d.Stats(); st.Total() != 0 {
			t.Errorf("left after the drain: %+v", st)
		}
		return took
	}
}

func TestSilentConnection(t *testing.T) {
	t.Parallel()
	for _, linger := range []time.Duration{-1, 0, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			ln, drain := bubble(t, &http.Server{}, linger)
			defer ln.dial().Close()
			if took, want := drain(), max(linger, 0)+5*time.Second; took != want {
				t.Errorf("linger %v: took %v, want %v", linger, took, want)
			}
		})
	}
}

func TestIdleConnectionLingers(t *testing.T) {
	t.Parallel()
	for _, linger := range []time.Duration{0, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			ln, drain := bubble(t, &http.Server{Handler: handler()}, linger)
			nc := ln.dial()
			defer nc.Close()
			if again, err := post(nc, bufio.NewReader(nc)); !again || err != nil {
				t.Errorf("post: again %v, %v", again, err)
			}
			if took := drain(); took != linger {
				t.Errorf("linger %v: took %v", linger, took)
			}
		})
	}
}

func TestLastRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ln, drain := bubble(t, &http.Server{Handler: handler()}, time.Second)
		nc := ln.dial()
		defer nc.Close()
		r := bufio.NewReader(nc)
		post(nc, r)
		go func() {
			<-time.After(999 * time.Millisecond)
			if again, err := post(nc, r); again || err != nil {
				t.Errorf("last post: again %v, %v", again, err)
			}
		}()
		if took, want := drain(), 1001*time.Millisecond; took != want { // the handler takes 2 ms
			t.Errorf("took %v, want %v", took, want)
		}
	})
}

// TestPrompt also shows that a request which was in its handler when the drain began lingers after its answer.
func TestPrompt(t *testing.T) {
	t.Parallel()
	for _, think := range []time.Duration{0, 100 * time.Millisecond, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			ln, drain := bubble(t, &http.Server{Handler: handler()}, time.Second)
			var client sync.WaitGroup
			defer client.Wait()
			client.Go(func() {
				nc := ln.dial()
				defer nc.Close()
				post(nc, bufio.NewReader(nc))
				<-time.After(think)
			})
			if took, want := drain(), min(think, time.Second)+2*time.Millisecond; took != want {
				t.Errorf("took %v, want %v", took, want)
			}
		})
	}
}

// TestSlowRequest sends a request in pieces that are further apart than the linger time.
func TestSlowRequest(t *testing.T) {
	t.Parallel()
	const half = "POST / HTTP/1.1\r\nHost: x\r\nConte"
	for _, first := range []string{"P", half, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nh"} {
		for _, used := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				ln, drain := bubble(t, &http.Server{Handler: handler()}, time.Second)
				nc := ln.dial()
				defer nc.Close()
				r := bufio.NewReader(nc)
				if used {
					post(nc, r)
				}
				handled := strings.HasSuffix(first, "h") // its answer cannot announce the end any more
				io.WriteString(nc, first)
				go func() {
					<-time.After(time.Minute)
					const whole = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
					if err := ask(nc, r, whole[len(first):], "ok", !handled); err != nil {
						t.Errorf("after %q: %v", first, err)
					}
					nc.Close()
				}()
				if took, want := drain(), time.Minute+2*time.Millisecond; took != want {
					t.Errorf("after %q: took %v, want %v", first, took, want)
				}
			})
		}
	}
}

// ask sends bytes and reads one answer, which announces the end of the connection or not.
func ask(nc net.Conn, r *bufio.Reader, bytes, answer string, last bool) error {
	if _, err := io.WriteString(nc, bytes); err != nil {
		return err
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.Close != last {
		return fmt.Errorf("the answer announces the end: %v", resp.Close)
	}
	return expect(resp.Body, answer)
}

// TestPipelined has a second request in a buffer above the connection when the first is answered. With no time to
// linger at all it must be answered still.
func TestPipelined(t *testing.T) {
	t.Parallel()
	const get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	for _, split := range []int{2 * len(get), 2*len(get) - 10} {
		synctest.Test(t, func(t *testing.T) {
			ln, drain := bubble(t, &http.Server{Handler: handler()}, 0)
			nc := ln.dial()
			defer nc.Close()
			var client sync.WaitGroup
			defer client.Wait()
			two := get + get
			client.Go(func() {
				io.WriteString(nc, two[:split])
				<-time.After(time.Second)
				io.WriteString(nc, two[split:])
			})
			client.Go(func() {
				r := bufio.NewReader(nc)
				for i := range 2 {
					resp, err := http.ReadResponse(r, nil)
					if err != nil {
						t.Errorf("split at %d, answer %d: %v", split, i, err)
						return
					}
					if err := expect(resp.Body, "ok"); err != nil {
						t.Errorf("split at %d, answer %d: %v", split, i, err)
					}
				}
			})
			drain()
		})
	}
}

func TestContinue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ln, drain := bubble(t, &http.Server{Handler: handler()}, time.Second)
		nc := ln.dial()
		defer nc.Close()
		r := bufio.NewReader(nc)
		io.WriteString(nc, "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r")
		go func() {
			<-time.After(time.Minute)
			io.WriteString(nc, "\n")
			if line, err := r.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
				t.Errorf("got %q, %v", line, err)
			}
			r.ReadString('\n')
			if err := ask(nc, r, "hello", "ok", true); err != nil {
				t.Error(err)
			}
		}()
		drain()
	})
}

// TestKinds asks in the ways whose answers net/http frames differently.
func TestKinds(t *testing.T) {
	t.Parallel()
	for request, answer := range map[string]string{
		"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n":                                                  "",
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n":                                                   "ok",
		"GET /long HTTP/1.1\r\nHost: x\r\n\r\n":                                               "ok",
		"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n":                                    "ok",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n": "ok",
	} {
		synctest.Test(t, func(t *testing.T) {
			ln, drain := bubble(t, &http.Server{Handler: handler()}, time.Second)
			nc := ln.dial()
			defer nc.Close()
			go func() {
				<-time.After(time.Second / 2)
				io.WriteString(nc, request)
				req := &http.Request{Method: request[:4]}
				if req.Method == "GET " {
					req.Method = "GET"
				}
				resp, err := http.ReadResponse(bufio.NewReader(nc), req)
				if err != nil || !resp.Close {
					t.Errorf("%q: %v, %+v", request, err, resp)
					return
				}
				if err := expect(resp.Body, answer); err != nil {
					t.Errorf("%q: %v", request, err)
				}
			}()
			drain()
		})
	}
}

// A framer is a client that shows what the server tells it.
type framer struct {
	*http2.Framer
	start   time.Time
	goaways []goaway
	answers int
	done    chan struct{} // closed at the end of the connection
}

type goaway struct {
	last  uint32
	after time.Duration
}

func newFramer(t *testing.T, nc net.Conn) *framer {
	f := &framer{Framer: http2.NewFramer(nc, nc), start: time.Now(), done: make(chan struct{})}
	go f.read()
	io.WriteString(nc, http2.ClientPreface)
	if err := f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *framer) read() {
	defer close(f.done)
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.GoAwayFrame:
			f.goaways = append(f.goaways, goaway{frame.LastStreamID, time.Since(f.start)})
		case *http2.HeadersFrame:
			f.answers++
		}
	}
}

// get opens a stream for GET /, in HPACK's static table: method, path, scheme; and the authority "x".
func (f *framer) get(stream uint32) {
	f.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: []byte("\x82\x84\x86\x41\x01x"), EndStream: true, EndHeaders: true,
	})
}

func TestHTTP2Farewell(t *testing.T) {
	t.Parallel()
	const (
		linger = time.Minute
		work   = 2 * time.Millisecond
		quiet  = 5 * time.Millisecond // that the announcement waits for
		all    = 1<<31 - 1
	)
	for _, test := range []struct {
		name    string
		streams int  // before the drain
		late    bool // one more when half of the linger time has passed
		ping    bool // a PING then, which is no reason to stay
		goaways []goaway
		took    time.Duration // the second is net/http's
	}{
		{"fresh", 0, false, false, []goaway{{0, linger}}, linger + time.Second},
		{"used", 1, false, false, []goaway{{all, quiet}, {1, linger}}, linger + time.Second},
		{"pinging", 1, false, true, []goaway{{all, quiet}, {1, linger}}, linger + time.Second},
		{"busy", 2, true, false, []goaway{{all, quiet}, {5, linger*3/2 + work}}, linger*3/2 + work + time.Second},
		{"first stream in the drain", 0, true, false, []goaway{{all, linger/2 + work + quiet}, {1, linger*3/2 + work}}, linger*3/2 + work + time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			ln, drain := bubble(t, &http.Server{Handler: handler(), Protocols: protocols("h2c")}, linger)
			nc := ln.dial()
			defer nc.Close()
			f := newFramer(t, nc)
			for i := range test.streams {
				f.get(uint32(2*i + 1))
			}
			<-time.After(time.Second)
			f.start = time.Now()
			go func() {
				<-time.After(linger / 2)
				if test.late {
					f.get(uint32(2*test.streams + 1))
				}
				if test.ping {
					f.WritePing(false, [8]byte{})
				}
			}()
			took := drain()
			<-f.done
			if took != test.took || !slices.Equal(f.goaways, test.goaways) {
				t.Errorf("%s: took %v, GOAWAYs %v; want %v, %v", test.name, took, f.goaways, test.took, test.goaways)
			}
			want := test.streams
			if test.late {
				want++
			}
			if f.answers != want {
				t.Errorf("%s: %d answers, want %d", test.name, f.answers, want)
			}
		})
	}
}
