package pidfile_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gracerun/grace/pidfile"
	"golang.org/x/sys/unix"
)

// TestReadAnotherProcess names a living process, and pid 1, in the file of a service that
// somebody else runs.
func TestReadAnotherProcess(t *testing.T) {
	t.Parallel()
	path, elsewhere := temp(t), temp(t)
	p := start(t, command("hold", elsewhere))
	p.expect("held")
	own(t, path)
	write(t, path, fmt.Sprintln(p.cmd.Process.Pid))
	wantLocked(t, path)
	write(t, path, "4194303\n")
	wantLocked(t, path)
	write(t, path, "1\n")
	if pid, err := pidfile.Read(path); pid != 0 || err == nil {
		t.Errorf("Read = %d, %v; want an error for pid 1", pid, err)
	}
}

// TestReadThread names a thread of the holder, which shares the lock and can be signalled.
func TestReadThread(t *testing.T) {
	t.Parallel()
	path := temp(t)
	own(t, path)
	tasks, err := os.ReadDir("/proc/self/task")
	check(t, err)
	for _, task := range tasks {
		if task.Name() != fmt.Sprint(os.Getpid()) {
			write(t, path, task.Name()+"\n")
			wantLocked(t, path)
		}
	}
}

// TestReadZombie shows that a zombie, though a signal reaches it, does not run.
func TestReadZombie(t *testing.T) {
	t.Parallel()
	path := temp(t)
	p := start(t, command("hold", path))
	p.expect("held")
	pid := p.cmd.Process.Pid
	wantPID(t, path, pid)
	check(t, p.cmd.Process.Kill())
	check(t, unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil))
	if err := syscall.Kill(pid, 0); err != nil {
		t.Fatalf("it is no zombie: %v", err)
	}
	wantPID(t, path, 0)
	own(t, path) // a successor, which has not written its pid
	wantLocked(t, path)
}

// TestReadAsAnotherUser reads with no right to open the lock file or to look into the holder.
func TestReadAsAnotherUser(t *testing.T) {
	t.Parallel()
	needRoot(t)
	path := temp(t)
	asNobody := func(want string) {
		t.Helper()
		cmd := command("read", path)
		cmd.Env = append(cmd.Env, "PIDFILE_NOBODY=1")
		start(t, cmd).expect(want)
	}
	asNobody("0 <nil>")
	f := own(t, path)
	check(t, f.WritePID())
	asNobody(fmt.Sprint(os.Getpid(), " <nil>"))
	check(t, f.Close())
	wantFree(t, path)
	asNobody("0 <nil>") // the stale file names us
}

// TestReadForeignOwner is root reading what another user wrote.
func TestReadForeignOwner(t *testing.T) {
	t.Parallel()
	needRoot(t)
	path := temp(t)
	check(t, own(t, path).Close()) // root's lock file would keep the user out
	check(t, os.Remove(pidfile.LockPath(path)))
	check(t, os.Chown(filepath.Dir(path), nobody, nobody))
	cmd := command("hold", path)
	cmd.Env = append(cmd.Env, "PIDFILE_NOBODY=1")
	p := start(t, cmd)
	p.expect("held")
	wantPID(t, path, p.cmd.Process.Pid) // the service's own user
	check(t, os.Chown(path, nobody-1, nobody-1))
	refused(t, path, func() error { _, err := pidfile.Read(path); return err })
	p.end()
	wantPID(t, path, 0)

	check(t, own(t, path).WritePID()) // a stale file of that user is no obstacle
	wantPID(t, path, os.Getpid())
	check(t, os.Chown(path, nobody, nobody))
	refused(t, path, func() error { return pidfile.Signal(path, 0) })
}

// TestCommandsDoNotInherit starts a command from a process that adopted the lock.
func TestCommandsDoNotInherit(t *testing.T) {
	t.Parallel()
	path := temp(t)
	lock := share(t, own(t, path))
	conn, err := lock.SyscallConn()
	check(t, err)
	check(t, conn.Control(func(fd uintptr) { _, err = unix.FcntlInt(fd, unix.F_SETFD, 0) }))
	check(t, err)
	f, err := pidfile.Adopt(path, lock)
	check(t, err)
	defer f.Close()
	p := start(t, command("race", temp(t)))
	p.send("take")
	p.expect("won") // so the exec is complete
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.cmd.Process.Pid))
	check(t, err)
	for _, fd := range fds {
		if target, _ := os.Readlink(fd); strings.HasPrefix(target, filepath.Dir(path)) {
			t.Errorf("the command has %s", target)
		}
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to play a second user")
	}
}

// TestLockFileOfAnother: who could only put it there, in a directory where anybody
// may, is not to have root's lock.
func TestLockFileOfAnother(t *testing.T) {
	t.Parallel()
	needRoot(t)
	path := temp(t)
	lock := pidfile.LockPath(path)
	check(t, os.WriteFile(lock, nil, 0o600))
	check(t, os.Chown(lock, 12345, -1))
	if _, err := pidfile.Acquire(path); err == nil || !strings.Contains(err.Error(), "user 12345") || !strings.Contains(err.Error(), lock) {
		t.Errorf("Acquire returned %v", err)
	}
	check(t, os.Chown(filepath.Dir(path), 12345, -1)) // the directory is his
	f, err := pidfile.Acquire(path)
	check(t, err)
	check(t, f.Close())
}
