package systemd_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/gracerun/internal/systemd"
	"github.com/gracerun/grace/test/harness"
)

// A fakeManager is the socket of one.
type fakeManager struct {
	conn *net.UnixConn
	name string
}

func newManager(t *testing.T, name string) fakeManager {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
	if err != nil {
		t.Fatal(err)
	}
	return fakeManager{conn, name}
}

func abstract(t *testing.T) string {
	return fmt.Sprintf("@gracerun-%d-%s", os.Getpid(), t.Name())
}

func (m fakeManager) notifier(owner bool) *systemd.Notifier {
	return systemd.Manager{Socket: m.name, Watchdog: time.Minute}.Notifier(owner)
}

// receive returns one datagram, and the descriptors that came with it. It must come
// from this process.
func (m fakeManager) receive(t *testing.T) (string, []int) {
	t.Helper()
	m.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	text, oob := make([]byte, 8192), make([]byte, 4096)
	n, oobn, _, _, err := m.conn.ReadMsgUnix(text, oob)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		t.Fatal(err)
	}
	var fds []int
	pid := 0
	for _, cm := range messages {
		if got, err := unix.ParseUnixRights(&cm); err == nil {
			fds = append(fds, got...)
		} else if cred, err := unix.ParseUnixCredentials(&cm); err == nil {
			pid = int(cred.Pid)
		}
	}
	if pid != os.Getpid() {
		t.Errorf("sent by %d", pid)
	}
	return string(text[:n]), fds
}

func (m fakeManager) nothing(t *testing.T) {
	t.Helper()
	m.conn.SetReadDeadline(time.Now().Add(-time.Second))
	m.conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond)) // what was sent is there already
	text := make([]byte, 8192)
	if n, err := m.conn.Read(text); err == nil {
		t.Errorf("said %q", text[:n])
	}
}

// TestSaid: each call is one datagram.
func TestSaid(t *testing.T) {
	t.Parallel()
	m := newManager(t, abstract(t))
	n := m.notifier(true)
	for _, test := range []struct {
		say  func() error
		want string // a regular expression
	}{
		{func() error { return n.Ready("") }, `READY=1`},
		{func() error { return n.Ready("3 requests\nREADY=0 \x00\xff ") }, `READY=1\nSTATUS=3 requests READY=0  \x{FFFD} `},
		{func() error { return n.Reloading("upgrading") }, `RELOADING=1\nMONOTONIC_USEC=\d+\nSTATUS=upgrading`},
		{func() error { return n.MainPID(4711) }, `MAINPID=4711`},
		{func() error { return n.Status("serves") }, `STATUS=serves`},
		{func() error { return n.Status(strings.Repeat("ü", 4000)) }, `STATUS=ü{510}\.\.\.`},
		{func() error { return n.Errno(syscall.ENOENT) }, `ERRNO=2`},
		{func() error { return n.Errno(0) }, `ERRNO=0`},
		{func() error { return n.ExtendTimeout(1500 * time.Millisecond) }, `EXTEND_TIMEOUT_USEC=1500000`},
		{func() error { return n.Stopping("drains") }, `STOPPING=1\nSTATUS=drains`},
		{func() error { return n.Watchdog() }, `WATCHDOG=1`},
		{func() error { return n.Remove("gracerun/file/journal") }, `FDSTOREREMOVE=1\nFDNAME=gracerun/file/journal`},
	} {
		if err := test.say(); err != nil {
			t.Error(err)
			continue
		}
		if got, _ := m.receive(t); !regexp.MustCompile(`^` + test.want + `$`).MatchString(got) {
			t.Errorf("said %q, want %s", got, test.want)
		}
	}
	n.Status("")
	m.nothing(t)
}

// TestMonotonic: the manager compares with the clock of its own.
func TestMonotonic(t *testing.T) {
	t.Parallel()
	m := newManager(t, abstract(t))
	clock := func() int64 {
		var ts unix.Timespec
		unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
		return ts.Nano() / 1000
	}
	before := clock()
	if err := m.notifier(true).Reloading(""); err != nil {
		t.Fatal(err)
	}
	text, _ := m.receive(t)
	_, text, _ = strings.Cut(text, "MONOTONIC_USEC=")
	if got, err := strconv.ParseInt(text, 10, 64); err != nil || got < before || got > clock() {
		t.Errorf("MONOTONIC_USEC=%s, want %d or a little more", text, before)
	}
}

