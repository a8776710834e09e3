package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// firstFD is the first descriptor that a manager passes (SD_LISTEN_FDS_START).
const firstFD = 3

// ReadSockets returns what a manager passed to this process, whose pid it is: what
// another process was given, and this one inherited by accident, is none. Each is set
// close-on-exec. If one is not open, none of it is believed. Call it
// before the process starts another one, and once: the descriptors are then the
// caller's.
func ReadSockets(getenv func(string) string, pid int) (list Sockets, err error) {
	if getenv(listenPID) != strconv.Itoa(pid) {
		return nil, nil
	}
	n, err := strconv.Atoi(getenv(listenFDs))
	if err != nil || n < 0 {
		return nil, fmt.Errorf("%s=%q: not a number of descriptors", listenFDs, getenv(listenFDs))
	}
	names := strings.Split(getenv(listenNames), ":")
	for fd := firstFD; fd < firstFD+n; fd++ {
		s := Socket{fd: fd}
		if i := fd - firstFD; i < len(names) {
			s.Name = names[i]
		}
		if ferr := s.describe(); errors.Is(ferr, unix.EBADF) {
			return nil, fmt.Errorf("%s=%d: descriptor %d is not open", listenFDs, n, fd)
		} else if ferr != nil {
			err = errors.Join(err, fmt.Errorf("descriptor %d, %q: %w", fd, s.Name, ferr))
			continue
		}
		list = append(list, s)
	}
	return list, err
}

// describe asks the kernel, who knows better than the names, what the descriptor is.
func (s *Socket) describe() error {
	if _, err := unix.FcntlInt(uintptr(s.fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	kind, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err == nil {
		err = s.describeSocket(kind)
	} else if errors.Is(err, unix.ENOTSOCK) {
		err = nil
	}
	if err != nil {
		return err
	}
	h, ok := parseStoreName(s.Name)
	if ok && (h.Network == "" || family(h.Network) == family(s.Network)) {
		s.Network, s.Address, s.Stored = h.Network, h.Address, true
	}
	return nil
}

// family is a network without the version.
func family(network string) string { return strings.TrimRight(network, "46") }

func (s *Socket) describeSocket(kind int) error {
	listens, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	if kind != unix.SOCK_DGRAM && listens == 0 { // a connection
		return nil
	}
	sa, err := unix.Getsockname(s.fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		s.internet(kind, "4", hostPort(sa.Addr[:], 0, sa.Port))
	case *unix.SockaddrInet6:
		version := ""
		if only, _ := unix.GetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY); only != 0 {
			version = "6"
		}
		s.internet(kind, version, hostPort(sa.Addr[:], sa.ZoneId, sa.Port))
	case *unix.SockaddrUnix:
		if sa.Name != "" && sa.Name != "@" { // x/sys takes no name for an abstract one
			s.local(kind, sa.Name)
		}
	}
	return nil
}

func (s *Socket) internet(kind int, version, address string) {
	switch kind {
	case unix.SOCK_STREAM:
		s.Network, s.Address = "tcp"+version, address
	case unix.SOCK_DGRAM:
		s.Network, s.Address = "udp"+version, address
	}
}

func (s *Socket) local(kind int, address string) {
	switch kind {
	case unix.SOCK_STREAM:
		s.Network, s.Address = "unix", address
	case unix.SOCK_DGRAM:
		s.Network, s.Address = "unixgram", address
	case unix.SOCK_SEQPACKET:
		s.Network, s.Address = "unixpacket", address
	}
}

func hostPort(ip net.IP, zone uint32, port int) string {
	host := ip.String()
	if zone != 0 {
		host += "%" + strconv.Itoa(int(zone))
		if ifi, err := net.InterfaceByIndex(int(zone)); err == nil {
			host = ip.String() + "%" + ifi.Name
		}
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}
