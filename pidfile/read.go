package pidfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Read returns the pid of the process that runs the service, or 0 if nobody holds the
// lock, whatever the pid file says then. Read writes nothing, takes nothing, does not
// wait, and needs no privilege beyond access to the directory: whoever may not open the
// lock file is told by /proc/locks.
//
// While the lock is held the error is
//   - a [*LockedError] with PID 0 if the pid file is missing or names a process that does not
//     hold the lock, as while a service starts, or until a successor has written its pid;
//   - an [*fs.PathError] if the pid file cannot be trusted: not a regular file, writable by
//     anybody, other content than one pid and a newline, or, for root, owned by a user who is
//     neither root nor the one that the process is proved to run as.
//
// That the named process holds the lock is proved by its fdinfo in /proc. Where that may
// not be read, as with another user's process, it only has to be alive.
func Read(path string) (pid int, err error) {
	path, err = absolute(path)
	if err != nil {
		return 0, err
	}
	held, err := lockHeld(LockPath(path))
	if err != nil || !held {
		return 0, err
	}
	pid, info, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, &LockedError{Path: path}
	}
	if err != nil {
		return 0, err
	}
	if err := verify(path, pid, info); err != nil {
		return 0, err
	}
	return pid, nil
}

// verify reports why pid, read from the file at path that info describes, is not to be
// taken for the holder of the lock.
func verify(path string, pid int, info fs.FileInfo) error {
	proved, err := holdsLock(pid, LockPath(path))
	if err == nil && !proved || gone(pid) {
		return &LockedError{Path: path}
	}
	if pid == 1 && !proved {
		// A service is pid 1 only in its own container. Outside, 1 is the machine's.
		return untrusted(path, "it names pid 1, which cannot be shown to hold the lock: ask as the service's user, inside its container")
	}
	if owner := ownerOf(info); os.Geteuid() == 0 && owner != 0 {
		// A user may name his own process to root, but not another's. The lock alone does
		// not show whose it is: a descriptor can be sent to any process that receives them.
		if user, err := userOf(pid); !proved || err != nil || user != owner {
			return untrusted(path, fmt.Sprintf("it belongs to user %d, and pid %d is not shown to be that user's holder of the lock: check who wrote it, and remove it", owner, pid))
		}
	}
	return nil
}

// gone reports whether there is certainly no such process. To be refused the signal shows
// that there is one.
func gone(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	defer p.Release()
	return errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone)
}

// readFile returns the pid in the file at path, if the file can be trusted as far as
// itself can show.
func readFile(path string) (int, fs.FileInfo, error) {
	f, err := openRegular(path, os.O_RDONLY)
	if err != nil {
		return 0, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, nil, err
	}
	if err := checkMode(path, info); err != nil {
		return 0, nil, err
	}
	content, err := io.ReadAll(io.LimitReader(f, maxContent+1))
	if err != nil {
		return 0, nil, err
	}
	pid, err := parse(string(content))
	if err != nil {
		return 0, nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return pid, info, nil
}

// inspect reports why a pid file already at path, if there is one, is not a service's to
// replace. What it says does not matter, nor who owns it: a stale one may be left by the
// user the service ran as.
func inspect(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return notRegular(path, info)
	}
	return checkMode(path, info)
}

// checkMode refuses a file that anybody may have written.
func checkMode(path string, info fs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o002 != 0 {
		return untrusted(path, fmt.Sprintf("its mode %#o lets anybody write it: check who did, and remove it", mode))
	}
	return nil
}

func untrusted(path, why string) error {
	return &fs.PathError{Op: "trust", Path: path, Err: errors.New(why)}
}

const (
	maxContent = 32      // bytes of a pid file; more is not a pid
	maxPID     = 1 << 22 // no pid reaches Linux's PID_MAX_LIMIT (proc_sys_kernel(5)), the highest of all systems
)

// parse reads the content of a pid file, which is exactly what WritePID writes. Anything
// else was written by somebody else, or is only the beginning of it: the newline shows the
// end.
func parse(content string) (int, error) {
	if len(content) > maxContent {
		return 0, fmt.Errorf("longer than %d bytes, so not a pid file: remove it, or use another path", maxContent)
	}
	pid, err := strconv.Atoi(strings.TrimSuffix(content, "\n"))
	// Zero and negative numbers signal process groups (kill(2)).
	if err != nil || strconv.Itoa(pid)+"\n" != content || pid < 1 || pid >= maxPID {
		return 0, fmt.Errorf("%q is not one pid and a newline: find out who wrote it, and remove it", content)
	}
	return pid, nil
}
