//go:build unix

package listener_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gracerun/grace/listener"
)

// A rename is a change of the configured address between two generations, in
// which P stands for the port.
type rename struct {
	net1, addr1, net2, addr2 string
	blocked                  bool // the old socket is in the way, and not the new one
}

func TestOtherName(t *testing.T) {
	t.Parallel()
	if !haveIPv6() {
		t.Skip("wildcards mean other addresses without IPv6")
	}
	for _, r := range []rename{
		{"tcp", "localhost:P", "tcp", "127.0.0.1:P", false},
		{"tcp", "127.0.0.1:P", "tcp4", "localhost:P", false},
		{"tcp4", "127.0.0.1:P", "tcp", "127.0.0.1:P", false},
		{"tcp", ":P", "tcp", "0.0.0.0:P", false},
		{"tcp", "[::]:P", "tcp", ":P", false},
		{"tcp4", ":P", "tcp", "127.0.0.1:P", true},
		{"tcp", ":P", "tcp", "127.0.0.1:P", true},
		{"tcp", "127.0.0.1:P", "tcp", ":P", true},
		{"tcp", ":P", "tcp4", ":P", true},
		{"tcp", ":P", "tcp6", ":P", true},
		{"udp", "localhost:P", "udp", "127.0.0.1:P", false},
		{"udp", ":P", "udp", "127.0.0.1:P", true},
	} {
		t.Run(r.net1+" "+r.addr1+" to "+r.net2+" "+r.addr2, r.test)
	}
}

func (r rename) test(t *testing.T) {
	t.Parallel()
	first := newSet(t)
	addr, _ := mustOpen(t, first, r.net1, strings.Replace(r.addr1, "P", "0", 1))
	_, port, _ := net.SplitHostPort(addr.String())
	handles, conns := first.Handles()
	handles[0].Address = strings.Replace(r.addr1, "P", port, 1)
	second := listener.Inherit(handles, dupAll(t, conns))
	defer second.Close()
	address := strings.Replace(r.addr2, "P", port, 1)
	_, sock, err := open(second, r.net2, address)
	if r.blocked {
		if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "restart instead of upgrade") {
			t.Errorf("err = %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	handles, _ = second.Handles()
	if len(handles) != 1 || handles[0].Network != r.net2 || handles[0].Address != address {
		t.Errorf("Handles = %v", handles)
	}
	if err := second.CloseUnused(); err != nil {
		t.Error(err)
	}
	first.Close()
	exchange(t, sock, r.net2, dialable(addr))
}

// dialable returns addr with the loopback address for a wildcard.
func dialable(addr net.Addr) net.Addr {
	switch a := addr.(type) {
	case *net.TCPAddr:
		if a.IP.IsUnspecified() {
			return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: a.Port}
		}
	case *net.UDPAddr:
		if a.IP.IsUnspecified() {
			return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: a.Port}
		}
	}
	return addr
}

func TestForeignAddressInUse(t *testing.T) {
	t.Parallel()
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	first := newSet(t)
	mustOpen(t, first, "tcp", "127.0.0.1:0")
	_, _, err = open(successor(t, first), "tcp", other.Addr().String())
	if !errors.Is(err, syscall.EADDRINUSE) || strings.Contains(err.Error(), "inherited") {
		t.Errorf("err = %v", err)
	}
}

func TestUnixOtherName(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	if err := os.Mkdir(filepath.Join(dir, "real"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "real", "s")
	first := newSet(t)
	addr, _ := mustOpen(t, first, "unix", path)

	_, _, err := open(successor(t, first), "unixgram", path)
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "restart instead of upgrade") {
		t.Errorf("unix to unixgram: %v", err)
	}
	second := successor(t, first)
	_, c := mustOpen(t, second, "unix", filepath.Join(dir, "link", "s"))
	if err := second.CloseUnused(); err != nil {
		t.Fatal(err)
	}
	first.Release()
	first.Close()
	exchange(t, c, "unix", addr)
	second.Close()
	if exists(path) {
		t.Error("the file is left")
	}
}

func TestDroppedSocket(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	keep, drop := filepath.Join(dir, "keep"), filepath.Join(dir, "drop")
	first := newSet(t)
	mustOpen(t, first, "unix", keep)
	mustOpen(t, first, "unixgram", drop)
	tcp, _ := mustOpen(t, first, "tcp", "127.0.0.1:0")

	second := successor(t, first)
	mustOpen(t, second, "unix", keep)
	if !exists(drop) {
		t.Error("dropped before the commit")
	}
	if err := second.CloseUnused(); err != nil {
		t.Error(err)
	}
	first.Release()
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if exists(drop) || !exists(keep) {
		t.Errorf("drop exists %t, keep exists %t", exists(drop), exists(keep))
	}
	if c, err := net.Dial("tcp", tcp.String()); err == nil {
		c.Close()
		t.Error("the dropped listener still answers")
	}
	if err := second.CloseUnused(); err != nil {
		t.Errorf("second CloseUnused: %v", err)
	}
	if got, _ := second.Handles(); len(got) != 1 || got[0].Path != keep || got[0].Ino == 0 {
		t.Errorf("Handles = %v", got)
	}
}
