//go:build linux

package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/test/harness"
	"github.com/gracerun/grace/test/load"
)

// Over many upgrades each item is done once, no two runs of a Loop or an Every
// are going on at a time, none is cut short, and Every keeps its times.
func TestTasksSurviveUpgrades(t *testing.T) {
	t.Parallel()
	w := startWorkshop(t)
	for range 50 {
		w.upgrade()
		load.Pause(w.ctx, rand.N(80*time.Millisecond))
	}
	w.stop()
	h := w.readTrace()
	h.check(t, "loop", "long loop", "often", "seldom")
	h.checkPeriod(t, "seldom", time.Second)
}

// The same holds when generations are killed, but for what they had in hand:
// nobody does that again.
func TestTasksSurviveKills(t *testing.T) {
	t.Parallel()
	w := startWorkshop(t)
	for i := range 50 {
		w.upgrade()
		switch i % 10 {
		case 2, 6:
			w.killDraining()
		case 9:
			w.killOwner()
		}
		load.Pause(w.ctx, rand.N(60*time.Millisecond))
	}
	w.stop()
	if len(w.killed) < 10 {
		t.Errorf("%d processes were killed: too few to prove anything", len(w.killed))
	}
	// Not the one that is seldom: to start anew is to wait a whole period.
	w.readTrace().check(t, "loop", "long loop", "often")
}

// A workshop is testdata/loss/tasks with what the test did to it.
type workshop struct {
	*harness.Service
	t      *testing.T
	ctx    context.Context
	dir    string
	killed map[int]bool
}

func startWorkshop(t *testing.T) *workshop {
	t.Helper()
	dir := t.TempDir()
	binary := build(t, "test/testdata/loss/tasks")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	w := &workshop{t: t, ctx: ctx, dir: dir, killed: map[int]bool{}}
	w.Service = start(t, harness.Config{
		Binary: binary, Args: []string{"-dir", dir},
		Network: "unix", Address: filepath.Join(dir, "http.sock"), PIDFile: filepath.Join(dir, "tasks.pid"),
	})
	w.serves()
	return w
}

// must ends the test with the service's log.
func (w *workshop) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("%v\n%s", err, w.Log())
	}
}

func (w *workshop) serves() {
	w.t.Helper()
	_, err := w.Generation(w.ctx, 1)
	w.must(err)
}

func (w *workshop) upgrade() {
	w.t.Helper()
	_, err := w.Upgrade(w.ctx)
	w.must(err)
}

func (w *workshop) stop() {
	w.t.Helper()
	w.must(w.Stop(w.ctx))
}

func (w *workshop) kill(pid int) {
	if w.Signal(pid, syscall.SIGKILL) == nil { // else it was done already
		w.killed[pid] = true
	}
}

// killDraining kills the oldest generation, unless it is the only one.
func (w *workshop) killDraining() {
	w.t.Helper()
	owner, err := w.PID()
	w.must(err)
	all, err := w.Processes()
	w.must(err)
	for _, p := range all {
		if p.PID != owner && p.State != 'Z' {
			w.kill(p.PID)
			return
		}
	}
}

// killOwner kills the newest generation. The older ones finish what they have,
// and then somebody starts the service anew; unless the predecessor had not let go
// yet, and serves on.
func (w *workshop) killOwner() {
	w.t.Helper()
	owner, err := w.PID()
	w.must(err)
	w.kill(owner)
	replaced := false
	w.must(until(w.ctx, func() error {
		pid, err := w.PID()
		if replaced = err == nil && pid != 0 && pid != owner; replaced {
			return nil
		}
		all, err := w.Processes()
		if err == nil && len(all) > 0 {
			err = fmt.Errorf("still there: %v", all)
		}
		return err
	}))
	if replaced {
		return
	}
	log, err := os.OpenFile(filepath.Join(w.Root, "log"), os.O_WRONLY|os.O_APPEND, 0)
	w.must(err)
	defer log.Close()
	p, err := w.Run(log)
	w.must(err)
	w.must(p.Release())
	w.serves()
}

// A history is what the trace shows.
type history struct {
	events  []traced
	tickets int64
	killed  map[int]bool
}

// traced is a line of the trace.
type traced struct {
	at   time.Duration // on a clock that all processes share
	pid  int
	what string // begin, end, cut, overlap
	item int64
	task string
}

func (w *workshop) readTrace() *history {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, "trace"))
	w.must(err)
	tickets, err := os.Stat(filepath.Join(w.dir, "tickets"))
	w.must(err)
	h := &history{tickets: tickets.Size(), killed: w.killed}
	for line := range strings.Lines(string(text)) {
		var e traced
		_, err := fmt.Sscan(line, &e.at, &e.pid, &e.what, &e.item)
		w.must(err)
		e.task = strings.Join(strings.Fields(line)[4:], " ")
		h.events = append(h.events, e)
	}
	return h
}

