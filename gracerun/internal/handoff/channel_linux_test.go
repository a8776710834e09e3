package handoff

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// These tests are in the package: the channel is what everything else here
// stands on, and has no face of its own.

// pair returns both ends of a channel.
func pair(t testing.TB) (ours, theirs *channel) {
	t.Helper()
	ours, file, err := newPair()
	check(t, err)
	theirs, err = newChannel(file)
	check(t, err)
	t.Cleanup(func() { ours.close(); theirs.close() })
	return ours, theirs
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sendRaw sends a packet as no channel would.
func sendRaw(t *testing.T, c *channel, frame string, conns ...syscall.Conn) {
	t.Helper()
	var oob []byte
	for _, conn := range conns {
		rc, err := conn.SyscallConn()
		check(t, err)
		rc.Control(func(fd uintptr) { oob = append(oob, unix.UnixRights(int(fd))...) })
	}
	_, _, err := c.conn.WriteMsgUnix([]byte(frame), oob, nil)
	check(t, err)
}

func frameOf(t *testing.T, m message) string {
	t.Helper()
	frame, err := encode(m)
	check(t, err)
	return string(frame)
}

// openFiles counts the descriptors of this process: for tests that do not run in
// parallel with others.
func openFiles(t *testing.T) int {
	t.Helper()
	ours, theirs, err := newPair() // the first socket opens the runtime's poller
	check(t, err)
	ours.close()
	theirs.Close()
	entries, err := os.ReadDir("/proc/self/fd")
	check(t, err)
	return len(entries)
}

// TestThousandDescriptors arrive in order, each itself, and close-on-exec.
func TestThousandDescriptors(t *testing.T) {
	before := openFiles(t)
	const n = 1000
	ours, theirs := pair(t)
	dir := t.TempDir()
	var conns []syscall.Conn
	for i := range n {
		f, err := os.Create(fmt.Sprintf("%s/%d", dir, i))
		check(t, err)
		defer f.Close()
		conns = append(conns, f)
	}
	for chunk := range slices.Chunk(conns, maxItems) { // before anybody reads
		items := slices.Repeat([]item{{Kind: kindSocket}}, len(chunk))
		check(t, ours.sendFiles(message{Type: typeFiles, Items: items}, chunk, false))
	}
	var got []int
	for len(got) < n {
		m, fds, err := theirs.recv()
		check(t, err)
		if m.Type != typeFiles || len(m.Items) != len(fds) {
			t.Fatalf("received %s with %d items and %d descriptors", m.Type, len(m.Items), len(fds))
		}
		got = append(got, fds...)
	}
	for i, fd := range got {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		check(t, err)
		link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		check(t, err)
		if flags&unix.FD_CLOEXEC == 0 || link != fmt.Sprintf("%s/%d", dir, i) {
			t.Fatalf("file %d is %s, with the flags %#x", i, link, flags)
		}
	}
	closeFDs(got)
	if now := openFiles(t); now > before+n+10 {
		t.Errorf("%d descriptors are open, %d were before, and %d files are", now, before, n)
	}
}

// TestMostInOneMessage: as many descriptors as the kernel takes are received.
func TestMostInOneMessage(t *testing.T) {
	t.Parallel()
	ours, theirs := pair(t)
	null, err := os.Open(os.DevNull)
	check(t, err)
	defer null.Close()
	send := func(n int) error {
		items := slices.Repeat([]item{{Kind: kindLock}}, n)
		return ours.sendFiles(message{Type: typeFiles, Items: items}, slices.Repeat([]syscall.Conn{null}, n), false)
	}
	check(t, send(maxFiles))
	_, fds, err := theirs.recv()
	check(t, err)
	if len(fds) != maxFiles {
		t.Errorf("%d of %d arrived", len(fds), maxFiles)
	}
	closeFDs(fds)
	if err := send(maxFiles + 1); !errors.Is(err, unix.EINVAL) {
		t.Errorf("one more: %v, want EINVAL", err)
	}
}

// TestFullQueue: what does not fit is refused at once, nothing of it is sent.
func TestFullQueue(t *testing.T) {
	t.Parallel()
	ours, theirs := pair(t)
	null, err := os.Open(os.DevNull)
	check(t, err)
	defer null.Close()
	long := message{Type: typeFiles, Name: strings.Repeat("x", maxFrame/2), Items: []item{{Kind: kindLock}}}
	sent := 0
	for ; sent < 1000; sent++ {
		if err = ours.sendFiles(long, []syscall.Conn{null}, false); err != nil {
			break
		}
	}
	if !errors.Is(err, unix.EAGAIN) || sent == 0 {
		t.Fatalf("after %d messages: %v", sent, err)
	}
	ours.tell(long) // is lost, and does not wait
	done := make(chan error, 1)
	go func() { done <- ours.sendFiles(long, []syscall.Conn{null}, true) }()
	for range sent + 1 {
		_, fds, err := theirs.recv()
		check(t, err)
		if len(fds) != 1 {
			t.Fatalf("%d descriptors", len(fds))
		}
		closeFDs(fds)
	}
	check(t, <-done)
}

// TestBadPackets: none of them stops the reading, nor leaks a descriptor.
func TestBadPackets(t *testing.T) {
	null, err := os.Open(os.DevNull)
	check(t, err)
	defer null.Close()
	ours, theirs := pair(t)
	crash := frameOf(t, message{Type: typeFiles, Items: []item{{Kind: kindCrash}}})
	before := openFiles(t)
	for name, send := range map[string]func(){
		"too long":            func() { sendRaw(t, ours, strings.Repeat("x", maxFrame+1), null) },
		"garbage":             func() { sendRaw(t, ours, "GRUN garbage", null) },
		"a descriptor amiss":  func() { sendRaw(t, ours, crash) },
		"one more than named": func() { sendRaw(t, ours, crash, null, null) },
		"uninvited":           func() { sendRaw(t, ours, frameOf(t, message{Type: typeGo}), null) },
	} {
		send()
		if m, fds, err := theirs.recv(); err == nil || fds != nil {
			t.Errorf("%s: received %+v with %d descriptors, %v", name, m, len(fds), err)
		}
	}
	if now := openFiles(t); now != before {
		t.Errorf("%d descriptors are open, want %d", now, before)
	}
	sendRaw(t, ours, strings.Repeat("x", maxFrame+1))
	ours.tell(message{Type: typeGo})
	ours.close()
	var heard []string
	theirs.read(func(m message) bool { heard = append(heard, m.Type); return true })
	if !slices.Equal(heard, []string{typeGo}) {
		t.Errorf("heard %q", heard)
	}
}

func TestPeerIsGone(t *testing.T) {
	t.Parallel()
	ours, theirs := pair(t)
	check(t, theirs.send(message{Type: typeCommitted})) // it said so, then died
	theirs.close()
	if m, _, err := ours.recv(); err != nil || m.Type != typeCommitted {
		t.Errorf("received %+v, %v", m, err)
	}
	var op *net.OpError
	if _, _, err := ours.recv(); !errors.Is(err, io.EOF) || !errors.As(err, &op) {
		t.Errorf("at the end: %v", err)
	}
	if err := ours.send(message{Type: typeGo}); !errors.Is(err, unix.EPIPE) {
		t.Errorf("send: %v", err)
	}
	ours.tell(message{Type: typeGo}) // does not matter, and does not signal SIGPIPE
}

// TestReset: a peer that dies with messages of ours unread is heard all the same.
func TestReset(t *testing.T) {
	t.Parallel()
	for name, read := range map[string]func(c *channel, f func(message)){
		"read":       func(c *channel, f func(message)) { c.read(func(m message) bool { f(m); return true }) },
		"readQueued": (*channel).readQueued,
	} {
		ours, theirs := pair(t)
		check(t, ours.send(message{Type: typeHurry}))
		check(t, theirs.send(message{Type: typeServing}))
		check(t, theirs.send(message{Type: typeFailed, Error: "last words"}))
		theirs.close()
		var heard []string
		read(ours, func(m message) { heard = append(heard, m.Type) })
		if !slices.Equal(heard, []string{typeServing, typeFailed}) {
			t.Errorf("%s heard %q", name, heard)
		}
	}
}

// TestReadQueued: what waits is read, and nothing waited for.
func TestReadQueued(t *testing.T) {
	t.Parallel()
	ours, theirs := pair(t)
	check(t, theirs.send(message{Type: typeHello}))
	check(t, theirs.send(message{Type: typeServing}))
	ours.stopReading() // does not keep it from reading
	var heard []string
	ours.readQueued(func(m message) { heard = append(heard, m.Type) })
	if !slices.Equal(heard, []string{typeHello, typeServing}) {
		t.Errorf("heard %q", heard)
	}
}

func TestStopReading(t *testing.T) {
	t.Parallel()
	ours, _ := pair(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ours.read(func(message) bool { return true })
	}()
	ours.stopReading()
	<-done
	if _, _, err := ours.recv(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("recv after it: %v", err)
	}
}

// TestDiscard closes what is queued for a child that never was.
func TestDiscard(t *testing.T) {
	before := openFiles(t)
	ours, theirs, err := newPair()
	check(t, err)
	r, w, err := os.Pipe()
	check(t, err)
	check(t, ours.sendFiles(message{Type: typeFiles, Items: []item{{Kind: kindLock}}}, []syscall.Conn{w}, false))
	w.Close() // the queue has the only one
	rc, err := theirs.SyscallConn()
	check(t, err)
	rc.Control(func(fd uintptr) { discard(int(fd), nil) })
	if n, err := r.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the descriptor in the queue is open: %d, %v", n, err)
	}
	r.Close()
	theirs.Close()
	ours.close()
	if now := openFiles(t); now != before {
		t.Errorf("%d descriptors are open, want %d", now, before)
	}
}

// TestNewChannel takes a file over, also one that is no channel.
func TestNewChannel(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	check(t, err)
	defer w.Close()
	if c, err := newChannel(r); err == nil {
		t.Errorf("a pipe became %v", c)
	}
	if _, err := r.Stat(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the pipe is open: %v", err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	check(t, err)
	defer conn.Close()
	f, err := conn.(*net.TCPConn).File()
	check(t, err)
	if c, err := newChannel(f); err == nil || !strings.Contains(err.Error(), "TCPConn") {
		t.Errorf("a TCP connection became %v, %v", c, err)
	}
}

// send is tell that waits while the other side's queue is full, and says how it
// went.
func (c *channel) send(m message) error {
	frame, err := encode(m)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _, err = c.conn.WriteMsgUnix(frame, nil, nil)
	return err
}
