//go:build unix

package listener_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/gracerun/grace/listener"
	"golang.org/x/sys/unix"
)

// passed returns a Set with the sockets of somebody else, a service manager, who keeps
// its own, as the service is to keep them.
func passed(t *testing.T, handles []listener.Handle, conns ...syscall.Conn) *listener.Set {
	t.Helper()
	for i := range handles {
		handles[i].Keep, handles[i].Label = true, "web"
	}
	s := listener.Inherit(handles, dupAll(t, conns))
	t.Cleanup(func() { s.Close() })
	return s
}

// TestKeep: what was passed goes from generation to generation, asked for or not.
func TestKeep(t *testing.T) {
	t.Parallel()
	path := filepath.Join(shortDir(t), "s")
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer tcp.Close()
	file, err := net.Listen("unix", path)
	check(t, err)
	defer file.Close()
	want := []listener.Handle{
		{Network: "tcp4", Address: tcp.Addr().String()},
		{Network: "unix", Address: path},
	}
	set := passed(t, want, tcp.(syscall.Conn), file.(syscall.Conn))
	for range 3 {
		check(t, set.CloseUnused())
		check(t, set.CloseUnused()) // has nothing left to do
		if handles, _ := set.Handles(); !slices.Equal(handles, want) || !slices.Equal(set.Unused(), want) {
			t.Fatalf("handed on %v, unused %v; want %v", handles, set.Unused(), want)
		}
		set = successor(t, set)
	}
	for _, h := range want {
		addr, c := mustOpen(t, set, h.Network, h.Address)
		exchange(t, c, h.Network, addr)
	}
	check(t, set.CloseUnused())
	if unused := set.Unused(); unused != nil {
		t.Errorf("unused: %v", unused)
	}
	if handles, _ := set.Handles(); !slices.Equal(handles, want) {
		t.Errorf("handed on %v, want %v", handles, want)
	}
	check(t, set.Unlink())
	check(t, set.Close())
	if !exists(path) {
		t.Error("the file is gone: it is not the service's")
	}
}

// TestKeepOtherPath: /var/run is /run, and a socket of the one is one of the other.
func TestKeepOtherPath(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	check(t, os.Mkdir(filepath.Join(dir, "run"), 0o700))
	check(t, os.Symlink("run", filepath.Join(dir, "link")))
	ln, err := net.Listen("unix", filepath.Join(dir, "run", "s"))
	check(t, err)
	defer ln.Close()
	set := passed(t, []listener.Handle{{Network: "unix", Address: filepath.Join(dir, "run", "s")}}, ln.(syscall.Conn))
	addr, c := mustOpen(t, set, "unix", filepath.Join(dir, "link", "s"))
	exchange(t, c, "unix", addr)
	if set.Unused() != nil {
		t.Error("another socket was opened")
	}
}

// TestKeepInTheWay: nobody else can close it, and it is said whose it is.
func TestKeepInTheWay(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp4", "0.0.0.0:0")
	check(t, err)
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	set := passed(t, []listener.Handle{{Network: "tcp4", Address: "0.0.0.0:" + port}}, ln.(syscall.Conn))
	_, _, err = open(set, "tcp4", "127.0.0.1:"+port)
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "passed to the service") {
		t.Errorf("error %v", err)
	}
}

// TestKeepBacklog: it is who passed the socket who says how many may wait.
func TestKeepBacklog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(shortDir(t), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	check(t, err)
	check(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	check(t, unix.Listen(fd, 1))
	set := listener.Inherit([]listener.Handle{{Network: "unix", Address: path, Keep: true}}, []int{fd})
	defer set.Close()
	mustOpen(t, set, "unix", path)
	check(t, set.CloseUnused())
	for n := 1; ; n++ {
		c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		check(t, err)
		defer unix.Close(c)
		check(t, unix.SetNonblock(c, true))
		if err := unix.Connect(c, &unix.SockaddrUnix{Name: path}); err != nil {
			return // EAGAIN, on BSD ECONNREFUSED
		}
		if n == 8 {
			t.Fatalf("%d connections wait where 1 may", n)
		}
	}
}

// TestPark: the next start, and not a successor, goes on with the socket.
func TestPark(t *testing.T) {
	t.Parallel()
	path := filepath.Join(shortDir(t), "s")
	first := newSet(t)
	addr, _ := mustOpen(t, first, "unix", path)
	handles, conns := first.Handles()
	store := dupAll(t, conns)
	first.Park(handles[0])
	if handles, _ := first.Handles(); !handles[0].Parked {
		t.Error("the successor does not hear of it")
	}
	check(t, first.Unlink())
	check(t, first.Close())
	if !exists(path) {
		t.Fatal("the file of a parked socket is gone")
	}

	next := listener.Inherit([]listener.Handle{{Network: "unix", Address: path, Parked: true}}, store)
	defer next.Close()
	_, c := mustOpen(t, next, "unix", path)
	exchange(t, c, "unix", addr)
	check(t, next.CloseUnused())
	third := successor(t, next)
	next.Release()
	check(t, next.Close())
	if !exists(path) {
		t.Fatal("the file is gone, and its socket is served")
	}
	check(t, third.CloseUnused()) // it has no use for it
	if exists(path) {
		t.Error("the file of a dropped socket is left")
	}
}

// TestParkedRemove: who removes a socket removes its file.
func TestParkedRemove(t *testing.T) {
	t.Parallel()
	path := filepath.Join(shortDir(t), "s")
	set := newSet(t)
	mustOpen(t, set, "unix", path)
	set.Park(listener.Handle{Network: "unix", Address: path})
	check(t, set.Remove("unix:"+path))
	if exists(path) {
		t.Error("the file is left")
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
