package pidfile_test

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/gracerun/grace/pidfile"
	"golang.org/x/sys/unix"
)

// TestHolders shares the lock with another process, and the pid file is lost.
func TestHolders(t *testing.T) {
	t.Parallel()
	path, elsewhere := temp(t), temp(t)
	other := start(t, command("hold", elsewhere))
	other.expect("held")
	f := own(t, path)
	wantHolders(t, path, os.Getpid())

	lock := share(t, f)
	cmd := command("inherit", path)
	cmd.ExtraFiles = []*os.File{lock}
	p := start(t, cmd)
	p.expect("shared")
	check(t, lock.Close())
	pid := p.cmd.Process.Pid
	wantHolders(t, path, os.Getpid(), pid)
	wantHolds(t, path, pid, true)
	wantHolds(t, path, other.cmd.Process.Pid, false)
	wantHolders(t, elsewhere, other.cmd.Process.Pid)

	check(t, f.Close())
	wantHolders(t, path, pid)
	wantHolds(t, path, os.Getpid(), false)
	p.end()
	wantHolders(t, path)
	if holds, err := pidfile.Holds(path, pid); holds || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Holds = %v, %v of a process that has ended", holds, err)
	}
}

// wantHolders waits until these processes hold the lock of path: a child that a parallel
// test is just starting has it, too.
func wantHolders(t *testing.T, path string, want ...int) {
	t.Helper()
	slices.Sort(want)
	var pids []int
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if pids, err = pidfile.Holders(path); err == nil && slices.Equal(pids, want) {
			return
		}
	}
	t.Errorf("Holders = %v, %v; want %v", pids, err, want)
}

func wantHolds(t *testing.T, path string, pid int, want bool) {
	t.Helper()
	if holds, err := pidfile.Holds(path, pid); holds != want || err != nil {
		t.Errorf("Holds(%d) = %v, %v; want %v", pid, holds, err, want)
	}
}

// TestHoldersZombie: what has ended holds nothing, even before it is reaped.
func TestHoldersZombie(t *testing.T) {
	t.Parallel()
	path := temp(t)
	p := start(t, command("hold", path))
	p.expect("held")
	wantHolders(t, path, p.cmd.Process.Pid)
	check(t, p.cmd.Process.Kill())
	check(t, unix.Waitid(unix.P_PID, p.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil))
	wantHolders(t, path)
}

// TestHeldAsAnotherUser asks without the right to open the lock file.
func TestHeldAsAnotherUser(t *testing.T) {
	t.Parallel()
	needRoot(t)
	path := temp(t)
	asNobody := func(want string) {
		t.Helper()
		cmd := command("held", path)
		cmd.Env = append(cmd.Env, "PIDFILE_NOBODY=1")
		start(t, cmd).expect(want)
	}
	asNobody("false <nil> [] <nil>")
	f := own(t, path)
	asNobody("true <nil> [] <nil>") // and the holder is not his to look into
	check(t, f.Close())
	wantFree(t, path)
	asNobody("false <nil> [] <nil>")
}
