//go:build unix

package daemon

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Foreground returns why this process must not detach: something waits for it, or
// ends with it. "" means that it may.
func Foreground() (why string) {
	switch {
	case os.Getpid() == 1:
		return "it is the first process of the system or container, which ends with it"
	case os.Getenv("SYSTEMD_EXEC_PID") == strconv.Itoa(os.Getpid()):
		return "systemd started it and follows it"
	case os.Getenv("NOTIFY_SOCKET") != "":
		return "a service manager waits for its notification (NOTIFY_SOCKET)"
	case isConnection(0):
		return "standard input is a socket: a super-server such as inetd(8) started it"
	}
	return ""
}

// isConnection reports whether fd is a socket that somebody outside can reach, or
// has reached. A unix socket without a name is half of a pair, which ssh(1) and
// others use as a pipe.
func isConnection(fd int) bool {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return false
	}
	local, ok := sa.(*unix.SockaddrUnix)
	if !ok || local.Name != "" && local.Name != "@" { // x/sys takes no name for an abstract one
		return true
	}
	listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	return err == nil && listening != 0
}
