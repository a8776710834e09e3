//go:build linux

package deployed

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func stopCases() []unitCase {
	return []unitCase{
		{name: "stopupgrade", run: stopDuringUpgrade},
		{name: "stopreload", run: stopDuringReload},
		{name: "stopdrain", run: stopDuringDrain},
		{name: "cut", flags: "-drain 1s", run: stopCutsAtItsDeadline},
		// Each time that systemd allows is shorter than what the service needs, and says so.
		{name: "patient", flags: "-setup 2000ms", kind: "--watchdog 1s", unit: "TimeoutStartSec=1500ms\nTimeoutStopSec=1500ms\n", run: longerThanAllowed, unstarted: true},
		{name: "fork", flags: "-output /run/bench/{name}.log", kind: "--type forking", run: forkingUnit},
		{name: "forkstop", flags: "-output /run/bench/{name}.log", kind: "--type forking", run: forkingStop},
	}
}

// stopDuringUpgrade: the upgrade is given up, and all generations end by themselves.
func stopDuringUpgrade(t *testing.T, u *managed) {
	address, first := u.address(t), u.mainPID(t)
	h := u.hold(t, address)
	u.must(t, "reload")
	second := u.mainPID(t)
	h2 := u.hold(t, address)

	goOn := u.say(t, "stay", "")
	defer goOn()
	u.must(t, "kill", "-s", "HUP", "--kill-who=main")
	u.until(t, func() error { // the third one runs
		if n := len(u.pids(t)); n < 3 {
			return fmt.Errorf("%d processes in the unit", n)
		}
		return nil
	})
	u.must(t, "stop", "--no-block")
	u.await(t, "SubState", "stop-sigterm")
	release := u.say(t, "release", "")
	defer release()
	h.released(t)
	h2.released(t)
	u.await(t, "ActiveState Result", "inactive success")
	u.gone(t)
	u.ended(t, first, second)
}

// stopDuringReload: a stop at any time while systemctl reload waits is no failure of the
// unit, also while its process does not listen to signals yet.
func stopDuringReload(t *testing.T, u *managed) {
	for i := range 12 {
		u.must(t, "start")
		pid := u.mainPID(t)
		u.must(t, "reload", "--no-block")                 // a job that comes after that of the stop would end it
		time.Sleep(time.Duration(i*i) * time.Millisecond) // into its start, and into the upgrade
		u.must(t, "stop")
		u.want(t, "ActiveState Result", "inactive success")
		u.gone(t)
		u.ended(t, pid)
	}
}

// stopDuringDrain: what older generations have in hand is finished, too, and the status
// says what that is.
func stopDuringDrain(t *testing.T, u *managed) {
	address, first := u.address(t), u.mainPID(t)
	h := u.hold(t, address)
	u.must(t, "reload")
	second := u.mainPID(t)
	h2 := u.hold(t, address)
	u.must(t, "stop", "--no-block")
	u.until(t, func() error {
		if got := u.show(t, "SubState StatusText"); !strings.HasPrefix(got, "stop-sigterm ") || !strings.Contains(got, "1") {
			return fmt.Errorf("SubState and StatusText are %q", got)
		}
		return nil
	})
	u.want(t, "MainPID", fmt.Sprint(second))
	release := u.say(t, "release", "")
	defer release()
	h2.released(t)
	h.released(t)
	u.await(t, "ActiveState Result", "inactive success")
	u.gone(t)
	u.ended(t, first, second)
}

// stopCutsAtItsDeadline: a request that does not end is cut by the service, in its time,
// and not by systemd.
func stopCutsAtItsDeadline(t *testing.T, u *managed) {
	u.hold(t, u.address(t))
	pid := u.mainPID(t)
	begin := time.Now()
	u.must(t, "stop")
	if took := time.Since(begin); took < time.Second || took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	u.want(t, "ActiveState ExecMainCode ExecMainStatus", "failed 1 1") // exited, with 1
	u.gone(t)
	if text := u.log(); !strings.Contains(text, "the drain deadline passed") {
		t.Errorf("process %d says nothing of it", pid)
	}
	u.must(t, "reset-failed")
}

// longerThanAllowed: a start, and a drain that the watchdog does not end either.
func longerThanAllowed(t *testing.T, u *managed) {
	begin := time.Now()
	u.must(t, "start")
	if took := time.Since(begin); took < 2000*time.Millisecond {
		t.Errorf("it was ready after %v", took)
	}
	address, pid := u.address(t), u.mainPID(t)
	h := u.hold(t, address)
	u.must(t, "stop", "--no-block")
	u.await(t, "SubState", "stop-sigterm")
	over := time.NewTimer(2500 * time.Millisecond) // well over what is allowed
	defer over.Stop()
	<-over.C
	u.want(t, "MainPID SubState", fmt.Sprintf("%d stop-sigterm", pid))
	release := u.say(t, "release", "")
	defer release()
	h.released(t)
	u.await(t, "ActiveState Result NRestarts", "inactive success 0")
	u.ended(t, pid)
}

// forkingUnit: systemd reads the pid file after a reload, and when the main process has
// ended.
func forkingUnit(t *testing.T, u *managed) {
	address := u.address(t)
	for i := range 3 {
		h := u.hold(t, address)
		u.must(t, "reload")
		pid := u.answers(t, address, i+2)
		u.want(t, "MainPID", fmt.Sprint(pid))
		release := u.say(t, "release", "")
		h.released(t)
		release()
		u.await(t, "MainPID ActiveState SubState", fmt.Sprintf("%d active running", pid))
	}
	// The end of a successor is noticed.
	u.kill(t, u.mainPID(t))
	u.await(t, "ActiveState SubState NRestarts", "active running 1")
	if _, pid := u.who(t, u.address(t)); pid != u.mainPID(t) {
		t.Errorf("%d answers, MainPID is %d", pid, u.mainPID(t))
	}
}

// forkingStop: a stop while an older generation drains.
func forkingStop(t *testing.T, u *managed) {
	address, first := u.address(t), u.mainPID(t)
	h := u.hold(t, address)
	u.must(t, "reload")
	second := u.answers(t, address, 2)
	h2 := u.hold(t, address)
	u.must(t, "stop", "--no-block")
	u.until(t, func() error {
		if got := u.show(t, "SubState"); !strings.HasPrefix(got, "stop") {
			return fmt.Errorf("SubState %q", got)
		}
		return nil
	})
	release := u.say(t, "release", "")
	defer release()
	h2.released(t)
	h.released(t)
	u.await(t, "ActiveState Result", "inactive success")
	u.gone(t)
	u.ended(t, first, second)
}
