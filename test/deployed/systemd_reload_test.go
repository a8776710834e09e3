//go:build linux

package deployed

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gracerun/grace/test/harness"
	"github.com/gracerun/grace/test/load"
)

func reloadCases() []unitCase {
	return []unitCase{
		{name: "reload", flags: "-linger 1s", run: reloadsUnderLoad},
		{name: "refuse", run: refusedReload},
		{name: "hup", kind: "--type notify-reload", version: 253, run: reloadsBySignal},
		{name: "journal", unit: "StandardError=journal\n", run: noLineIsLost},
		{name: "older", run: olderGenerationIsSilent},
		{name: "slow", flags: "-setup 2s", unit: "TimeoutStartSec=1500ms\n", run: slowReload},
	}
}

// reloadsUnderLoad: each reload is as the first one, no request is lost, and systemd
// follows.
func reloadsUnderLoad(t *testing.T, u *managed) {
	n, err := harness.Upgrades(10)
	if err != nil {
		t.Fatal(err)
	}
	address := u.address(t)
	target := load.Target{Address: address}
	groups := []load.Group{
		{Kind: "keep-alive", N: 4, Think: 20 * time.Millisecond, New: func() load.Client { return &load.KeepAlive{Target: target, Look: true} }},
		{Kind: "fresh", N: 4, Think: 20 * time.Millisecond, New: func() load.Client { return &load.Fresh{Target: target} }},
		{Kind: "slow", N: 2, Think: 20 * time.Millisecond, New: func() load.Client { return &load.Slow{Target: target, Sleep: 200 * time.Millisecond} }},
	}
	generations := []int{u.mainPID(t)}
	underLoad(t, groups, func() {
		for i := range n {
			u.must(t, "reload")
			pid := u.mainPID(t)
			if slices.Contains(generations, pid) {
				t.Fatalf("reload %d: MainPID is %d still", i+1, pid)
			}
			generations = append(generations, pid)
			if by := u.answers(t, address, i+2); by != pid {
				t.Fatalf("reload %d: pid %d answers, MainPID is %d", i+1, by, pid)
			}
			u.want(t, "ActiveState SubState NRestarts", "active running 0")
			for _, p := range u.processes(t) {
				if !slices.Contains(generations, p.Inside) {
					t.Errorf("reload %d: in the cgroup is %d (%s), which is no generation", i+1, p.Inside, p.Process)
				}
			}
		}
	})
	newest := generations[n]
	u.until(t, func() error {
		if pids := u.pids(t); !slices.Equal(pids, []int{newest}) {
			return fmt.Errorf("%v in the cgroup, want %d alone", pids, newest)
		}
		return nil
	})
	u.want(t, "ActiveState SubState NRestarts MainPID", fmt.Sprintf("active running 0 %d", newest))
	u.ended(t, generations[:n]...)
}

// refusedReload: systemctl fails, the status says why, the service goes on, and so does
// the next reload.
func refusedReload(t *testing.T, u *managed) {
	address, pid := u.address(t), u.mainPID(t)
	for i := range 2 {
		accept := u.say(t, "refuse", "the data is from next year")
		if text, err := u.systemctl(t, "reload"); err == nil {
			t.Errorf("reload succeeds: %s", text)
		}
		if got := u.show(t, "StatusText"); !strings.Contains(got, "the data is from next year") {
			t.Errorf("the status is %q", got)
		}
		if text, _ := u.systemctl(t, "status"); !strings.Contains(text, "the data is from next year") {
			t.Errorf("systemctl status shows %s", text)
		}
		u.want(t, "ActiveState SubState MainPID", fmt.Sprintf("active running %d", pid))
		if pids := u.pids(t); !slices.Equal(pids, []int{pid}) {
			t.Errorf("%v in the cgroup, want %d", pids, pid)
		}
		accept()
		u.must(t, "reload")
		by := u.answers(t, address, i+2)
		if pid = u.mainPID(t); by != pid {
			t.Errorf("MainPID is %d, and %d answers", pid, by)
		}
		if got := u.show(t, "StatusText"); strings.Contains(got, "the data") {
			t.Errorf("the status is %q still", got)
		}
	}
}

// reloadsBySignal: systemd waits for what the service says after a signal. That it failed
// is in the status alone.
func reloadsBySignal(t *testing.T, u *managed) {
	address, pid := u.address(t), u.mainPID(t)
	for i := range 3 {
		u.must(t, "reload")
		now := u.mainPID(t)
		if now == pid {
			t.Fatalf("reload %d: MainPID is %d still", i+1, pid)
		}
		pid = now
		if by := u.answers(t, address, i+2); by != pid {
			t.Fatalf("reload %d: MainPID is %d, and pid %d answers", i+1, pid, by)
		}
	}
	accept := u.say(t, "refuse", "not on a Friday")
	u.must(t, "reload")
	if got := u.show(t, "StatusText"); !strings.Contains(got, "not on a Friday") {
		t.Errorf("the status is %q", got)
	}
	u.want(t, "ActiveState SubState MainPID", fmt.Sprintf("active running %d", pid))
	accept()
	u.must(t, "reload")
	if now := u.mainPID(t); now == pid {
		t.Errorf("MainPID is %d still", pid)
	}
}

// noLineIsLost: the journal has what every generation wrote.
func noLineIsLost(t *testing.T, u *managed) {
	address := u.address(t)
	const lines = 40
	for i := range 10 {
		for line := range lines {
			u.get(t, address, fmt.Sprintf("/print?line=%d", i*lines+line))
		}
		h := u.hold(t, address) // what a generation says last is there, too
		u.must(t, "reload")
		release := u.say(t, "release", "")
		h.released(t)
		release()
	}
	u.must(t, "stop")
	text, err := u.Exec(t.Context(), "journalctl", "--sync")
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if text, err = u.Exec(t.Context(), "journalctl", "-u", u.name+".service", "-o", "cat"); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	for line := range 10 * lines {
		if n := strings.Count(text+"\n", fmt.Sprintf("line %d\n", line)); n != 1 {
			t.Errorf("line %d is there %d times", line, n)
		}
	}
	if n := strings.Count(text+"\n", " ends\n"); n != 11 {
		t.Errorf("%d ends of generations are there, want 11", n)
	}
}

// olderGenerationIsSilent: while it drains the service is running, and its end changes
// nothing.
func olderGenerationIsSilent(t *testing.T, u *managed) {
	address, first := u.address(t), u.mainPID(t)
	h := u.hold(t, address)
	u.must(t, "reload")
	second := u.mainPID(t)
	u.want(t, "ActiveState SubState", "active running")
	if pids, want := u.pids(t), []int{first, second}; !slices.Equal(pids, want) {
		t.Errorf("%v in the cgroup, want %v", pids, want)
	}
	u.must(t, "kill", "-s", "TERM", "--kill-who=all") // to the older, too: it has handed over
	release := u.say(t, "release", "")
	defer release()
	h.released(t)
	u.await(t, "ActiveState Result", "inactive success")
	u.ended(t, first, second)
}

// slowReload: a reload that takes longer than the unit allows, and says so.
func slowReload(t *testing.T, u *managed) {
	pid := u.mainPID(t)
	u.must(t, "reload")
	if now := u.mainPID(t); now == pid {
		t.Errorf("MainPID is %d still", pid)
	}
	u.want(t, "ActiveState SubState NRestarts", "active running 0")
	u.alone(t)
}