// TestSilence: only the owner of the service speaks.
func TestSilence(t *testing.T) {
	t.Parallel()
	m := newManager(t, abstract(t))
	var none *systemd.Notifier
	for name, n := range map[string]*systemd.Notifier{"nil": none, "no manager": systemd.Manager{}.Notifier(true), "not yet the owner": m.notifier(false)} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(n.Ready("x"), n.Reloading("x"), n.Status("x"), n.Errno(1), n.ExtendTimeout(1), n.Stopping(""), n.MainPID(1),
			n.Watchdog(), n.HandOver(1, ""), n.Store("x", r, w), n.Remove("x"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		r.Close()
		w.Close()
	}
	none.Own()
	m.nothing(t)
	if err := (systemd.Manager{Socket: m.name}).Notifier(true).Watchdog(); err != nil { // it has none
		t.Error(err)
	}
	m.nothing(t)

	successor := m.notifier(false)
	successor.Own()
	if err := successor.Status("mine"); err != nil {
		t.Fatal(err)
	}
	if got, _ := m.receive(t); got != "STATUS=mine" {
		t.Errorf("said %q", got)
	}
}

// TestHandOver: the new main process and the end of the reload are one datagram, and then
// it is silent.
func TestHandOver(t *testing.T) {
	t.Parallel()
	m := newManager(t, abstract(t))
	for pid, want := range map[int]string{4711: "MAINPID=4711\nREADY=1\nSTATUS=version 2", 0: "READY=1\nSTATUS=version 2"} {
		n := m.notifier(true)
		if err := n.HandOver(pid, "version 2"); err != nil {
			t.Error(err)
		}
		if got, _ := m.receive(t); got != want {
			t.Errorf("said %q, want %q", got, want)
		}
		n.Status("not main any more")
		n.HandOver(4712, "")
		m.nothing(t)
	}
	n := systemd.Manager{Socket: m.name + "-gone"}.Notifier(true)
	if err := n.HandOver(4711, ""); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody listens: %v", err)
	}
	if err := n.Status("still main"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("it is silent, but still the main process: %v", err)
	}
}

// TestBarrier waits, also in a process that has handed over.
func TestBarrier(t *testing.T) {
	t.Parallel()
	m := newManager(t, abstract(t))
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("the service stops")
	done := make(chan error)
	n := m.notifier(false)
	go func() { done <- n.Barrier(ctx) }()
	text, fds := m.receive(t)
	if text != "BARRIER=1" || len(fds) != 1 {
		t.Fatalf("said %q with %d descriptors", text, len(fds))
	}
	select {
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	default:
	}
	unix.Close(fds[0])
	if err := <-done; err != nil {
		t.Error(err)
	}

	go func() { done <- n.Barrier(ctx) }()
	_, fds = m.receive(t)
	cancel(gone)
	if err := <-done; !errors.Is(err, gone) {
		t.Errorf("%v, want the end of ctx", err)
	}
	unix.Close(fds[0])
}

// TestStore sends more descriptors than one message takes.
func TestStore(t *testing.T) {
	t.Parallel()
	const size = 300
	m := newManager(t, filepath.Join(t.TempDir(), "notify"))
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	conns := make([]syscall.Conn, size)
	for i := range conns {
		conns[i] = file
	}
	if err := m.notifier(true).Store("gracerun/tcp/%3A80", conns...); err != nil {
		t.Fatal(err)
	}
	count := 0
	for count < size {
		text, fds := m.receive(t)
		if text != "FDSTORE=1\nFDPOLL=0\nFDNAME=gracerun/tcp/%3A80" || len(fds) == 0 {
			t.Fatalf("said %q with %d descriptors", text, len(fds))
		}
		for _, fd := range fds {
			unix.Close(fd)
		}
		count += len(fds)
	}
	if count != size {
		t.Errorf("%d descriptors came, want %d", count, size)
	}
	file.Close()
	if err := m.notifier(true).Store("x", file); err == nil {
		t.Error("a closed file is no fault")
	}
	for _, name := range []string{"", "a:b", "a\nFDSTOREREMOVE=1", "ü", strings.Repeat("x", 256)} {
		if err := m.notifier(true).Store(name); err == nil {
			t.Errorf("the name %q is no fault", name)
		}
	}
}

