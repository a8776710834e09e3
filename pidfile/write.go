package pidfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Prepare writes this process's pid, complete, to a temporary file beside the pid file, so
// that a later [File.WritePID] has only to rename it. A successor prepares before it
// commits: a full or read-only disk is then a reason not to take over, not a surprise
// afterwards. Another Prepare does nothing; Remove and Close delete what was prepared.
func (f *File) Prepare() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.prepare("prepare")
}

// WritePID makes the pid file name this process. The content is the decimal pid and a
// newline, the mode 0644 whatever the umask. Readers see the old file or the new one and
// never a part, because the file is replaced by rename(2): that is also why the lock is on
// another file.
func (f *File) WritePID() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.prepare("write"); err != nil {
		return err
	}
	if err := os.Rename(f.temp, f.path); err != nil {
		f.discard() // a new attempt begins anew
		return err
	}
	f.temp = ""
	return nil
}

// Remove deletes the pid file if it still names this process; the lock file stays for
// ever. If the file is gone, or names a successor, there is nothing to do and no error: a
// generation that has been replaced may call Remove like any other. Call it before
// [File.Close]; afterwards somebody else may own the file, and it fails with
// [fs.ErrClosed].
func (f *File) Remove() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lock == nil {
		return &fs.PathError{Op: "remove", Path: f.path, Err: fs.ErrClosed}
	}
	return errors.Join(f.discard(), removeOwn(f.path))
}

// removeOwn deletes the file at path if it names this process.
//
// A successor shares the lock and may rename its file into place at any time, even between
// our look and an unlink. So the file is first moved to where nobody else renames
// anything, and put back if it turns out to be the successor's. link(2) does not replace a
// still newer one.
func removeOwn(path string) error {
	if own, err := namesSelf(path); err != nil || !own {
		return err
	}
	aside := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%d.old", filepath.Base(path), os.Getpid()))
	if err := os.Rename(path, aside); err != nil {
		return err
	}
	own, err := namesSelf(aside)
	if !own {
		if lerr := os.Link(aside, path); lerr != nil && !errors.Is(lerr, fs.ErrExist) {
			return errors.Join(err, lerr)
		}
	}
	return errors.Join(err, os.Remove(aside))
}

// namesSelf reports whether the pid file at path names this process.
func namesSelf(path string) (bool, error) {
	pid, _, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return pid == os.Getpid(), err
}

// prepare does Prepare's work for the operation op.
func (f *File) prepare(op string) error {
	if f.lock == nil {
		return &fs.PathError{Op: op, Path: f.path, Err: fs.ErrClosed}
	}
	if f.temp != "" {
		return nil
	}
	temp, err := os.CreateTemp(filepath.Dir(f.path), "."+filepath.Base(f.path)+".*")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(temp, "%d\n", os.Getpid())
	if err == nil {
		err = temp.Chmod(0o644)
	}
	if cerr := temp.Close(); err == nil {
		err = cerr
	}
	f.temp = temp.Name()
	if err != nil {
		f.discard()
	}
	return err
}

// discard deletes a prepared file.
func (f *File) discard() error {
	if f.temp == "" {
		return nil
	}
	err := os.Remove(f.temp)
	f.temp = ""
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
