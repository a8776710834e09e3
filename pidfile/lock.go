package pidfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// errLocked says that another open file description holds the lock.
var errLocked = errors.New("locked")

// acquireLock opens and locks the lock file, creating it if need be. Nobody of ours
// unlinks a lock file, but if somebody does, a lock on the lost inode excludes no one:
// hence the second look, and another attempt. The attempts end, for there may be file
// systems whose inode numbers do not stay.
func acquireLock(name string) (*os.File, error) {
	for range 100 {
		f, err := openRegular(name, os.O_RDWR|os.O_CREATE)
		if err != nil {
			return nil, err
		}
		if err = checkOwner(f, name); err != nil {
			f.Close()
			return nil, err
		}
		err = tryLock(f)
		if err == nil && sameFile(f, name) {
			if err = private(f); err == nil {
				return f, nil
			}
		}
		f.Close()
		if errors.Is(err, errLocked) {
			return nil, errLocked
		}
		if err != nil {
			return nil, &fs.PathError{Op: "lock", Path: name, Err: err}
		}
	}
	return nil, &fs.PathError{Op: "lock", Path: name, Err: errors.New("replaced again and again: find out what unlinks it")}
}

// checkOwner refuses, to root, the lock file of somebody who has merely been able to put
// it there: he could hold the lock whenever he likes. The owner of the directory may have.
func checkOwner(f *os.File, name string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	dir, err := os.Stat(filepath.Dir(name))
	if err != nil {
		return err
	}
	if owner := ownerOf(info); owner != 0 && owner != ownerOf(dir) {
		return untrusted(name, fmt.Sprintf("it belongs to user %d, who owns neither the directory nor the service: remove it", owner))
	}
	return nil
}

// private corrects the mode of a lock file made by other hands, or under a strange umask.
// Whoever may open it for reading can take a read lock, and so keep the service from
// starting.
func private(f *os.File) error {
	info, err := f.Stat()
	if err != nil || info.Mode().Perm() == 0o600 {
		return err
	}
	return f.Chmod(0o600)
}

// checkInherited reports why lock is not the held lock of the file at name.
func checkInherited(name string, lock *os.File) error {
	if lock == nil {
		return &fs.PathError{Op: "adopt", Path: name, Err: fs.ErrInvalid}
	}
	err := errors.New("the inherited descriptor is another file, or the lock file has been replaced: start the service afresh")
	if sameFile(lock, name) {
		err = checkHeld(lock)
	}
	if err != nil {
		return &fs.PathError{Op: "adopt", Path: name, Err: err}
	}
	return nil
}

// lockHeld reports whether anybody holds the lock of the file at name. It takes nothing,
// not even for an instant, so it cannot make a service that starts just now fail.
func lockHeld(name string) (bool, error) {
	f, err := openRegular(name, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if errors.Is(err, fs.ErrPermission) {
		// A lock file is for its owner alone, the kernel's list is for all.
		if held, err := lockListed(name); err == nil {
			return held, nil
		}
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	held, err := probeLock(f)
	if err != nil {
		return false, &fs.PathError{Op: "probe", Path: name, Err: err}
	}
	return held, nil
}

// sameFile reports whether name still leads to the open file f.
func sameFile(f *os.File, name string) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(name)
	return err == nil && os.SameFile(opened, named)
}

// openRegular opens a regular file and nothing else. It follows no symbolic link in the
// last element, and a fifo put there by somebody cannot make it wait.
func openRegular(name string, flag int) (*os.File, error) {
	// Looked at before it is opened, for a clear error, and because opening a device can do things.
	if info, err := os.Lstat(name); err == nil && !info.Mode().IsRegular() {
		return nil, notRegular(name, info)
	}
	f, err := openFile(name, flag)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = notRegular(name, info)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func notRegular(name string, info fs.FileInfo) error {
	return &fs.PathError{Op: "open", Path: name, Err: fmt.Errorf("not a regular file but %s: remove it, or use another path", kind(info.Mode()))}
}

func kind(mode fs.FileMode) string {
	switch mode.Type() {
	case fs.ModeSymlink:
		return "a symbolic link"
	case fs.ModeDir:
		return "a directory"
	case fs.ModeNamedPipe:
		return "a fifo"
	case fs.ModeSocket:
		return "a socket"
	default:
		return "a device"
	}
}
