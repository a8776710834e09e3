package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// logMode is the mode of a new log file, before the umask.
const logMode = 0o640

// OpenLog opens a log file for appending, and makes one that is missing.
func OpenLog(path string) (*os.File, error) {
	f, _, err := openLog(path)
	return f, err
}

// openLog also reports whether the file is new.
//
// A directory of logs often belongs to the service's user, who could put a
// symlink or a hard link to root's files there. So root follows symlinks only
// where nobody else can have made one.
func openLog(path string) (f *os.File, created bool, err error) {
	// Without O_NONBLOCK, a pipe (mkfifo(1)) that nobody reads would block here.
	const flags = unix.O_WRONLY | unix.O_APPEND | unix.O_NOCTTY | unix.O_NONBLOCK | unix.O_CLOEXEC
	careful := os.Geteuid() == 0 && !isRoots(filepath.Dir(path))
	fd, err := open(path, flags, careful)
	for range 3 { // others may create and rotate it now
		if err != unix.ENOENT && err != unix.EEXIST {
			break
		}
		created = err == unix.ENOENT
		if created {
			fd, err = open(path, flags|unix.O_CREAT|unix.O_EXCL, careful)
		} else {
			fd, err = open(path, flags, careful)
		}
	}
	if err != nil {
		return nil, false, &fs.PathError{Op: "open", Path: path, Err: explain(err)}
	}
	f = os.NewFile(uintptr(fd), path)
	if err = checkLog(fd, careful); err == nil {
		err = os.NewSyscallError("fcntl", unix.SetNonblock(fd, false)) // for those who write
	}
	if err != nil {
		f.Close()
		return nil, false, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return f, created, nil
}

func open(path string, flags int, careful bool) (int, error) {
	if !careful {
		return unix.Open(path, flags, logMode)
	}
	how := &unix.OpenHow{Flags: uint64(flags), Resolve: unix.RESOLVE_NO_SYMLINKS}
	if flags&unix.O_CREAT != 0 {
		how.Mode = logMode
	}
	fd, err := unix.Openat2(unix.AT_FDCWD, path, how)
	if isFiltered(err) {
		return unix.Open(path, flags|unix.O_NOFOLLOW, logMode)
	}
	return fd, err
}

// explain adds the way out to an error of open(2).
func explain(err error) error {
	switch err {
	case unix.ELOOP:
		return fmt.Errorf("%w: no symlink is followed where others may put one: name the file itself", err)
	case unix.ENXIO:
		return fmt.Errorf("%w: a pipe needs a reader first", err)
	case unix.EACCES:
		return fmt.Errorf("%w: the user %d must be able to write it, and logrotate(8) to create it for that user", err, os.Geteuid())
	}
	return err
}

// checkLog refuses a file that may be another's.
func checkLog(fd int, careful bool) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if careful && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink != 1 {
		return errors.New("it has a second name, where others may give it one: remove that, or name another file")
	}
	return nil
}

// isRoots reports whether nobody but root can change dir and what leads there.
func isRoots(dir string) bool {
	for ; ; dir = filepath.Dir(dir) {
		var st unix.Stat_t
		if unix.Stat(dir, &st) != nil || st.Uid != 0 || st.Mode&0o022 != 0 {
			return false
		}
		if filepath.Dir(dir) == dir {
			return true
		}
	}
}
