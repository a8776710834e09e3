//go:build linux

package deployed

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func killCases() []unitCase {
	return []unitCase{
		{name: "kill", run: killMain},
		{name: "killupgrade", run: killDuringUpgrade},
		{name: "killnew", run: killSuccessor},
		{name: "killany", run: killAtAnyTime},
		{name: "exit", unit: "Restart=no\n", run: exitStatus},
	}
}

// killMain: systemd starts the service again, also one that was upgraded, and nothing of
// the old one is left.
func killMain(t *testing.T, u *managed) {
	for i := range 3 {
		if i > 0 {
			u.must(t, "reload")
		}
		before := u.pids(t)
		u.kill(t, u.mainPID(t))
		u.await(t, "ActiveState SubState NRestarts", fmt.Sprintf("active running %d", i+1))
		generation, pid := u.who(t, u.address(t))
		if pid != u.mainPID(t) || generation != 1 || slices.Contains(before, pid) {
			t.Errorf("generation %d pid %d answers, MainPID is %d", generation, pid, u.mainPID(t))
		}
		if pids := u.pids(t); !slices.Equal(pids, []int{pid}) {
			t.Errorf("%v in the cgroup, want %d alone", pids, pid)
		}
	}
}

// killDuringUpgrade: the main process dies while its successor is on probation.
func killDuringUpgrade(t *testing.T, u *managed) {
	before := u.mainPID(t)
	goOn := u.say(t, "stay", "")
	u.awaitSuccessor(t, before)
	u.kill(t, before)
	u.until(t, func() error { // nothing of it is left
		if pids := u.pids(t); slices.Contains(pids, before) {
			return fmt.Errorf("%v in the cgroup", pids)
		}
		return nil
	})
	goOn()
	u.await(t, "ActiveState SubState NRestarts", "active running 1")
	u.alone(t)
	u.must(t, "reload")
	u.alone(t)
}

// awaitSuccessor asks for an upgrade, and waits until its check runs.
func (u *managed) awaitSuccessor(t *testing.T, before int) int {
	t.Helper()
	u.must(t, "kill", "-s", "HUP", "--kill-who=main")
	pid := 0
	u.until(t, func() error {
		for _, p := range u.processes(t) {
			if p.Inside != before && strings.Contains(u.log(), fmt.Sprintf("pid %d checks\n", p.Inside)) {
				pid = p.Inside
				return nil
			}
		}
		return fmt.Errorf("no successor among %v", u.processes(t))
	})
	return pid
}

// alone checks that one process answers, is the main one, and has no other beside it.
func (u *managed) alone(t *testing.T) {
	t.Helper()
	u.until(t, func() error {
		pid := u.mainPID(t)
		if pids := u.pids(t); !slices.Equal(pids, []int{pid}) {
			return fmt.Errorf("%v in the cgroup, MainPID is %d", pids, pid)
		}
		if _, by := u.who(t, u.address(t)); by != pid {
			return fmt.Errorf("%d answers, MainPID is %d", by, pid)
		}
		return nil
	})
}

// killSuccessor: the upgrade fails, and nothing else does.
func killSuccessor(t *testing.T, u *managed) {
	pid := u.mainPID(t)
	goOn := u.say(t, "stay", "")
	second := u.awaitSuccessor(t, pid)
	u.kill(t, second)
	u.until(t, func() error {
		if got := u.show(t, "SubState StatusText"); !strings.HasPrefix(got, "running ") || !strings.Contains(got, "failed") {
			return fmt.Errorf("SubState and StatusText are %q", got)
		}
		return nil
	})
	u.want(t, "MainPID NRestarts", fmt.Sprintf("%d 0", pid))
	goOn()
	u.alone(t)
	u.must(t, "reload")
	u.alone(t)
	if now := u.mainPID(t); now == pid {
		t.Errorf("MainPID is %d still", pid)
	}
}

// killAtAnyTime: whatever the main process does when it is killed, there is one service
// afterwards that can be reloaded. It is a new one, unless systemd followed the successor
// already.
func killAtAnyTime(t *testing.T, u *managed) {
	for i := range 10 {
		u.must(t, "kill", "-s", "HUP", "--kill-who=main")
		time.Sleep(time.Duration(i*7) * time.Millisecond) // into the upgrade
		killed := u.killMain(t)
		u.until(t, func() error {
			if got := u.show(t, "MainPID ActiveState SubState"); !strings.HasSuffix(got, " active running") || strings.HasPrefix(got, fmt.Sprintf("%d ", killed)) {
				return fmt.Errorf("%d was killed, and MainPID, ActiveState and SubState are %q", killed, got)
			}
			return nil
		})
		u.alone(t)
	}
	u.must(t, "reload")
	u.alone(t)
}

// killMain kills the main process, which may be about to become another one.
func (u *managed) killMain(t *testing.T) (pid int) {
	t.Helper()
	u.until(t, func() error {
		pid = u.mainPID(t)
		for _, p := range u.processes(t) {
			if p.Inside == pid {
				return p.Signal(syscall.SIGKILL)
			}
		}
		return fmt.Errorf("no process %d in the unit", pid)
	})
	return pid
}

// exitStatus is that of the main process, also of one that was a successor.
func exitStatus(t *testing.T, u *managed) {
	for _, reloads := range []int{0, 1, 2} {
		u.must(t, "start")
		for range reloads {
			u.must(t, "reload")
		}
		u.crash(t, "/exit")
		u.await(t, "ActiveState Result ExecMainCode ExecMainStatus", "failed exit-code 1 3")
		u.gone(t)
		u.must(t, "start")
		for range reloads {
			u.must(t, "reload")
		}
		u.crash(t, "/kill")
		u.await(t, "ActiveState Result ExecMainCode ExecMainStatus", "failed signal 2 9")
		u.gone(t)
	}
	u.must(t, "reset-failed")
}

// crash makes a request that is not answered.
func (u *managed) crash(t *testing.T, path string) {
	t.Helper()
	if resp, err := tryRequest(t, u.address(t), path); err == nil {
		resp.Body.Close()
		t.Fatalf("GET %s is answered", path)
	}
}
