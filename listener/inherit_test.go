//go:build unix

package listener_test

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/gracerun/grace/listener"
	"golang.org/x/sys/unix"
)

// successor returns the Set that another process would have: with duplicates of
// everything in s.
func successor(t testing.TB, s *listener.Set) *listener.Set {
	t.Helper()
	handles, conns := s.Handles()
	next := listener.Inherit(handles, dupAll(t, conns))
	t.Cleanup(func() { next.Close() })
	return next
}

func dupAll(t testing.TB, conns []syscall.Conn) []int {
	t.Helper()
	var dups []int
	err := listener.Control(conns, func(fds []int) error {
		for _, fd := range fds {
			d, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				return os.NewSyscallError("fcntl", err)
			}
			dups = append(dups, d)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return dups
}

// newSet returns an empty Set that is closed at the end of the test.
func newSet(t testing.TB) *listener.Set {
	s := new(listener.Set)
	t.Cleanup(func() { s.Close() })
	return s
}

// shortDir returns a directory whose path leaves room in a unix address, which
// is 108 bytes long at most.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ln")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// addresses returns one address for each network this system has.
func addresses(t testing.TB) []struct{ network, address string } {
	dir := shortDir(t)
	list := []struct{ network, address string }{
		{"tcp", "127.0.0.1:0"}, {"tcp4", "localhost:0"}, {"tcp", ":0"},
		{"udp", "127.0.0.1:0"}, {"udp4", ":0"},
		{"unix", filepath.Join(dir, "s")}, {"unixgram", filepath.Join(dir, "g")},
	}
	if haveIPv6() {
		list = append(list, []struct{ network, address string }{
			{"tcp6", "[::1]:0"}, {"udp6", "[::1]:0"},
		}...)
	}
	if runtime.GOOS == "linux" {
		name := "@" + filepath.Base(dir)
		list = append(list, []struct{ network, address string }{
			{"unixpacket", filepath.Join(dir, "p")},
			{"unix", name}, {"unixpacket", name + "p"}, {"unixgram", name + "g"},
		}...)
	}
	return list
}

func haveIPv6() bool {
	ln, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		return false
	}
	ln.Close()
	return true
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
