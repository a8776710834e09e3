//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package pidfile

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// errNotHeld is checkHeld's refusal.
var errNotHeld = errors.New("the inherited descriptor does not hold the lock: hand over the one that Acquire locked")

// openFile opens a file that others may have tampered with.
func openFile(name string, flag int) (*os.File, error) {
	return os.OpenFile(name, flag|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
}

func closeOnExec(f *os.File) error {
	return control(f, func(fd uintptr) error {
		_, err := unix.FcntlInt(fd, unix.F_SETFD, unix.FD_CLOEXEC)
		return os.NewSyscallError("fcntl", err)
	})
}

// ownerOf returns the user id of a file's owner.
func ownerOf(info fs.FileInfo) int {
	return int(info.Sys().(*syscall.Stat_t).Uid)
}

// control calls fn with f's descriptor. Unlike Fd it leaves the mode of the descriptor as
// it is.
func control(f *os.File, fn func(fd uintptr) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	if err := conn.Control(func(fd uintptr) { result = fn(fd) }); err != nil {
		return err
	}
	return result
}
