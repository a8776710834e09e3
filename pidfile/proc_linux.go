package pidfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// lockListed reports whether /proc/locks, which everybody may read, lists the lock of the
// file at name.
func lockListed(name string) (bool, error) {
	id, err := lockID(name)
	if err != nil {
		return false, err
	}
	list, err := os.ReadFile("/proc/locks")
	return lists(list, id), err
}

// holdsLock reports whether the process shares the lock of the file at name: whether one
// of its descriptors has it. An error means that this cannot be told, as for a process of
// another user.
func holdsLock(pid int, name string) (bool, error) {
	id, err := lockID(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, missingProc() // or no lock file, and so no holder
	}
	if err != nil {
		return false, err
	}
	// The number may be that of a thread, even of the holder's, recycled from a stale pid
	// file: /proc and kill(2) take it, but it is nobody's pid.
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err == nil && field(status, "Tgid:") != strconv.Itoa(pid) {
		return false, nil
	}
	return descriptorsHold(pid, id)
}

// descriptorsHold reports whether a descriptor of the process has the lock on the file
// called id.
func descriptorsHold(pid int, id string) (bool, error) {
	dir := fmt.Sprintf("/proc/%d/fdinfo/", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	for _, entry := range entries {
		info, err := os.ReadFile(dir + entry.Name())
		switch {
		case errors.Is(err, fs.ErrNotExist): // closed in the meantime
		case err != nil:
			return false, err
		case lists(info, id):
			return true, nil
		}
	}
	return false, nil
}

// lists reports whether text, in the format common to /proc/locks and the lock: lines of
// fdinfo (proc_locks(5)), has an open file description lock on the file called id:
//
//	1: OFDLCK ADVISORY  WRITE -1 fe:00:1048580 0 EOF
func lists(text []byte, id string) bool {
	for line := range bytes.Lines(text) {
		if bytes.Contains(line, []byte(" OFDLCK ")) && bytes.Contains(line, []byte(" "+id+" ")) {
			return true
		}
	}
	return false
}

// lockID returns the kernel's name of the file in lists of locks, "major:minor:inode".
// These are not stat's numbers: on btrfs the device differs, on overlayfs the inode may. A
// descriptor's fdinfo has the right ones, the device by way of the mount.
func lockID(name string) (string, error) {
	// O_PATH needs no permission for the file itself.
	fd, err := unix.Open(name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &fs.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	if err != nil {
		return "", err
	}
	inode, mount := field(info, "ino:"), field(info, "mnt_id:")
	if inode == "" { // before Linux 5.14
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return "", os.NewSyscallError("fstat", err)
		}
		inode = strconv.FormatUint(st.Ino, 10)
	}
	device, err := mountDevice(mount)
	return device + ":" + inode, err
}

// mountDevice returns the device of a mount, in the form that /proc/locks has it.
func mountDevice(id string) (string, error) {
	const name = "/proc/self/mountinfo"
	mounts, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line) // 36 35 98:0 /root /mount/point ...
		if len(fields) < 3 || fields[0] != id {
			continue
		}
		first, second, _ := strings.Cut(fields[2], ":")
		major, err := strconv.ParseUint(first, 10, 32)
		minor, err2 := strconv.ParseUint(second, 10, 32)
		if err := errors.Join(err, err2); err != nil {
			return "", &fs.PathError{Op: "read", Path: name, Err: err}
		}
		return fmt.Sprintf("%02x:%02x", major, minor), nil
	}
	return "", &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("mount %q: %w", id, fs.ErrNotExist)}
}

// userOf returns the effective user id of a process.
func userOf(pid int) (int, error) {
	// Not the owner of /proc/PID: that is root if the process has dropped privileges.
	name := fmt.Sprintf("/proc/%d/status", pid)
	status, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	ids := strings.Fields(field(status, "Uid:")) // real, effective, saved, of the file system
	if len(ids) < 2 {
		return 0, &fs.PathError{Op: "read", Path: name, Err: errors.New("it has no user ids")}
	}
	return strconv.Atoi(ids[1])
}

// field returns the value of the line that begins with key.
func field(text []byte, key string) string {
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, key); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
