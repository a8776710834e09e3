// Package pidfile keeps one locked file with one owner: the process that a service is.
//
// A pid file alone proves nothing. It outlives a crash, and its number is soon another
// process's. So there are two files: NAME.lock, which is locked for as long as the service
// runs and never unlinked, and NAME.pid, which is replaced whole each time the owner
// changes. The service is running if, and only if, the lock is held; the pid is merely its
// address.
//
//	f, err := pidfile.Acquire("/run/hello/hello.pid")
//	if err != nil {
//		return err // a *LockedError if hello is already running
//	}
//	defer f.Close()
//	...                // open sockets, get ready
//	err = f.WritePID() // now we can be found
//	...
//	err = f.Remove()
//
// The lock belongs to an open file description and not to a process: a successor that
// inherits the descriptor shares it, see [Adopt], and the kernel frees it when the last
// sharer has gone, whatever it died of. There is no instant between two generations at
// which an intruder could take it.
//
// The lock is an open file description lock on Linux and a flock on the BSDs and macOS.
// Elsewhere every function fails with an error that wraps [errors.ErrUnsupported].
package pidfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// A File is a pid file whose lock this process holds, alone or together with other
// generations of the same service. Its methods may be called from several goroutines. The
// zero File is a closed one.
type File struct {
	path string // absolute

	mu   sync.Mutex
	lock *os.File // nil once closed
	temp string   // a complete file that WritePID only has to rename; "" = none
}

// LockedError is the error of [Acquire] when somebody else holds the lock, and of [Read]
// when somebody holds it who cannot be named.
type LockedError struct {
	Path string // the pid file, absolute
	PID  int    // the process that holds the lock; 0 = unknown
}

func (e *LockedError) Error() string {
	switch e.PID {
	case 0:
		return fmt.Sprintf("%s: already held, by a process whose pid is unknown; to find it: fuser %s", e.Path, LockPath(e.Path))
	case os.Getpid():
		return fmt.Sprintf("%s: already held by another user of the file in this very process (pid %d), which has to close it first", e.Path, e.PID)
	default:
		return fmt.Sprintf("%s: already held by pid %d; stop that process first, or use another path", e.Path, e.PID)
	}
}

// Acquire takes the lock of the pid file at path, without waiting. It does not write the
// pid: that is [File.WritePID], for when the service can be relied on. A daemon acquires
// in its first process, the one that still has a terminal to say "already running" on, and
// hands the lock to the process that stays.
//
// The directory must exist. The error is a [*LockedError] if the lock is held, and an
// [*fs.PathError] if the files cannot be used; that includes a pid file already there that
// is not a regular file or that anybody may write.
func Acquire(path string) (*File, error) {
	path, err := absolute(path)
	if err != nil {
		return nil, err
	}
	lock, err := acquireLock(LockPath(path))
	if errors.Is(err, errLocked) {
		return nil, lockedError(path)
	}
	if err != nil {
		return nil, err
	}
	if err := inspect(path); err != nil {
		lock.Close()
		return nil, err
	}
	return &File{path: path, lock: lock}, nil
}

// lockedError finds out who holds the lock. This process may do so without having written
// its pid yet.
func lockedError(path string) error {
	pid, err := Read(path)
	if err != nil || pid == 0 {
		pid = 0
		if self, _ := holdsLock(os.Getpid(), LockPath(path)); self {
			pid = os.Getpid()
		}
	}
	return &LockedError{Path: path, PID: pid}
}

// Adopt is for the successor: lock is the locked descriptor that it inherited, see
// [File.SyscallConn]. Adopt neither takes the lock nor interrupts it; it refuses a
// descriptor that is not path's lock file, or that does not hold the lock.
//
// Adopt takes ownership of lock, and closes it if it refuses it. It sets the descriptor
// close-on-exec, so that no command the service runs keeps the lock.
func Adopt(path string, lock *os.File) (*File, error) {
	path, err := absolute(path)
	if err == nil {
		err = checkInherited(LockPath(path), lock)
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	return &File{path: path, lock: lock}, nil
}

// LockPath returns the name of the lock file that belongs to the pid file at path:
// NAME.lock for NAME.pid, and path.lock for any other name.
func LockPath(path string) string {
	return strings.TrimSuffix(path, ".pid") + ".lock"
}

// Path returns the absolute path of the pid file.
func (f *File) Path() string { return f.path }

// SyscallConn gives access to the descriptor of the lock, for handing it to the successor.
// Duplicate it inside Control. The duplicate shares the lock, so it must be close-on-exec
// and closed in its turn; F_UNLCK on it would free the lock for every sharer.
func (f *File) SyscallConn() (syscall.RawConn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lock == nil {
		return nil, &fs.PathError{Op: "syscallconn", Path: f.path, Err: fs.ErrClosed}
	}
	return f.lock.SyscallConn()
}

// Close gives up this process's share of the lock, by closing the descriptor. It never
// unlocks, which would take the lock from a successor too, and it leaves the pid file
// alone: see [File.Remove]. A second Close does nothing.
//
// A child that is just being started has a copy of the descriptor until its exec is
// complete, and the lock may outlive Close by that long (compare golang/go#22315;
// syscall.ForkLock does not help, since Linux wakes the parent before it closes the
// child's descriptors).
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lock == nil {
		return nil
	}
	err := errors.Join(f.discard(), f.lock.Close())
	f.lock = nil
	return err
}

// absolute makes path independent of a later chdir.
func absolute(path string) (string, error) {
	if path == "" {
		return "", &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return filepath.Abs(path)
}
