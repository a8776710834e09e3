package harness

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// ReservePort returns an address that nobody else is given. A socket is bound to
// it until atEnd's function runs, but does not listen: a server may do so beside
// it, and the kernel does not choose the port for anybody.
func ReservePort(atEnd func(func())) (string, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", os.NewSyscallError("socket", err)
	}
	atEnd(func() { unix.Close(fd) })
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return "", os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return "", os.NewSyscallError("bind", err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return "", os.NewSyscallError("getsockname", err)
	}
	in := sa.(*unix.SockaddrInet4)
	return (&net.TCPAddr{IP: in.Addr[:], Port: in.Port}).String(), nil
}

// FreeAddress is ReservePort for the length of a test.
func FreeAddress(t interface {
	Helper()
	Cleanup(func())
	Fatal(...any)
}) string {
	t.Helper()
	addr, err := ReservePort(t.Cleanup)
	if err != nil {
		t.Fatal(err)
	}
	return addr
}
