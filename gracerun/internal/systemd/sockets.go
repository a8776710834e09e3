package systemd

import (
	"cmp"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gracerun/grace/listener"
)

// A Socket is one descriptor that a manager passed to the service: from a socket unit,
// or from the fd store.
type Socket struct {
	// Name is FileDescriptorName= of the socket unit, by default the name of the
	// unit, or what the descriptor was stored under.
	Name string

	// Network and Address are what App.Serve would say: "tcp4" is a socket for IPv4
	// only, "tcp6" one for IPv6 only, "tcp" takes both. The address is the bound one;
	// of what came back from the store it is the one that was configured. Both are
	// empty for what cannot be served: an accepted connection, a FIFO, memory.
	Network string
	Address string

	// Stored says that it came back from the fd store, under a name of [StoreName].
	Stored bool

	fd int
}

// FD is the descriptor, in the process that called [ReadSockets]; it is the caller's,
// who gives it with the Handle to [listener.Inherit].
func (s Socket) FD() int { return s.fd }

// Handle describes the descriptor to a [listener.Set], and to the next generations: see
// [Passed]. It has no path: a socket file is the manager's to remove, unless it came
// back from the store.
func (s Socket) Handle() listener.Handle {
	if h, ok := parseStoreName(s.Name); ok && s.Stored {
		h.Parked = true
		return h
	}
	h := listener.Handle{Network: s.Network, Address: s.Address, Label: s.Name, Keep: true}
	if s.Network == "" {
		h.Name = s.Name
	}
	return h
}

// Passed returns the sockets of a socket unit among those that a generation hands on.
func Passed(handles []listener.Handle) (list Sockets) {
	for _, h := range handles {
		if h.Keep {
			list = append(list, Socket{Name: h.Label, Network: h.Network, Address: h.Address, fd: -1})
		}
	}
	return list
}

// Sockets are all that a manager passed, in its order.
type Sockets []Socket

// Named returns the sockets to serve that have the name: a socket unit may have
// several.
func (s Sockets) Named(name string) Sockets {
	return s.filter(func(s Socket) bool { return s.Name == name && s.Network != "" })
}

// Match returns the sockets that are what the service is configured to open: none, one,
// or, of a wildcard, one for IPv4 and one for IPv6. The same port of the same address
// is meant; network "tcp" takes a socket of either family, because the manager's
// configuration is the last word on which is wanted, "tcp4" and "tcp6" only one of
// theirs. Port 0 is found if it was stored. A host name is not looked up, other than
// "localhost".
func (s Sockets) Match(network, address string) Sockets {
	if strings.HasPrefix(network, "unix") && !strings.HasPrefix(address, "@") {
		if abs, err := filepath.Abs(address); err == nil {
			address = abs
		}
	}
	same := s.filter(func(s Socket) bool { return s.Network == network && s.Address == address })
	if len(same) > 0 {
		return same[:1]
	}
	want, ok := addrPort(network, address)
	if !ok {
		return nil
	}
	found := s.filter(func(s Socket) bool {
		have, ok := addrPort(s.Network, s.Address)
		return ok && s.accepts(network) && sameAddress(have, want)
	})
	slices.SortStableFunc(found, func(a, b Socket) int { return cmp.Compare(len(a.Network), len(b.Network)) })
	if len(found) > 0 && len(found[0].Network) == len("tcp") { // it takes both families
		return found[:1]
	}
	return slices.CompactFunc(found, func(a, b Socket) bool { return a.Network == b.Network })
}

func (s Sockets) filter(keep func(Socket) bool) (found Sockets) {
	for _, socket := range s {
		if keep(socket) {
			found = append(found, socket)
		}
	}
	return found
}

// accepts reports whether the socket is one for a network that is asked for.
func (s Socket) accepts(network string) bool {
	switch {
	case strings.TrimRight(s.Network, "46") != strings.TrimRight(network, "46"): // "tcp", "udp"
		return false
	case strings.HasSuffix(network, "4"):
		return strings.HasSuffix(s.Network, "4")
	case strings.HasSuffix(network, "6"):
		return !strings.HasSuffix(s.Network, "4")
	}
	return true
}

func sameAddress(have, want netip.AddrPort) bool {
	if have.Port() != want.Port() {
		return false
	}
	a, b := have.Addr().Unmap(), want.Addr().Unmap()
	return a == b || a.IsUnspecified() && b.IsUnspecified()
}

// addrPort reads an internet address with a port that is not 0.
func addrPort(network, address string) (ap netip.AddrPort, ok bool) {
	if !strings.HasPrefix(network, "tcp") && !strings.HasPrefix(network, "udp") {
		return ap, false
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return ap, false
	}
	port, err := net.LookupPort(network, service) // of a file, not of the network
	if err != nil || port == 0 {
		return ap, false
	}
	ip, err := netip.ParseAddr(hostIP(network, host))
	return netip.AddrPortFrom(ip, uint16(port)), err == nil
}

// hostIP is the address that package net opens for a host that needs no looking up.
func hostIP(network, host string) string {
	six := strings.HasSuffix(network, "6")
	switch {
	case host == "" && strings.HasSuffix(network, "4"):
		return "0.0.0.0"
	case host == "":
		return "::"
	case host == "localhost" && six:
		return "::1"
	case host == "localhost":
		return "127.0.0.1"
	}
	return host
}
