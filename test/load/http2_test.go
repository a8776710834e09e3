package load_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gracerun/grace/test/load"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2 is one connection of a server that does what it is told.
type h2 struct {
	*http2.Framer
	conn net.Conn
}

// header and data answer a stream.
func (s *h2) header(id uint32) {
	var b bytes.Buffer
	hpack.NewEncoder(&b).WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	s.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b.Bytes(), EndHeaders: true})
}

func (s *h2) data(id uint32, b []byte) { s.WriteData(id, true, b) }

// badH2 starts an h2c server. It calls answer for the n-th whole request of a
// connection, n from 1, until answer returns false.
func badH2(t *testing.T, answer func(s *h2, n int, id uint32, body []byte) bool) load.Target {
	return bad(t, func(c net.Conn) {
		io.CopyN(io.Discard, c, int64(len(http2.ClientPreface)))
		s := &h2{http2.NewFramer(c, c), c}
		s.WriteSettings()
		bodies := map[uint32][]byte{}
		for n := 0; ; {
			f, err := s.ReadFrame()
			if err != nil {
				return
			}
			ended := false
			switch f := f.(type) {
			case *http2.SettingsFrame:
				if !f.IsAck() {
					s.WriteSettingsAck()
				}
			case *http2.HeadersFrame:
				ended = f.StreamEnded()
			case *http2.DataFrame:
				bodies[f.StreamID] = append(bodies[f.StreamID], f.Data()...)
				ended = f.StreamEnded()
			}
			if id := f.Header().StreamID; ended {
				if n++; !answer(s, n, id, bodies[id]) {
					return
				}
			}
		}
	})
}

// Whatever the server does to a stream, the stream is lost and sent once. The
// first request of each connection is answered.
func TestHTTP2FailureStages(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		do   func(s *h2, id uint32)
		want load.Stage
	}{
		{"goaway", func(s *h2, id uint32) { s.WriteGoAway(id-2, http2.ErrCodeNo, nil) }, load.StageResetBefore},
		{"refused", func(s *h2, id uint32) { s.WriteRSTStream(id, http2.ErrCodeRefusedStream) }, load.StageResetBefore},
		{"close", func(s *h2, id uint32) { s.conn.Close() }, load.StageEOFBefore},
		{"goaway and close", func(s *h2, id uint32) { s.WriteGoAway(id, http2.ErrCodeNo, nil); s.conn.Close() }, load.StageResetBefore},
		{"reset", func(s *h2, id uint32) { reset(s.conn); s.conn.Close() }, load.StageResetBefore},
		{"rst inside", func(s *h2, id uint32) {
			s.header(id)
			s.WriteData(id, false, []byte("x"))
			s.WriteRSTStream(id, http2.ErrCodeInternal)
		}, load.StageResetInside},
		{"close inside", func(s *h2, id uint32) { s.header(id); s.conn.Close() }, load.StageEOFInside},
		{"short", func(s *h2, id uint32) { s.header(id); s.data(id, nil) }, load.StageShort},
		{"hang", func(s *h2, id uint32) {}, load.StageTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int64
			target := badH2(t, func(s *h2, n int, id uint32, body []byte) bool {
				requests.Add(1)
				if n == 1 {
					s.header(id)
					s.data(id, []byte("generation 1 pid 23"))
				} else {
					tt.do(s, id)
				}
				return true
			})
			if tt.want == load.StageTimeout {
				target.Timeout = 500 * time.Millisecond
			}
			c := &load.HTTP2{Target: target, Conns: 1}
			defer c.Close()
			expect(t, c.Do(), "")
			o := c.Do()
			expect(t, o, tt.want)
			if !o.Failure.Reused || o.Failure.PID != 23 {
				t.Errorf("%+v", o.Failure)
			}
			if n := requests.Load(); n != 2 {
				t.Errorf("2 requests were made, %d were sent", n)
			}
		})
	}
}

// The refusals that the failure stages are tested with do make net/http send a
// request again.
func TestHTTP2TransportSendsTwice(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	target := badH2(t, func(s *h2, n int, id uint32, body []byte) bool {
		if requests.Add(1) == 1 {
			s.WriteRSTStream(id, http2.ErrCodeRefusedStream)
		} else {
			s.header(id)
			s.data(id, nil)
		}
		return true
	})
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get("http://" + target.Address)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if n := requests.Load(); n != 2 {
		t.Errorf("sent %d times", n)
	}
}

// A server that says goodbye on every connection after some requests, but
// answers what comes until the client leaves, loses nothing.
func TestHTTP2GoAwayIsAnAnnouncement(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var requests atomic.Int64
	target := badH2(t, func(s *h2, n int, id uint32, body []byte) bool {
		if requests.Add(1) == 100 {
			cancel()
		}
		if n == 5 {
			s.WriteGoAway(1<<31-1, http2.ErrCodeNo, nil)
		}
		s.header(id)
		s.data(id, body)
		return true
	})
	c := &load.HTTP2{Target: target, Conns: 2, Get: -1}
	var r load.Runner
	res := r.Run(ctx, load.Group{N: 16, Think: time.Millisecond, New: func() load.Client { return c }})
	k := res.Kinds[0]
	if k.Failed > 0 || k.Announced == 0 || k.IdleClosed > 0 || int64(k.OK) != requests.Load() {
		t.Errorf("the server saw %d requests\n%v", requests.Load(), res)
	}
}

func TestHTTP2IdleClosed(t *testing.T) {
	t.Parallel()
	noticed := make(chan bool, 1)
	target := badH2(t, func(s *h2, n int, id uint32, body []byte) bool {
		s.header(id)
		s.data(id, []byte("generation 1 pid 23"))
		s.conn.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, s.conn)
		noticed <- true
		return false
	})
	c := &load.HTTP2{Target: target, Conns: 1, Get: 1}
	defer c.Close()
	for i := range 3 {
		o := c.Do()
		if o.Failure != nil || !o.Dialed || o.IdleClosed != (i > 0) {
			t.Fatalf("request %d: %+v, %v", i, o, o.Failure)
		}
		<-noticed
	}
}
