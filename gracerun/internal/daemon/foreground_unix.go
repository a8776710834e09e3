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
	case StartedBySystemd():
		return "systemd started it and follows it"
	case os.Getenv("NOTIFY_SOCKET") != "":
		return "a service manager waits for its notification (NOTIFY_SOCKET)"
	case startedBySupervisord():
		return "supervisord started it and follows it"
	case isConnection(0):
		return "standard input is a socket: a super-server such as inetd(8) started it"
	}
	return ""
}

// Watched reports whether who started this process follows its pid, and will not hear of
// another: an init, which may be a container's, such as tini; systemd, where the unit has
// no notifications (Type=simple, exec); supervisord.
func Watched() bool {
	switch {
	case os.Getenv("NOTIFY_SOCKET") != "":
		return false
	case os.Getppid() == 1:
		return true
	}
	return StartedBySystemd() || startedBySupervisord()
}

// StartedBySystemd reports whether systemd started this very process: since version 248
// it says whom (systemd.exec(5)).
func StartedBySystemd() bool { return os.Getenv("SYSTEMD_EXEC_PID") == strconv.Itoa(os.Getpid()) }

// startedBySupervisord also is true of what a program of its has started
// (supervisord.org, "Subprocess Environment").
func startedBySupervisord() bool { return os.Getenv("SUPERVISOR_PROCESS_NAME") != "" }

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
