//go:build unix

package listener_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// leaveStale leaves a socket file that nobody answers on.
func leaveStale(t *testing.T, network, path string) {
	t.Helper()
	if network == "unixgram" {
		c, err := net.ListenUnixgram(network, &net.UnixAddr{Name: path, Net: network})
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		return
	}
	ln, err := net.ListenUnix(network, &net.UnixAddr{Name: path, Net: network})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
}

func TestStaleSocketFile(t *testing.T) {
	t.Parallel()
	networks := []string{"unix", "unixgram"}
	if runtime.GOOS == "linux" {
		networks = append(networks, "unixpacket")
	}
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(shortDir(t), "s")
			leaveStale(t, network, path)
			addr, c := mustOpen(t, newSet(t), network, path)
			exchange(t, c, network, addr)
			for _, other := range networks {
				if _, _, err := open(newSet(t), other, path); !errors.Is(err, syscall.EADDRINUSE) {
					t.Errorf("%s on a live %s: %v", other, network, err)
				}
			}
			if !exists(path) {
				t.Error("the live file is gone")
			}
		})
	}
}

func TestNotASocketFile(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	path, stale, link := filepath.Join(dir, "f"), filepath.Join(dir, "s"), filepath.Join(dir, "l")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	leaveStale(t, "unix", stale)
	if err := os.Symlink(stale, link); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, link} {
		if _, _, err := open(newSet(t), "unix", p); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("%s: %v", p, err)
		}
		if !exists(p) {
			t.Errorf("%s is gone", p)
		}
	}
}

func TestFailedSuccessor(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	shared, own := filepath.Join(dir, "shared"), filepath.Join(dir, "own")
	first := newSet(t)
	addr, c := mustOpen(t, first, "unix", shared)
	second := successor(t, first)
	mustOpen(t, second, "unix", shared)
	mustOpen(t, second, "unix", own)
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if exists(own) {
		t.Error("the failed successor left a file of its own")
	}
	exchange(t, c, "unix", addr)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if exists(shared) {
		t.Error("the last owner left the file")
	}
}

func TestReleaseCoversWhatWasHandedOver(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	given, late := filepath.Join(dir, "given"), filepath.Join(dir, "late")
	first := newSet(t)
	mustOpen(t, first, "unix", given)
	second := successor(t, first)
	mustOpen(t, second, "unix", given)
	mustOpen(t, first, "unix", late)
	if err := second.CloseUnused(); err != nil {
		t.Fatal(err)
	}
	first.Release()
	first.Close()
	if !exists(given) || exists(late) {
		t.Errorf("given exists %t, late exists %t", exists(given), exists(late))
	}
	second.Close()
	if exists(given) {
		t.Error("the successor left the file")
	}
}

// TestForeignFileStays has another process take the path over, while the Set's
// listener is open and after a server has closed it.
func TestForeignFileStays(t *testing.T) {
	t.Parallel()
	for _, closed := range []bool{false, true} {
		path := filepath.Join(shortDir(t), "s")
		s := newSet(t)
		_, c := mustOpen(t, s, "unix", path)
		if closed {
			c.Close()
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		other, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if !exists(path) {
			t.Errorf("closed %t: the other's file is gone", closed)
		}
		other.Close()
	}
}

func TestCloseAfterServer(t *testing.T) {
	t.Parallel()
	path := filepath.Join(shortDir(t), "s")
	s := newSet(t)
	_, c := mustOpen(t, s, "unix", path)
	c.Close()
	if !exists(path) {
		t.Error("the listener's own Close removed the file")
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if exists(path) {
		t.Error("the file is left")
	}
}

func TestUnlink(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	shared, own := filepath.Join(dir, "shared"), filepath.Join(dir, "own")
	first := newSet(t)
	mustOpen(t, first, "unix", shared)
	second := successor(t, first)
	mustOpen(t, second, "unix", shared)
	_, c := mustOpen(t, second, "unix", own)
	if err := second.Unlink(); err != nil {
		t.Error(err)
	}
	if exists(own) || !exists(shared) {
		t.Errorf("own exists %t, shared exists %t", exists(own), exists(shared))
	}
	c.Close()
	mustOpen(t, first, "unix", own)
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if !exists(own) {
		t.Error("Close after Unlink removed another's file")
	}
}

// TestRemoveInherited removes a socket before the commit: the predecessor may
// carry on, so its file has to wait.
func TestRemoveInherited(t *testing.T) {
	t.Parallel()
	for _, asked := range []bool{false, true} {
		path := filepath.Join(shortDir(t), "s")
		first := newSet(t)
		addr, c := mustOpen(t, first, "unix", path)
		second := successor(t, first)
		if asked {
			mustOpen(t, second, "unix", path)
		}
		if err := second.Remove("unix:" + path); err != nil {
			t.Fatal(err)
		}
		if len(second.Sockets()) != 0 {
			t.Errorf("Sockets = %v", second.Sockets())
		}
		exchange(t, c, "unix", addr)
		if err := second.CloseUnused(); err != nil {
			t.Error(err)
		}
		if exists(path) {
			t.Errorf("asked %t: the file is left", asked)
		}
	}
}
