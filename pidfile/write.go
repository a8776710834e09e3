package pidfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
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
	err := errors.Join(f.discard(), removeOwn(f.path))
	f.sweep()
	return err
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
	f.sweep()
	path := filepath.Join(filepath.Dir(f.path), fmt.Sprintf("%s%d%s", f.tempPrefix(), os.Getpid(), tempSuffix))
	temp, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
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
	f.temp = path
	if err != nil {
		f.discard()
	}
	return err
}

// A prepared file names its process, so that it can be told when nobody wants it any more.
const tempSuffix = ".new"

func (f *File) tempPrefix() string { return "." + filepath.Base(f.path) + "." }

// Sweep deletes what processes prepared that died before they wrote it. Prepare, WritePID and
// Remove do so, too; it is for who has seen a successor die. It does not fail: such a file is
// in nobody's way.
func (f *File) Sweep() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sweep()
}

// sweep deletes what processes prepared that died before their commit, and what an earlier
// process with this one's pid left.
func (f *File) sweep() {
	entries, _ := os.ReadDir(filepath.Dir(f.path))
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Name(), f.tempPrefix())
		name, isTemp := strings.CutSuffix(name, tempSuffix)
		pid, err := strconv.Atoi(name)
		path := filepath.Join(filepath.Dir(f.path), e.Name())
		if ok && isTemp && err == nil && path != f.temp && (pid == os.Getpid() || !exists(pid)) {
			os.Remove(path)
		}
	}
}

// exists reports whether there is a process, or a zombie, with the pid.
func exists(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	defer p.Release()
	return !errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone)
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
