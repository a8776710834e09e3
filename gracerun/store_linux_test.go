package gracerun

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/gracerun/internal/handoff"
	"github.com/gracerun/grace/listener"
)

// handleOf returns a descriptor of its own for a new socket, on its way.
func handleOf(t *testing.T, network, address string) (listener.Handle, int) {
	t.Helper()
	set := new(listener.Set)
	ln, err := set.Listen(t.Context(), network, address)
	check(t, err)
	t.Cleanup(func() { set.Close() })
	_, conns := set.Handles()
	var fd int
	check(t, listener.Control(conns, func(fds []int) (err error) {
		fd, err = unix.FcntlInt(uintptr(fds[0]), unix.F_DUPFD_CLOEXEC, 0)
		return err
	}))
	return listener.Handle{Network: network, Address: ln.Addr().String()}, fd
}

// TestStore: the sockets are parked before the manager hears that the service is ready,
// and the file of one is left when it stops.
func TestStore(t *testing.T) {
	t.Parallel()
	m := newFakeManager(t)
	m.StoreMax = 3
	path := socketPath(t)
	a := &App{}
	a.Serve("unix", path, newStill())
	a.Serve("tcp", "127.0.0.1:0", newStill())
	a.Setup = func(context.Context) error {
		f, err := os.Open(os.DevNull)
		check(t, err)
		defer f.Close()
		return a.Sockets().Add("state", f)
	}
	s := m.perform(a, &fakeSelf{})
	s.ready()
	m.expect("FDSTORE=1", "FDNAME=gracerun/file/state")
	m.expect("FDSTORE=1", "FDNAME=gracerun/unix/"+strings.ReplaceAll(path, ":", "%3A"))
	m.expect("FDSTORE=1", "FDNAME=gracerun/tcp/127.0.0.1%3A0")
	m.expect("READY=1")
	s.signal(syscall.SIGTERM)
	for _, ad := range a.work.servers {
		close(ad.registered().(*still).finish)
	}
	check(t, s.wait())
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the file of a parked socket: %v", err)
	}
}

// TestStoreIsFull: of what does not fit, or has too long a name, the file goes at a stop.
func TestStoreIsFull(t *testing.T) {
	t.Parallel()
	m := newFakeManager(t)
	m.StoreMax = 1
	path := socketPath(t)
	a := &App{}
	a.Serve("tcp", "127.0.0.1:0", newStill())
	a.Serve("unix", path, newStill())
	a.Setup = func(context.Context) error {
		f, err := os.Open(os.DevNull)
		check(t, err)
		defer f.Close()
		return a.Sockets().Add(strings.Repeat("x", 256), f)
	}
	s := m.perform(a, &fakeSelf{})
	s.ready()
	m.expect("FDSTORE=1", "FDNAME=gracerun/tcp/127.0.0.1%3A0")
	m.expect("READY=1")
	for _, ad := range a.work.servers {
		close(ad.registered().(*still).finish)
	}
	s.signal(syscall.SIGTERM)
	check(t, s.wait())
	if _, err := os.Lstat(path); err == nil {
		t.Error("the file of a socket that nobody has is left")
	}
}

// TestStoreOfASuccessor: what it has not from the predecessor is stored, what it does
// not want any more is dropped, and what a socket unit passed is neither.
func TestStoreOfASuccessor(t *testing.T) {
	t.Parallel()
	m := newFakeManager(t)
	m.StoreMax = 10
	legacy := &handoff.Legacy{From: 1}
	for _, change := range []func(*listener.Handle){
		func(h *listener.Handle) { h.Parked, h.Address = true, "127.0.0.1:0" },
		func(h *listener.Handle) { h.Parked, h.Address = true, "127.0.0.1:0" },
		func(h *listener.Handle) { h.Parked, h.Address = true, "localhost:0" },
		func(h *listener.Handle) { h.Keep, h.Label = true, "web" },
		func(h *listener.Handle) { h.Keep, h.Label = true, "spare" },
	} {
		h, fd := handleOf(t, "tcp4", "127.0.0.1:0")
		change(&h)
		legacy.Handles, legacy.FDs = append(legacy.Handles, h), append(legacy.FDs, fd)
	}
	var log strings.Builder
	a := &App{Logger: slog.New(slog.NewTextHandler(&log, nil))}
	a.Serve("tcp4", "127.0.0.1:0", newStill())
	a.Serve("tcp4", ":0", newStill())
	a.Serve("systemd", "web", newStill())
	self := &fakeSelf{legacy: legacy}
	s := m.perform(a, self)
	self.events <- handoff.Go{}
	s.ready()
	self.events <- handoff.Main{Generation: 2}
	m.expect("FDSTOREREMOVE=1", "FDNAME=gracerun/tcp4/127.0.0.1%3A0") // one of two: the other goes with it
	m.expect("FDSTOREREMOVE=1", "FDNAME=gracerun/tcp4/localhost%3A0")
	m.expect("FDSTORE=1", "FDNAME=gracerun/tcp4/127.0.0.1%3A0")
	m.expect("FDSTORE=1", "FDNAME=gracerun/tcp4/%3A0")
	for _, ad := range a.work.servers {
		close(ad.registered().(*still).finish)
	}
	s.end()
	check(t, s.wait())
	for _, text := range m.rest() {
		if strings.Contains(text, "FDNAME") {
			t.Errorf("the manager was told %q", text)
		}
	}
	if !strings.Contains(log.String(), "name=spare") || strings.Contains(log.String(), "name=web") {
		t.Errorf("the log says %s", log.String())
	}
}
