package httpdrain

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// TestFrames looks for boundaries in a stream that is fed byte by byte.
func TestFrames(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	var ends []int // where a frame may be put in
	fr := http2.NewFramer(&buf, nil)
	end := func() { ends = append(ends, buf.Len()) }
	fr.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1 << 14})
	end()
	fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: make([]byte, 300)})
	fr.WriteContinuation(1, false, make([]byte, 300))
	fr.WriteContinuation(1, true, nil)
	end()
	fr.WriteData(1, true, make([]byte, 1<<14))
	end()
	fr.WritePing(true, [8]byte{})
	end()
	fr.WriteGoAway(1, http2.ErrCodeNo, []byte("why"))
	end()

	all := buf.Bytes()
	for _, step := range []int{1, 7, len(all)} {
		var f frames
		for at := 0; at < len(all); {
			n := min(step, len(all)-at)
			f.scan(all[at : at+n])
			at += n
			want := false
			for _, e := range ends {
				want = want || e == at
			}
			if f.boundary() != want {
				t.Fatalf("step %d: boundary at %d: %v", step, at, f.boundary())
			}
		}
		if !f.goaway || !f.headers || f.count != 7 {
			t.Errorf("step %d: %+v", step, f)
		}
	}
}

// TestFarewellFrames reads what is put between the frames of others.
func TestFarewellFrames(t *testing.T) {
	t.Parallel()
	for raw, last := range map[string]uint32{announcement: 1<<31 - 1, farewell: 0} {
		f, err := http2.NewFramer(nil, bytes.NewReader([]byte(raw))).ReadFrame()
		g, ok := f.(*http2.GoAwayFrame)
		if err != nil || !ok || g.LastStreamID != last || g.ErrCode != http2.ErrCodeNo {
			t.Errorf("%q: %v, %v", raw, f, err)
		}
	}
}

// accepted returns a connection that has become idle, and its client.
func accepted(t *testing.T) (*conn, net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	raw, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	return &conn{s: New(&http.Server{}, Options{}), raw: raw, phase: idle}, client
}

func awaitPending(t *testing.T, nc net.Conn) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("the kernel cannot be asked")
	}
	for limit := time.Now().Add(10 * time.Second); !pending(nc); runtime.Gosched() {
		if time.Now().After(limit) {
			t.Fatal("the bytes do not arrive")
		}
	}
}

// TestBytesInTheKernel lets the linger time end just when a request has arrived.
func TestBytesInTheKernel(t *testing.T) {
	t.Parallel()
	c, client := accepted(t)
	c.SetReadDeadline(time.Time{})
	io.WriteString(client, "GET")
	awaitPending(t, c.raw)
	c.expire()
	if !c.expired {
		t.Fatal("not expired")
	}
	p := make([]byte, 16)
	if n, err := c.Read(p); n != 3 || err != nil {
		t.Errorf("Read: %d, %v", n, err)
	}
	if c.phase != active {
		t.Errorf("phase %d", c.phase)
	}
	c.enter(idle)
	c.expire()
	if n, err := c.Read(p); n != 0 || err != io.EOF {
		t.Errorf("Read: %d, %v; want EOF", n, err)
	}
	if n := c.s.expired.Load(); n != 1 {
		t.Errorf("%d expired", n)
	}
}

// TestBytesWithoutRequest does the same to an HTTP/2 connection: the bytes may be a PING, after which nothing would
// start the linger time again.
func TestBytesWithoutRequest(t *testing.T) {
	t.Parallel()
	c, client := accepted(t)
	c.s.linger = time.Hour
	c.framed = &framedConn{Conn: c.raw, c: c}
	c.SetReadDeadline(time.Time{})
	io.WriteString(client, "PING")
	awaitPending(t, c.raw)
	c.expire()
	if v := c.judge(true); v != carryOn {
		t.Errorf("verdict %d", v)
	}
	if c.timer == nil || time.Until(c.due) < time.Minute {
		t.Errorf("due %v", c.due)
	}
	c.end()
}
