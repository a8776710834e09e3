package listener

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// An adopter makes sockets of descriptors. Package net takes an *os.File only,
// and makes a duplicate. An os.File of a socket is registered with the poller
// when it is made, and removed when it is closed, which is most of the cost. So
// there is one file, of the null device, and each descriptor is put in its place.
type adopter struct{ file *os.File }

// socket returns the socket that fd is, and closes fd. If there is an error fd
// is open.
func (a *adopter) socket(network string, fd int) (c conn, err error) {
	if a.file == nil {
		if a.file, err = os.Open("/"); err != nil { // any will do, and this one is in a chroot, too
			return nil, err
		}
	}
	raw, err := a.file.SyscallConn()
	if err != nil {
		return nil, err
	}
	var dupErr error
	err = raw.Control(func(place uintptr) { dupErr = unix.Dup3(fd, int(place), unix.O_CLOEXEC) })
	if err := errors.Join(err, os.NewSyscallError("dup3", dupErr)); err != nil {
		return nil, err
	}
	if c, err = fromFile(network, a.file); err != nil {
		return nil, err
	}
	unix.Close(fd)
	return c, nil
}

func (a *adopter) close() {
	if a.file != nil {
		a.file.Close()
	}
}