// TestDeafManager: one that does not read costs a second, and is reported.
func TestDeafManager(t *testing.T) {
	t.Parallel()
	m := newManager(t, abstract(t))
	n := m.notifier(true)
	var err error
	sent := 0
	for ; err == nil && sent < 10000; sent++ {
		err = n.Status("is anybody there")
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("after %d messages: %v", sent, err)
	}
	done := make(chan error)
	go func() { done <- n.Status("now") }() // waits for room
	for range sent - 1 {
		m.receive(t)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got, _ := m.receive(t); got != "STATUS=now" {
		t.Errorf("said %q", got)
	}
	m.conn.Close()
	// A child of another test has the socket, too, until its execve(2).
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	harness.Until(ctx, func() error {
		if err = n.Status("gone"); err == nil {
			return errors.New("it is heard")
		}
		return nil
	})
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a manager that is gone: %v", err)
	}
}

func TestReadManager(t *testing.T) {
	t.Parallel()
	type env map[string]string
	for _, test := range []struct {
		env   env
		want  systemd.Manager
		fault string // part of the error
	}{
		{nil, systemd.Manager{}, ""},
		{env{"NOTIFY_SOCKET": "/run/systemd/notify"}, systemd.Manager{Socket: "/run/systemd/notify"}, ""},
		{env{"NOTIFY_SOCKET": "@abstract"}, systemd.Manager{Socket: "@abstract"}, ""},
		{env{"NOTIFY_SOCKET": "relative"}, systemd.Manager{}, "NOTIFY_SOCKET=relative"},
		{env{"NOTIFY_SOCKET": "/"}, systemd.Manager{}, "NOTIFY_SOCKET=/"},
		{env{"NOTIFY_SOCKET": "vsock:2:1"}, systemd.Manager{}, "unsupported"},
		{env{"NOTIFY_SOCKET": "/" + strings.Repeat("x", 107)}, systemd.Manager{}, "longer than 107"},
		{env{"WATCHDOG_USEC": "3000000"}, systemd.Manager{Watchdog: 3 * time.Second}, ""},
		{env{"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "17"}, systemd.Manager{Watchdog: 3 * time.Second}, ""},
		{env{"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "18"}, systemd.Manager{}, ""},
		{env{"WATCHDOG_USEC": "0"}, systemd.Manager{}, "WATCHDOG_USEC=0"},
		{env{"WATCHDOG_USEC": "-1"}, systemd.Manager{}, "WATCHDOG_USEC=-1"},
		{env{"WATCHDOG_USEC": "9223372036854775807"}, systemd.Manager{}, "out of range"},
		{env{"WATCHDOG_USEC": "x", "NOTIFY_SOCKET": "@a"}, systemd.Manager{Socket: "@a"}, "WATCHDOG_USEC=x"},
		{env{"FDSTORE": "16"}, systemd.Manager{StoreMax: 16}, ""},
		{env{"FDSTORE": "many"}, systemd.Manager{}, "FDSTORE=many"},
	} {
		m, err := systemd.ReadManager(func(name string) string { return test.env[name] }, 17)
		if m != test.want {
			t.Errorf("%v: %+v, want %+v", test.env, m, test.want)
		}
		if (err == nil) != (test.fault == "") || err != nil && !strings.Contains(err.Error(), test.fault) {
			t.Errorf("%v: %v, want %q", test.env, err, test.fault)
		}
		for name := range test.env {
			if !strings.Contains(fmt.Sprint(systemd.Variables()), name) {
				t.Errorf("%s is not among the variables to hide", name)
			}
		}
		var again systemd.Manager
		text, err := json.Marshal(m)
		if err = errors.Join(err, json.Unmarshal(text, &again)); err != nil || again != m {
			t.Errorf("%s becomes %+v, %v", text, again, err)
		}
	}
	if d := (systemd.Manager{Watchdog: 3 * time.Second}).WatchdogInterval(); d != 1500*time.Millisecond {
		t.Errorf("interval %v", d)
	}
}
