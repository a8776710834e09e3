package daemon

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Outside returns the path by which this process finds a file that the daemon
// knows by path. A symlink leads where it leads inside; the last element is not
// followed.
func (p *Plan) Outside(path string) string {
	if p.Chroot == "" {
		return path
	}
	rest := filepath.Base(path)
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if found, err := realIn(p.Chroot, dir); err == nil {
			return filepath.Join(found, rest)
		}
		if filepath.Dir(dir) == dir {
			return filepath.Join(p.Chroot, path)
		}
		rest = filepath.Join(filepath.Base(dir), rest) // not there yet
	}
}

// realIn returns where path leads, inside root.
func realIn(root, path string) (string, error) {
	fd, err := openIn(root, path)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
}

func statIn(root, path string) (unix.Stat_t, error) {
	var st unix.Stat_t
	fd, err := openIn(root, path)
	if err != nil {
		return st, err
	}
	defer unix.Close(fd)
	return st, unix.Fstat(fd, &st)
}

// openIn finds path as a process would whose root directory is root: a symlink to
// /x leads to root/x. "" is the root of this process.
func openIn(root, path string) (int, error) {
	const flags = unix.O_PATH | unix.O_CLOEXEC
	if root == "" {
		return unix.Open(path, flags, 0)
	}
	dir, err := unix.Open(root, flags|unix.O_DIRECTORY, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, path, &unix.OpenHow{Flags: flags, Resolve: unix.RESOLVE_IN_ROOT})
	if isFiltered(err) {
		return unix.Open(filepath.Join(root, path), flags, 0)
	}
	return fd, err
}

// isFiltered reports whether openat2 itself was refused, as the system call
// filters of some containers do.
func isFiltered(err error) bool { return err == unix.ENOSYS || err == unix.EPERM }
