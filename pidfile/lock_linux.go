package pidfile

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// The lock is an open file description lock (fcntl_locking(2)). It is not a flock, because
// no call tells whether a flock is held without taking it.

// tryLock locks f, or returns errLocked.
func tryLock(f *os.File) error {
	_, err := fcntl(f, unix.F_OFD_SETLK)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return errLocked
	}
	return err
}

// probeLock reports whether another open file description than f's holds the lock.
func probeLock(f *os.File) (bool, error) {
	found, err := fcntl(f, unix.F_OFD_GETLK)
	return found.Type != unix.F_UNLCK, err
}

// checkHeld reports an error unless f's own open file description holds the lock.
//
// Asking needs neither /proc nor the right to open the file again, and takes nothing: to a
// traditional record lock, which is owned by the process, even the OFD lock on the very
// same descriptor is a stranger (fcntl_locking(2)). So F_GETLK sees the lock whoever has
// it, F_OFD_GETLK only if it is another's.
func checkHeld(f *os.File) error {
	anyones, err := fcntl(f, unix.F_GETLK)
	if err != nil {
		return err
	}
	others, err := fcntl(f, unix.F_OFD_GETLK)
	if err != nil {
		return err
	}
	if anyones.Type != unix.F_WRLCK || others.Type != unix.F_UNLCK {
		return errNotHeld
	}
	return closeOnExec(f)
}

// fcntl runs one of the lock commands with a write lock on the whole of f, and returns
// what the kernel answered.
func fcntl(f *os.File, cmd int) (unix.Flock_t, error) {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	err := control(f, func(fd uintptr) error {
		return os.NewSyscallError("fcntl", unix.FcntlFlock(fd, cmd, &lock))
	})
	return lock, err
}
