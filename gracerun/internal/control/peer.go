package control

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// A peer is the process at the other end of a unix socket, when it connected or
// began to listen. The kernel vouches for it.
type peer struct {
	uid int
	pid int // 0 = the system does not tell
}

// mayAsk reports whether the peer may ask this process for anything: it is of
// the same user, or root's.
func (p peer) mayAsk() bool { return p.uid == 0 || p.uid == os.Geteuid() }

func (p peer) String() string { return fmt.Sprintf("user %d, pid %d", p.uid, p.pid) }

// peerOf asks the kernel who is at the other end of c.
func peerOf(c net.Conn) (peer, error) {
	for {
		wrapped, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		c = wrapped.NetConn()
	}
	sc, ok := c.(*net.UnixConn)
	if !ok {
		return peer{}, errors.New("not a unix socket: nobody knows whose process the client is")
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return peer{}, err
	}
	return rawPeer(raw)
}

// control calls f with the socket's descriptor.
func control(raw syscall.RawConn, f func(fd int) error) error {
	var ferr error
	if err := raw.Control(func(fd uintptr) { ferr = f(int(fd)) }); err != nil {
		return err
	}
	return os.NewSyscallError("getsockopt", ferr)
}