// check proves what holds for all tasks, and for those of which only one run may
// be going on.
func (h *history) check(t *testing.T, alone ...string) {
	t.Helper()
	for _, e := range h.events {
		if e.what == "cut" || e.what == "overlap" {
			t.Errorf("%s: %s in pid %d at %v", e.task, e.what, e.pid, e.at)
		}
	}
	h.checkItems(t)
	for _, task := range alone {
		h.checkAlone(t, task)
	}
}

// checkItems proves that each ticket that was drawn was worked on once, and to
// its end. A process that was killed may take one to its grave for each of its
// three workers.
func (h *history) checkItems(t *testing.T) {
	t.Helper()
	begun, ended := map[int64]int{}, map[int64]int{}
	by := map[int64]int{}
	for _, e := range h.events {
		switch {
		case e.task != "work":
		case e.what == "begin":
			begun[e.item]++
			by[e.item] = e.pid
		case e.what == "end":
			ended[e.item]++
		}
	}
	buried := 0
	for item := int64(1); item <= h.tickets; item++ {
		switch n, done := begun[item], ended[item]; {
		case n == 1 && done == 1:
		case n == 1 && done == 0 && h.killed[by[item]], n == 0 && done == 0:
			buried++
		default:
			t.Errorf("item %d was begun %d times and done %d times (pid %d)", item, n, done, by[item])
		}
	}
	if most := 3 * len(h.killed); buried > most {
		t.Errorf("%d items were not done, %d processes were killed", buried, len(h.killed))
	}
	t.Logf("work: %d items, %d of them in the hands of the %d processes that were killed, %d processes in all",
		h.tickets, buried, len(h.killed), h.processes("work"))
}

// checkAlone proves that a run begins only after the last one has ended, or its
// process was killed. (That a killed one had not lived on is what the lock of
// the task itself shows.)
func (h *history) checkAlone(t *testing.T, task string) {
	t.Helper()
	var holder *traced
	runs := 0
	for i := range h.events {
		e := &h.events[i]
		switch {
		case e.task != task:
		case e.what == "begin":
			if holder != nil && !h.killed[holder.pid] {
				t.Errorf("%s: pid %d began at %v while pid %d had one since %v", task, e.pid, e.at, holder.pid, holder.at)
			}
			holder = e
			runs++
		case e.what == "end":
			if holder == nil || holder.pid != e.pid {
				t.Errorf("%s: pid %d ended at %v what it had not begun last", task, e.pid, e.at)
			}
			holder = nil
		}
	}
	if holder != nil && !h.killed[holder.pid] {
		t.Errorf("%s: pid %d never ended what it began at %v", task, holder.pid, holder.at)
	}
	n := h.processes(task)
	t.Logf("%s: %d runs in %d processes", task, runs, n)
	if n < 3 {
		t.Errorf("%s ran in %d processes only", task, n)
	}
}

// processes counts those that did something of a task.
func (h *history) processes(task string) int {
	pids := map[int]bool{}
	for _, e := range h.events {
		if e.task == task {
			pids[e.pid] = true
		}
	}
	return len(pids)
}

// checkPeriod proves that a task was begun at its times: whole periods after one
// another, never twice for one of them, and none left out. A machine that is busy may
// let a quarter of them be late, or be left out.
func (h *history) checkPeriod(t *testing.T, task string, period time.Duration) {
	t.Helper()
	const late = 250 * time.Millisecond
	var begins []time.Duration
	for _, e := range h.events {
		if e.task == task && e.what == "begin" {
			begins = append(begins, e.at)
		}
	}
	if len(begins) == 0 {
		t.Errorf("%s never ran", task)
		return
	}
	early := time.Duration(0) // of the most punctual one, compared with the first
	for _, at := range begins {
		early = min(early, (at-begins[0]+period/2)%period-period/2)
	}
	last, wrong := -1, 0
	for i, at := range begins {
		since := at - begins[0] - early
		n := int(since / period)
		if n <= last {
			t.Errorf("%s: run %d was the second for one time; all: %v", task, i+1, begins)
		}
		wrong += n - last - 1
		if since%period > late {
			wrong++
		}
		last = n
	}
	if wrong*4 > len(begins) {
		t.Errorf("%s: %d of %d runs were more than %v late, or left out; all: %v", task, wrong, len(begins), late, begins)
	}
}
