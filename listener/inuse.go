package listener

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// addressInUse decides what becomes of a listen that failed with err, for
// EADDRINUSE: an inherited socket may be that very address under another name,
// or be in the way; a socket file may be left over from a dead process.
//
// It comes after the attempt because only then is it known, from the error, what
// the address resolves to.
func (s *Set) addressInUse(ctx context.Context, network, address string, err error) (conn, bool, error) {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Addr == nil {
		return nil, false, err
	}
	var blocker *entry
	for i, e := range s.inherited {
		switch e.compare(network, op.Addr) {
		case sameSocket:
			c, err := s.take(i, network, address)
			return c, true, err
		case overlapping:
			blocker = e
		}
	}
	if blocker != nil && blocker.Keep {
		op.Err = fmt.Errorf("the socket %s %s, which was passed to the service, holds this address: %w",
			blocker.Network, blocker.Address, op.Err)
		return nil, false, op
	}
	if blocker != nil {
		op.Err = fmt.Errorf("the inherited socket %s %s, not in use any more, holds this address until "+
			"the predecessor has gone; restart instead of upgrade: %w", blocker.Network, blocker.Address, op.Err)
		return nil, false, op
	}
	if !hasFile(network, address) {
		return nil, false, err
	}
	if err := removeStale(network, address); err != nil {
		op.Err = fmt.Errorf("%w: %w", err, op.Err)
		return nil, false, op
	}
	c, err := s.open(ctx, network, address)
	return c, false, err
}

// A relation says what an inherited socket is to an address that is wanted.
type relation int

const (
	unrelated relation = iota
	sameSocket
	overlapping // another socket that keeps the kernel from binding the address
)

// compare returns the relation of an inherited entry to an address.
func (e *entry) compare(network string, want net.Addr) relation {
	if e.Name != "" || e.err != nil {
		return unrelated
	}
	if strings.HasPrefix(network, "unix") {
		return e.compareFile(network, want.String())
	}
	if !strings.HasPrefix(e.Network, network[:3]) { // tcp or udp
		return unrelated
	}
	return compareIP(e.Network, bound(e.conn), network, want)
}

// compareFile compares by inode: one file may have several paths.
func (e *entry) compareFile(network, path string) relation {
	haveDev, haveIno := e.Dev, e.Ino
	switch {
	case e.Keep && hasFile(e.Network, e.Address): // it is not ours, and so not identified
		var err error
		if haveDev, haveIno, err = fileID(e.Address); err != nil {
			return unrelated
		}
	case e.Path == "":
		return unrelated
	}
	dev, ino, err := fileID(path)
	switch {
	case err != nil || dev != haveDev || ino != haveIno:
		return unrelated
	case e.Network == network:
		return sameSocket
	}
	return overlapping
}

// compareIP compares two internet addresses, of which have is bound. A wildcard
// address is the same only if it takes the same families: [::] does not take
// IPv4 when it was opened as "tcp6".
func compareIP(haveNet string, have net.Addr, wantNet string, want net.Addr) relation {
	h, w := addrPort(haveNet, have), addrPort(wantNet, want)
	if h.Port() != w.Port() {
		return unrelated
	}
	a, b := h.Addr(), w.Addr()
	switch {
	case a.IsUnspecified() && b.IsUnspecified():
		if haveNet == wantNet || a.Is4() && b.Is4() {
			return sameSocket
		}
		return overlapping
	case a == b:
		return sameSocket
	case covers(a, b) || covers(b, a):
		return overlapping
	}
	return unrelated
}

// covers reports whether a is a wildcard that takes b as well.
func covers(a, b netip.Addr) bool {
	return a.IsUnspecified() && (a.Is6() || b.Is4())
}

// addrPort returns a TCP or UDP address. As for package net, no address is the
// wildcard, which means IPv6 and IPv4 unless the network ends in 4.
func addrPort(network string, addr net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch addr := addr.(type) {
	case *net.TCPAddr:
		ap = addr.AddrPort()
	case *net.UDPAddr:
		ap = addr.AddrPort()
	}
	ip := ap.Addr().Unmap()
	switch {
	case ip.IsValid():
	case strings.HasSuffix(network, "4"):
		ip = netip.IPv4Unspecified()
	default:
		ip = netip.IPv6Unspecified()
	}
	return netip.AddrPortFrom(ip, ap.Port())
}
