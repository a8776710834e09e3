package control

import (
	"syscall"

	"golang.org/x/sys/unix"
)

func rawPeer(raw syscall.RawConn) (peer, error) {
	var cred *unix.Ucred
	err := control(raw, func(fd int) (err error) {
		cred, err = unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		return err
	})
	if err != nil {
		return peer{}, err
	}
	return peer{uid: int(cred.Uid), pid: int(cred.Pid)}, nil
}
