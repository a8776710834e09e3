package systemd_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gracerun/grace/gracerun/internal/systemd"
	"github.com/gracerun/grace/listener"
)

// TestMatch: "tcp4 1.2.3.4:80" is one socket.
func TestMatch(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ sockets, want, found string }{
		{"tcp [::]:8080", "tcp :8080", "0"},
		{"tcp [::]:8080", "tcp :8081", ""},
		{"tcp [::]:8080", "udp :8080", ""},
		{"tcp [::]:80", "tcp :http", "0"},
		{"tcp [::]:8080", "tcp 0.0.0.0:8080", "0"},
		{"tcp [::]:8080", "tcp 127.0.0.1:8080", ""}, // a wildcard would serve more than is meant
		{"tcp4 127.0.0.1:8080", "tcp 127.0.0.1:8080", "0"},
		{"tcp4 127.0.0.1:8080", "tcp localhost:8080", "0"},
		{"tcp4 127.0.0.1:8080", "tcp4 127.0.0.1:8080", "0"},
		{"tcp4 127.0.0.1:8080", "tcp6 127.0.0.1:8080", ""},
		{"tcp [::1]:8080", "tcp6 [::1]:8080", "0"},
		{"tcp [::1]:8080", "tcp6 localhost:8080", "0"},
		{"tcp [::1]:8080", "tcp4 localhost:8080", ""},
		{"tcp4 0.0.0.0:80", "tcp :80", "0"},
		{"tcp4 0.0.0.0:80", "tcp6 :80", ""},
		{"tcp6 [::]:80,tcp4 0.0.0.0:80", "tcp :80", "0 1"},
		{"tcp4 0.0.0.0:80,tcp [::]:80", "tcp :80", "1"},
		{"tcp4 0.0.0.0:80,tcp [::]:80", "tcp4 :80", "0"},
		{"tcp [::]:80", "tcp4 :80", ""},
		{"udp [::]:53,tcp [::]:53", "udp :53", "0"},
		{"udp4 127.0.0.1:53", "udp 127.0.0.1:53", "0"},
		{"tcp [fe80::1%eth0]:80", "tcp [fe80::1%eth0]:80", "0"},
		{"tcp [fe80::1%eth0]:80", "tcp [fe80::1%eth1]:80", ""},
		{"tcp [::]:80", "tcp example.org:80", ""}, // not looked up
		{"tcp [::]:80", "tcp :0", ""},
		{"tcp :0", "tcp :0", "0"}, // as it was stored
		{"tcp :0,tcp :0", "tcp :0", "0"},
		{"unix /run/a", "unix /run/a", "0"},
		{"unix /run/a", "unix /run/../run/a", "0"},
		{"unix /run/a", "unixpacket /run/a", ""},
		{"unix /run/a", "unix /run/b", ""},
		{"unix @a", "unix @a", "0"},
		{"unixgram /run/a", "unixgram /run/a", "0"},
		{" ", "tcp :80", ""},
		{"tcp [::]:80", "tcp nonsense", ""},
	} {
		var list systemd.Sockets
		for i, text := range strings.Split(test.sockets, ",") {
			network, address, _ := strings.Cut(text, " ")
			list = append(list, systemd.Socket{Name: fmt.Sprint(i), Network: network, Address: address})
		}
		network, address, _ := strings.Cut(test.want, " ")
		var found []string
		for _, s := range list.Match(network, address) {
			found = append(found, s.Name)
		}
		if got := strings.Join(found, " "); got != test.found {
			t.Errorf("%s among %s: found %q, want %q", test.want, test.sockets, got, test.found)
		}
	}
}

func TestNamed(t *testing.T) {
	t.Parallel()
	list := systemd.Sockets{
		{Name: "http", Network: "tcp4", Address: "127.0.0.1:80"},
		{Name: "https", Network: "tcp4", Address: "127.0.0.1:443"},
		{Name: "http", Network: "tcp6", Address: "[::1]:80"},
		{Name: "http"}, // a FIFO
	}
	if got := list.Named("http"); len(got) != 2 || got[0].Network != "tcp4" || got[1].Network != "tcp6" {
		t.Errorf("%+v", got)
	}
	if got := list.Named("ssh"); got != nil {
		t.Errorf("%+v", got)
	}
}

// TestPassed: the next generation has them under the same names, without what came from
// the store, which is the service's own, and what it opened itself.
func TestPassed(t *testing.T) {
	t.Parallel()
	list := systemd.Sockets{
		{Name: "http", Network: "tcp4", Address: "127.0.0.1:80"},
		{Name: "gracerun/tcp/%3A8080", Network: "tcp", Address: ":8080", Stored: true},
		{Name: "fifo"},
	}
	handles := []listener.Handle{{Network: "udp", Address: ":53"}}
	for _, s := range list {
		handles = append(handles, s.Handle())
	}
	got := systemd.Passed(handles)
	if len(got) != 2 || got[0].Name != "http" || got[0].Network != "tcp4" || got[0].Address != "127.0.0.1:80" ||
		got[1].Name != "fifo" || got[1].Network != "" {
		t.Errorf("%+v", got)
	}
	for i, s := range got {
		if h := s.Handle(); h != handles[[]int{1, 3}[i]] {
			t.Errorf("its handle is %+v by now", h)
		}
	}
}

// FuzzStoreName: what is stored is found again, under a name that the manager takes.
func FuzzStoreName(f *testing.F) {
	f.Add("", "tcp", ":0")
	f.Add("", "unix", "/run/a b%\xff:ü")
	f.Add("journal", "", "")
	f.Fuzz(func(t *testing.T, name, network, address string) {
		h := listener.Handle{Name: name}
		if name == "" {
			h = listener.Handle{Network: network, Address: address}
		}
		if name == "" && (address == "" || network == "file" || strings.ContainsFunc(network, func(r rune) bool { return r < 'a' || r > 'z' })) {
			return // no such network
		}
		stored := systemd.StoreName(h)
		if strings.ContainsFunc(stored, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }) {
			t.Fatalf("%+v is stored as %q", h, stored)
		}
		s := systemd.Socket{Name: stored, Network: "tcp", Address: "[::]:1", Stored: true}
		h.Parked = true
		if got := s.Handle(); got != h {
			t.Errorf("%+v, stored as %q, is %+v", h, stored, got)
		}
	})
}
