//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package load

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// readable reports whether a read from c would return at once: with bytes, the
// end, or an error. It takes nothing.
func readable(c net.Conn) (bool, error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false, fmt.Errorf("load: %T has no descriptor to look at: %w", c, errors.ErrUnsupported)
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return false, err
	}
	// Control, not Read: Read fails without looking once an earlier request's
	// deadline has passed.
	var peeked error
	err = rc.Control(func(fd uintptr) {
		var b [1]byte
		_, _, peeked = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return peeked != syscall.EAGAIN, err
}
