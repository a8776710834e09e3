package verbs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// catches reports whether the process has a handler for sig. Without one most signals kill.
func catches(pid int, sig syscall.Signal) (bool, error) {
	text, err := procStatus(pid, "SigCgt:")
	if err != nil {
		return false, err
	}
	mask, err := strconv.ParseUint(text, 16, 64)
	return mask&(1<<(sig-1)) != 0, err
}

// ended reports whether the process runs no more; its parent may not have noticed.
func ended(p *os.Process) bool {
	n := 0
	err := p.WithHandle(func(pidfd uintptr) {
		n, _ = unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 0)
	})
	if errors.Is(err, os.ErrNoHandle) {
		err = p.Signal(syscall.Signal(0))
	}
	return n > 0 || errors.Is(err, os.ErrProcessDone)
}

// ofOwner reports whether root may take the process for one of a service whose files are in
// dir. In the directory of another user only that user's processes are: he could send the
// lock's descriptor to any process that takes some, and have it signalled.
func ofOwner(pid int, dir string) bool {
	if os.Geteuid() != 0 {
		return true // the kernel decides
	}
	info, err := os.Stat(dir)
	if err != nil {
		return false
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if owner == 0 {
		return true
	}
	ids, err := procStatus(pid, "Uid:") // real, effective, saved, of the file system
	fields := strings.Fields(ids)
	return err == nil && len(fields) > 1 && fields[1] == strconv.FormatUint(uint64(owner), 10)
}

// procStatus returns the value of a line in the status of the process.
func procStatus(pid int, key string) (string, error) {
	name := fmt.Sprintf("/proc/%d/status", pid)
	text, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, key); ok {
			return strings.TrimSpace(value), nil
		}
	}
	return "", &os.PathError{Op: "read", Path: name, Err: errors.New("it has no line " + key)}
}

// unitOf returns the unit of systemd that ends with the process, "" if there is none. What
// somebody has started in a unit, as a shell does in that of its login, is not meant.
func unitOf(ctx context.Context, pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	unit := filepath.Base(strings.TrimSpace(string(text)))
	if err != nil || !strings.HasSuffix(unit, ".service") {
		return ""
	}
	parent, _ := procStatus(pid, "PPid:") // it may keep the pid
	main, err := tell(ctx, "systemctl", "show", "--property=MainPID", "--value", unit)
	switch {
	case err != nil, main == "0", main != strconv.Itoa(pid) && main != parent:
		return ""
	}
	return unit
}
