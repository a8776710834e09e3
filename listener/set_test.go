//go:build unix

package listener_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/gracerun/grace/listener"
)

func isPacket(network string) bool {
	return strings.HasPrefix(network, "udp") || network == "unixgram"
}

// open calls Listen or ListenPacket and returns the bound address.
func open(s *listener.Set, network, address string) (net.Addr, io.Closer, error) {
	if isPacket(network) {
		c, err := s.ListenPacket(context.Background(), network, address)
		if err != nil {
			return nil, nil, err
		}
		return c.LocalAddr(), c, nil
	}
	ln, err := s.Listen(context.Background(), network, address)
	if err != nil {
		return nil, nil, err
	}
	return ln.Addr(), ln, nil
}

func mustOpen(t testing.TB, s *listener.Set, network, address string) (net.Addr, io.Closer) {
	t.Helper()
	addr, c, err := open(s, network, address)
	if err != nil {
		t.Fatal(err)
	}
	return addr, c
}

// exchange has a client reach c, a listener or packet connection.
func exchange(t *testing.T, c io.Closer, network string, addr net.Addr) {
	t.Helper()
	client, err := net.Dial(network, addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	var from io.Reader
	if ln, ok := c.(net.Listener); ok {
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		from = conn
	} else {
		from = c.(io.Reader)
	}
	buf := make([]byte, 16)
	if n, err := from.Read(buf); err != nil || string(buf[:n]) != "ping" {
		t.Fatalf("read %q, %v; want ping", buf[:n], err)
	}
}

func TestEveryNetwork(t *testing.T) {
	t.Parallel()
	for _, a := range addresses(t) {
		t.Run(a.network+" "+filepath.Base(a.address), func(t *testing.T) {
			t.Parallel()
			first := newSet(t)
			addr, c := mustOpen(t, first, a.network, a.address)
			exchange(t, c, a.network, addr)

			second := successor(t, first)
			addr2, c2 := mustOpen(t, second, a.network, a.address)
			if addr2.String() != addr.String() {
				t.Fatalf("inherited %v, want %v", addr2, addr)
			}
			if err := second.CloseUnused(); err != nil {
				t.Fatal(err)
			}
			first.Release()
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			exchange(t, c2, a.network, addr)
			want := listener.Socket{Network: a.network, Address: a.address, Bound: addr.String()}
			if got := second.Sockets(); len(got) != 1 || got[0] != want {
				t.Errorf("Sockets = %v, want %v", got, want)
			}
		})
	}
}

func TestPacketConnIsReal(t *testing.T) {
	t.Parallel()
	first := newSet(t)
	mustOpen(t, first, "udp", "127.0.0.1:0")
	_, c := mustOpen(t, successor(t, first), "udp", "127.0.0.1:0")
	if _, ok := c.(*net.UDPConn); !ok {
		t.Errorf("inherited udp is a %T", c)
	}
}

func TestUnknownNetwork(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	for _, network := range []string{"", "udp", "tcp5", "ip:icmp"} {
		_, err := s.Listen(context.Background(), network, ":0")
		var unknown net.UnknownNetworkError
		if !errors.As(err, &unknown) || !strings.Contains(err.Error(), "unixpacket") {
			t.Errorf("Listen %q: %v", network, err)
		}
	}
	if _, err := s.ListenPacket(context.Background(), "tcp", ":0"); err == nil || !strings.Contains(err.Error(), "unixgram") {
		t.Errorf("ListenPacket tcp: %v", err)
	}
	if _, err := s.Listen(context.Background(), "unix", ""); err == nil {
		t.Error("Listen unix without a path succeeded")
	}
}

func TestPortZeroKeepsOrder(t *testing.T) {
	t.Parallel()
	var ports []string
	first := newSet(t)
	for range 5 {
		addr, _ := mustOpen(t, first, "tcp", "127.0.0.1:0")
		ports = append(ports, addr.String())
	}
	second := successor(t, first)
	for i, want := range ports {
		if addr, _ := mustOpen(t, second, "tcp", "127.0.0.1:0"); addr.String() != want {
			t.Errorf("socket %d is %v, want %v", i, addr, want)
		}
	}
	for i, info := range second.Sockets() {
		if info.Bound != ports[i] {
			t.Errorf("Sockets[%d] = %v, want %v", i, info, ports[i])
		}
	}
	addr, _ := mustOpen(t, second, "tcp", "127.0.0.1:0")
	for _, port := range ports {
		if addr.String() == port {
			t.Errorf("a sixth socket shares %v", port)
		}
	}
}

// TestManySockets: more than one goroutine adopts, and each descriptor stays with
// its name. The sockets are told apart by their ports.
func TestManySockets(t *testing.T) {
	t.Parallel()
	const n = 300
	first := newSet(t)
	for range n {
		mustOpen(t, first, "tcp", "127.0.0.1:0")
	}
	second := successor(t, first)
	for range n {
		mustOpen(t, second, "tcp", "127.0.0.1:0")
	}
	if have, want := second.Sockets(), first.Sockets(); !slices.Equal(have, want) {
		t.Errorf("after %v come %v", want, have)
	}
}

func TestAddressTwice(t *testing.T) {
	t.Parallel()
	first := newSet(t)
	path := filepath.Join(shortDir(t), "s")
	addr, _ := mustOpen(t, first, "tcp", "127.0.0.1:0")
	mustOpen(t, first, "unix", path)
	handles, conns := first.Handles()
	handles[0].Address = addr.String()
	second := listener.Inherit(handles, dupAll(t, conns))
	defer second.Close()
	for _, h := range handles {
		mustOpen(t, second, h.Network, h.Address)
		_, _, err := open(second, h.Network, h.Address)
		if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "in this Set already") {
			t.Errorf("%v twice: %v", h, err)
		}
	}
	second.Close()
	if _, _, err := open(second, "tcp", ":0"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Listen after Close: %v", err)
	}
}

