package systemd

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// SocketUnit returns a socket unit that opens p.Sockets as the service would. name is
// what the service calls them, App.Serve("systemd", name, ...); "" leaves systemd's own,
// which is that of the unit. What systemd cannot open so is an error: a host name, port
// 0, and IPv6 alone beside a socket for both.
func SocketUnit(p Params, name string) (string, error) {
	if len(p.Sockets) == 0 {
		return "", p.noSockets()
	}
	if name != "" {
		if err := checkName(name); err != nil {
			return "", err
		}
	}
	var u unit
	u.section("Unit")
	u.set("Description", specifiers("sockets of "+cmp.Or(p.Description, p.Name)))
	u.section("Socket")
	var faults []error
	for _, a := range p.Sockets {
		key, value, err := a.listen()
		faults = append(faults, err)
		u.set(key, value)
	}
	if err := errors.Join(append(faults, p.setVersions(&u))...); err != nil {
		return "", err
	}
	if name != "" {
		u.set("FileDescriptorName", specifiers(name))
	}
	if slices.ContainsFunc(p.Sockets, Address.hasFile) {
		p.setFiles(&u)
	}
	u.section("Install")
	u.set("WantedBy", "sockets.target")
	return u.String(), nil
}

// noSockets says why there is nothing to write into a socket unit.
func (p Params) noSockets() error {
	switch {
	case len(p.Named) > 0:
		return fmt.Errorf("only its author knows the address of %q: write a socket unit with ListenStream= or ListenDatagram=, FileDescriptorName=%s and Service=%s.service",
			p.Named[0], p.Named[0], p.Name)
	case p.Incomplete:
		return errors.New("no address is registered before Setup runs, which a verb does not do: register it before Main, or write the socket unit by hand")
	}
	return errors.New("the service has no sockets")
}

// listen is the setting that opens the address.
func (a Address) listen() (key, value string, err error) {
	switch strings.TrimRight(a.Network, "46") {
	case "unix":
		return "ListenStream", specifiers(a.Address), nil
	case "unixpacket":
		return "ListenSequentialPacket", specifiers(a.Address), nil
	case "unixgram":
		return "ListenDatagram", specifiers(a.Address), nil
	case "tcp":
		key = "ListenStream"
	case "udp":
		key = "ListenDatagram"
	default:
		return "", "", fmt.Errorf("%s %s: systemd has no such network", a.Network, a.Address)
	}
	ap, ok := addrPort(a.Network, a.Address)
	if !ok {
		return "", "", fmt.Errorf("%s %s: a socket unit needs an IP address and a port that is not 0", a.Network, a.Address)
	}
	if ap.Addr() == netip.IPv6Unspecified() && !strings.HasSuffix(a.Network, "6") {
		return key, fmt.Sprint(ap.Port()), nil // IPv4, too, and alone where the system has no IPv6
	}
	return key, specifiers(ap.String()), nil
}

// setVersions says which of the two a wildcard takes.
func (p Params) setVersions(u *unit) error {
	var both, six bool
	for _, a := range p.Sockets {
		if ap, ok := addrPort(a.Network, a.Address); ok && ap.Addr() == netip.IPv6Unspecified() {
			six = six || strings.HasSuffix(a.Network, "6")
			both = both || !strings.HasSuffix(a.Network, "6")
		}
	}
	switch {
	case both && six:
		return errors.New("one socket unit has either sockets for both versions of IP, or for IPv6 alone")
	case six:
		u.set("BindIPv6Only", "ipv6-only")
	case both:
		u.set("BindIPv6Only", "both")
	}
	return nil
}

func (a Address) hasFile() bool {
	return strings.HasPrefix(a.Network, "unix") && !strings.HasPrefix(a.Address, "@")
}

// setFiles gives socket files the owner and the mode that they have without systemd.
func (p Params) setFiles(u *unit) {
	if p.User != "" {
		u.set("SocketUser", specifiers(p.User))
	}
	if p.Group != "" {
		u.set("SocketGroup", specifiers(p.Group))
	}
	u.set("SocketMode", "0755")
	u.set("RemoveOnStop", "yes")
}
