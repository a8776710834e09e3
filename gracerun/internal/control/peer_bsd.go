//go:build darwin || freebsd

package control

import (
	"syscall"

	"golang.org/x/sys/unix"
)

func rawPeer(raw syscall.RawConn) (peer, error) {
	var cred *unix.Xucred
	err := control(raw, func(fd int) (err error) {
		cred, err = unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
		return err
	})
	if err != nil {
		return peer{}, err
	}
	return peer{uid: int(cred.Uid)}, nil
}
