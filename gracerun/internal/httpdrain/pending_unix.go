//go:build unix

package httpdrain

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// pending reports whether bytes that nobody has read wait in the kernel. It does not block. It cannot know of
// a connection without a descriptor, and answers no.
func pending(nc net.Conn) bool {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	err = rc.Control(func(fd uintptr) {
		var b [1]byte
		n, _, _ = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	})
	return err == nil && n > 0
}
