//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package pidfile

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// There are no open file description locks here, so the lock is a flock. In these kernels
// flock and fcntl locks lie in one list and see each other (kern_lockf.c, vfs_lockf.c),
// which makes it possible to ask without taking.

// tryLock locks f, or returns errLocked.
func tryLock(f *os.File) error {
	err := control(f, func(fd uintptr) error {
		return os.NewSyscallError("flock", unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB))
	})
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errLocked
	}
	return err
}

// probeLock reports whether any open file description, f's included, holds the lock.
func probeLock(f *os.File) (bool, error) {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	err := control(f, func(fd uintptr) error {
		return os.NewSyscallError("fcntl", unix.FcntlFlock(fd, unix.F_GETLK, &lock))
	})
	return lock.Type != unix.F_UNLCK, err
}

// checkHeld reports an error unless f's own open file description holds the lock: it is
// held, and f may have it.
func checkHeld(f *os.File) error {
	held, err := probeLock(f)
	if err != nil {
		return err
	}
	if !held || tryLock(f) != nil {
		return errNotHeld
	}
	return closeOnExec(f)
}