func TestListenAfterServerClosed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(shortDir(t), "s")
	s := newSet(t)
	_, c := mustOpen(t, s, "unix", path)
	c.Close()
	if n := len(s.Sockets()); n != 0 {
		t.Errorf("a closed listener counts: %v", s.Sockets())
	}
	addr, c := mustOpen(t, s, "unix", path)
	exchange(t, c, "unix", addr)
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	const n = 20
	s := newSet(t)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if _, _, err := open(s, "tcp", "127.0.0.1:0"); err != nil {
				t.Error(err)
			}
			_, conns := s.Handles()
			if err := listener.Control(conns, func([]int) error { return nil }); err != nil {
				t.Error(err)
			}
			s.Sockets()
		})
	}
	wg.Wait()
	if got := len(s.Sockets()); got != n {
		t.Errorf("%d sockets, want %d", got, n)
	}
}

func TestRelativePath(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	rel, err := filepath.Rel(wd, filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	s := newSet(t)
	addr, _ := mustOpen(t, s, "unix", rel)
	if addr.String() != filepath.Join(dir, "s") {
		t.Errorf("bound to %v", addr)
	}
	if err := s.Remove("unix:" + rel); err != nil {
		t.Error(err)
	}
	if exists(addr.String()) {
		t.Error("Remove left the file")
	}
}

func TestFileOverGenerations(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(path, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	first := newSet(t)
	if err := first.Add("state", f); err != nil {
		t.Fatal(err)
	}
	f.Close()
	third := successor(t, committed(t, first, "state"))
	got, err := third.File("state")
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	if b, err := io.ReadAll(got); err != nil || string(b) != "hello" {
		t.Errorf("read %q, %v", b, err)
	}
}

func TestAddRemove(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, want := range []error{nil, fs.ErrExist} {
		if err := s.Add("null", f); !errors.Is(err, want) {
			t.Errorf("Add = %v, want %v", err, want)
		}
	}
	if err := s.Add("", f); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("Add without a name = %v", err)
	}
	f.Close()
	if err := s.Add("closed", f); err == nil {
		t.Error("added a closed file")
	}
	if err := s.Remove("null"); err != nil {
		t.Error(err)
	}
	var perr *fs.PathError
	if f, err := s.File("null"); f != nil || !errors.As(err, &perr) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("File after Remove = %v, %v", f, err)
	}
	for _, name := range []string{"null", "", "tcp::1"} {
		if err := s.Remove(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Remove %q = %v", name, err)
		}
	}
}

// committed returns a successor that has asked for the named file, and committed.
func committed(t *testing.T, s *listener.Set, name string) *listener.Set {
	t.Helper()
	next := successor(t, s)
	f, err := next.File(name)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := next.CloseUnused(); err != nil {
		t.Fatal(err)
	}
	return next
}

func TestAddReplacesUnasked(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	first := newSet(t)
	if err := first.Add("pipe", r); err != nil {
		t.Fatal(err)
	}
	second := successor(t, first)
	if err := second.Add("pipe", w); err != nil {
		t.Fatal(err)
	}
	if handles, _ := second.Handles(); len(handles) != 1 {
		t.Errorf("Handles = %v, want one", handles)
	}
	if err := second.CloseUnused(); err != nil {
		t.Fatal(err)
	}
	if f, err := second.File("pipe"); err != nil {
		t.Error(err)
	} else if _, err := f.Write([]byte("x")); err != nil {
		t.Errorf("not the write end: %v", err)
	} else {
		f.Close()
	}
}

func TestHandlesOrder(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	mustOpen(t, s, "udp", "127.0.0.1:0")
	_, ln := mustOpen(t, s, "tcp", "127.0.0.1:0")
	if err := s.Add("null", os.Stdin); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, s, "tcp4", "127.0.0.1:0")
	ln.Close()
	handles, conns := s.Handles()
	want := []listener.Handle{
		{Network: "udp", Address: "127.0.0.1:0"}, {Name: "null"}, {Network: "tcp4", Address: "127.0.0.1:0"},
	}
	if len(handles) != len(want) || len(conns) != len(want) {
		t.Fatalf("Handles = %v, want %v", handles, want)
	}
	for i := range want {
		if handles[i] != want[i] {
			t.Errorf("Handles[%d] = %v, want %v", i, handles[i], want[i])
		}
	}
	ok := errors.New("f's own")
	if err := listener.Control(conns, func(fds []int) error { return ok }); err != ok {
		t.Errorf("Control = %v", err)
	}
	s.Close()
	err := listener.Control(conns, func([]int) error { t.Error("f called"); return nil })
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("Control after Close = %v", err)
	}
}
