package daemon_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun/internal/daemon"
)

// A listener plays a logging service.
type listener struct {
	t    *testing.T
	path string
	conn net.PacketConn
}

func listen(t *testing.T, path string) *listener {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	l := &listener{t: t, path: path}
	l.start()
	t.Cleanup(func() { l.conn.Close() })
	return l
}

func (l *listener) start() {
	l.t.Helper()
	var err error
	if l.conn, err = net.ListenPacket("unixgram", l.path); err != nil {
		l.t.Fatal(err)
	}
}

// stop removes the socket file, as a service that ends does.
func (l *listener) stop() {
	l.conn.Close()
	os.Remove(l.path)
}

func (l *listener) next() string {
	l.t.Helper()
	b := make([]byte, 64<<10)
	l.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, _, err := l.conn.ReadFrom(b)
	if err != nil {
		l.t.Fatalf("no line: %v", err)
	}
	return string(b[:n])
}

// where are the sockets of the two services, below the root directory.
const (
	journalSocket = "/run/systemd/journal/socket"
	syslogSocket  = "/dev/log"
)

func TestJournal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := listen(t, dir+journalSocket)
	c, _ := service(t)
	c.ok("open %s journal", dir)
	tests := []struct {
		say, text string
		priority  int
	}{
		{"out text", "text", 6},
		{"err text", "text", 6},
		{"err <2>text", "text", 2},
		{"out level=WARN msg=text", "level=WARN msg=text", 4},
		{`err {"level":"DEBUG"}`, `{"level":"DEBUG"}`, 7},
	}
	for _, tt := range tests {
		c.ok("%s", tt.say)
		if got, want := l.next(), fmt.Sprintf("PRIORITY=%d\nSYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=svc\nMESSAGE=%s\n", tt.priority, tt.text); got != want {
			t.Errorf("%s: got %q, want %q", tt.say, got, want)
		}
	}
}

// TestSyslog: each line is what syslog(3) would send.
func TestSyslog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := listen(t, dir+syslogSocket)
	c, log := service(t)
	c.ok("open %s %s syslog", dir, log)
	c.ok("out to the file")
	c.ok("err 2026/01/02 15:04:05 ERROR disk full")
	line := l.next()
	rest, ok := strings.CutPrefix(line, "<27>") // daemon.err
	if !ok || len(rest) < len(time.Stamp) {
		t.Fatalf("got %q", line)
	}
	when, err := time.ParseInLocation(time.Stamp, rest[:len(time.Stamp)], time.Local)
	if now := time.Now(); err != nil || when.Month() != now.Month() && now.Sub(when.AddDate(now.Year(), 0, 0)) > time.Hour {
		t.Errorf("time %v in %q: %v", when, line, err)
	}
	if want := " svc: 2026/01/02 15:04:05 ERROR disk full"; rest[len(time.Stamp):] != want {
		t.Errorf("got %q, want %q", rest[len(time.Stamp):], want)
	}
	if got := read(t, log); got != "to the file\n" {
		t.Errorf("the file has %q", got)
	}
}

// TestSyslogRestarts: what is written meanwhile waits.
func TestSyslogRestarts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := listen(t, dir+syslogSocket)
	c, _ := service(t)
	c.ok("open %s syslog", dir)
	c.ok("out 1")
	l.next()
	l.stop()
	c.ok("out 2")
	c.ok("out 3")
	l.start()
	for _, want := range []string{"2", "3"} {
		if got := l.next(); !strings.HasSuffix(got, " svc: "+want) {
			t.Errorf("got %q, want %s", got, want)
		}
	}
}

// TestSyslogDoesNotRead: the service is not kept waiting, and what was lost is
// counted.
func TestSyslogDoesNotRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := listen(t, dir+syslogSocket)
	c, _ := service(t)
	c.ok("open %s syslog", dir)
	const n = 3 * daemon.MaxQueue / 1000
	c.ok("many %d", n) // it answers when all is written
	c.ok("out <0>the last")
	got, lost := 0, 0
	for got+lost < n+1 {
		line := l.next()
		if _, text, _ := strings.Cut(line, " svc: "); strings.Contains(text, "lost") {
			var k int
			fmt.Sscan(text, &k)
			lost += k
			continue
		}
		got++
	}
	if got+lost != n+1 || lost < n/2 {
		t.Errorf("%d came and %d are lost, of %d", got, lost, n+1)
	}
}

// TestLongLine is sent in pieces, each with the level of the line.
func TestLongLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := listen(t, dir+journalSocket)
	c, _ := service(t)
	c.ok("open %s journal", dir)
	const n = 2*daemon.MaxLine + 100
	c.ok("long %d", n)
	c.ok("out next")
	var text string
	for len(text) < n {
		piece, ok := strings.CutPrefix(l.next(), "PRIORITY=3\nSYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=svc\nMESSAGE=")
		if !ok || len(piece) > daemon.MaxLine+1 {
			t.Fatalf("a piece of %d bytes: %.40q", len(piece), piece)
		}
		text += strings.TrimSuffix(piece, "\n")
	}
	if text != strings.Repeat("x", n) {
		t.Errorf("got %d bytes, want %d", len(text), n)
	}
	if got := l.next(); got != "PRIORITY=6\nSYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=svc\nMESSAGE=next\n" {
		t.Errorf("then %q", got)
	}
}
