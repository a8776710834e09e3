//go:build linux

package test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/test/load"
)

// Over many upgrades no two runs of a Loop, an Every or a Cron are going on at a
// time, and no generation has one after a younger one had its first.
func TestExclusiveTasksOverUpgrades(t *testing.T) {
	t.Parallel()
	s := startSubject(t, "task/exclusive")
	s.serves()
	for range upgrades(t) {
		s.upgrade()
		load.Pause(t.Context(), rand.N(60*time.Millisecond))
	}
	s.checkExclusive()
}

// The same holds when a process of the service is killed while it is replaced:
// the old one, the new one, or one that has been replaced before and still has
// something in hand. And the tasks go on.
func TestExclusiveTasksOverKills(t *testing.T) {
	t.Parallel()
	s := startSubject(t, "task/exclusive")
	s.serves()
	for range upgrades(t) {
		s.must(s.Signal(s.owner(), syscall.SIGHUP))
		load.Pause(t.Context(), rand.N(50*time.Millisecond))
		s.killOne()
		s.settle()
		load.Pause(t.Context(), rand.N(60*time.Millisecond))
	}
	s.checkExclusive()
	if len(s.killed) < upgrades(t)/2 {
		t.Errorf("%d processes were killed: too few to prove anything", len(s.killed))
	}
}

// checkExclusive lets the last generation have each task, ends the service, and
// looks at the trace.
func (s *subject) checkExclusive() {
	s.t.Helper()
	owner := s.owner()
	s.until(func() error { return s.tracks().beganIn(owner, exclusiveTasks) })
	s.stop()
	s.t.Logf("%d killed, %d times started anew", len(s.killed), s.restarts)
	h := s.tracks()
	h.nothingCut(s.t)
	for _, task := range exclusiveTasks {
		h.oneAtATime(s.t, task, s.killed)
		h.inOrder(s.t, task, s.killed)
	}
}

// exclusiveTasks are those of testdata/task/exclusive.
var exclusiveTasks = []string{"short loop", "long loop", "failing loop", "often", "seldom", "cron"}

// beganIn is an error as long as there is a task that never began in a process.
func (h tracks) beganIn(pid int, tasks []string) error {
	began := map[string]bool{}
	for _, r := range h {
		if r.PID == pid && r.What == "begin" {
			began[r.Task] = true
		}
	}
	for _, task := range tasks {
		if !began[task] {
			return fmt.Errorf("%q never began in pid %d, only %v", task, pid, slices.Sorted(maps.Keys(began)))
		}
	}
	return nil
}

// nothingCut fails the test for what should not happen to any task.
func (h tracks) nothingCut(t *testing.T) {
	t.Helper()
	for _, r := range h {
		if r.What == "cut" || r.What == "overlap" || r.What == "refused" {
			t.Errorf("%s: %s in generation %d (pid %d) at %v", r.Task, r.What, r.Generation, r.PID, r.At)
		}
	}
}

// oneAtATime proves that a run begins only when the last one has ended, or its
// process was killed. (That a killed one had not lived on is what the lock of the
// run itself shows.)
func (h tracks) oneAtATime(t *testing.T, task string, killed map[int]bool) {
	t.Helper()
	var holder record
	var idle, longest time.Duration
	runs, processes := 0, map[int]bool{}
	for _, r := range h {
		switch {
		case r.Task != task:
		case r.What == "begin":
			if holder.PID != 0 && !killed[holder.PID] {
				t.Errorf("%s: begun %+v in the middle of %+v", task, r, holder)
			}
			if idle != 0 {
				longest = max(longest, r.At-idle)
			}
			holder = r
			runs++
			processes[r.PID] = true
		case r.What == "end":
			if holder.PID != r.PID || holder.Item != r.Item {
				t.Errorf("%s: ended %+v, begun was %+v", task, r, holder)
			}
			holder, idle = record{}, r.At
		}
	}
	if holder.PID != 0 && !killed[holder.PID] {
		t.Errorf("%s: %+v never ended", task, holder)
	}
	t.Logf("%s: %d runs in %d processes, at most %v between two", task, runs, len(processes), longest.Round(time.Millisecond))
	if len(processes) < 3 {
		t.Errorf("%s ran in %d processes only", task, len(processes))
	}
}

// inOrder proves that the runs are those of one generation after the other, and
// that none is missing but one of each process that was killed: in the moment
// between its number and its trace.
func (h tracks) inOrder(t *testing.T, task string, killed map[int]bool) {
	t.Helper()
	born := map[int]int{} // by process: how many came before it
	var last record
	missing := 0
	for _, r := range h {
		switch {
		case r.What == "setup":
			born[r.PID] = len(born)
		case r.Task != task || r.What != "begin":
		default:
			if born[r.PID] < born[last.PID] {
				t.Errorf("%s: %+v came after %+v of a younger process", task, r, last)
			}
			if missing += int(r.Item - last.Item - 1); r.Item <= last.Item || missing > len(killed) {
				t.Errorf("%s: %+v came after %+v: a run is missing, or has gone back", task, r, last)
			}
			last = r
		}
	}
}
