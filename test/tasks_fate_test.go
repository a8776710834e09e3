//go:build linux

package test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun"
)

// kinds are the tasks of testdata/task/fate.
var kinds = []string{"work", "loop", "every", "cron", "task"}

// A panic of a task is a crash of the service, whatever kind of task that is.
func TestPanicOfATaskIsACrash(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		s := startSubject(t, "task/fate", "-fate", "panic", "-kinds", kind)
		s.must(s.Exited(t.Context(), s.First))
		if ws, ok := s.Service.Status(s.First); !ok || ws.ExitStatus() != 2 {
			t.Errorf("%s: ended with %v %v, want exit status 2", kind, ws, ok)
		}
		if log := s.Log(); !strings.Contains(log, "panic: as it is to be") || !strings.Contains(log, "goroutine ") {
			t.Errorf("%s: the log does not show the panic:\n%s", kind, log)
		}
	}
}

// With App.Recover the service lives, and the run has failed.
func TestPanicOfATaskIsRecovered(t *testing.T) {
	t.Parallel()
	s := startSubject(t, "task/fate", "-fate", "panic", "-recover")
	s.serves()
	for _, kind := range kinds {
		line, err := s.Logged(t.Context(), 0, "task failed", "task="+kind+" ", "panic: as it is to be", "stack=")
		if err != nil || !strings.Contains(line, "fate/main.go") {
			t.Errorf("%s: %v, the log shows %q", kind, err, line)
		}
	}
	all := s.control().tasks()
	for _, kind := range kinds[:4] { // App.Task registers nothing
		if got := all[kind]; got.Failed == 0 || got.Failed != got.Runs || !strings.Contains(got.LastError, "as it is to be") {
			t.Errorf("%s: %+v", kind, got)
		}
	}
	s.upgrade() // and lives on
	s.stop()
}

// A run that takes longer than its time is told so, and is a failed one.
func TestTimeoutOfARun(t *testing.T) {
	t.Parallel()
	limited := kinds[:4]
	s := startSubject(t, "task/fate", "-limit", "50ms", "-kinds", strings.Join(limited, ","))
	s.serves()
	for _, kind := range limited {
		s.says("ended", kind+": "+gracerun.ErrTaskTimeout.Error())
	}
	s.stop()
	h := s.tracks()
	for _, kind := range limited {
		n := slices.IndexFunc(h, func(r record) bool { return r.What == "failed" && r.Task == kind })
		if n < 0 || h[n].Item == 0 {
			t.Errorf("%s: no run has failed", kind)
		}
	}
}

// The deadline of the drain is the cause for which work is cut, after an upgrade and
// in a stop; Run's error names all of it.
func TestDeadlineOfTheDrain(t *testing.T) {
	t.Parallel()
	const limit = 300 * time.Millisecond
	s := startSubject(t, "task/fate", "-drain", limit.String())
	s.serves()
	for generation := 1; generation <= 2; generation++ {
		for _, kind := range kinds {
			s.until(func() error { return s.said(generation, "begin", kind) })
		}
		if generation == 1 {
			s.upgrade()
			s.must(s.Exited(t.Context(), s.First))
		} else {
			s.stop()
		}
		s.cutAfter(generation, limit)
	}
}

// cutAfter proves that the drain of a generation took until its deadline, that all
// tasks were cut then and why, and that all are named.
func (s *subject) cutAfter(generation int, limit time.Duration) {
	s.t.Helper()
	cause := gracerun.ErrDrainTimeout.Error()
	var drain time.Duration
	var late string
	cut := map[string]bool{}
	for _, r := range s.tracks() {
		switch {
		case r.Generation != generation:
		case r.What == "drain":
			drain = r.At
		case r.What == "returned":
			late = r.Task
		case r.What == "ended":
			kind, why, _ := strings.Cut(r.Task, ": ")
			cut[kind] = true
			if why != cause || r.At-drain < limit {
				s.t.Errorf("generation %d: %s ended %v after the drain had begun, because of %q", generation, kind, r.At-drain, why)
			}
		}
	}
	for _, kind := range kinds {
		if !cut[kind] || !strings.Contains(late, cause) || !strings.Contains(late, kind) {
			s.t.Errorf("generation %d: %s was cut: %v; Run returned %q", generation, kind, cut[kind], late)
		}
	}
}

// A task that hears of the drain may hand its item back, long before the deadline.
// That is no failure, and is counted.
func TestHandBack(t *testing.T) {
	t.Parallel()
	s := startSubject(t, "task/fate", "-fate", "requeue")
	s.serves()
	for _, kind := range kinds {
		s.says("begin", kind)
	}
	s.upgrade()
	s.must(s.Exited(t.Context(), s.First))
	if ws, ok := s.Service.Status(s.First); !ok || ws.ExitStatus() != 0 {
		t.Errorf("the first generation ended with %v %v", ws, ok)
	}
	if err := s.said(1, "returned", "<nil>"); err != nil {
		t.Error(err)
	}
	count := map[string]int64{}
	for _, r := range s.tracks() {
		if r.Generation == 1 && (r.What == "requeued" || r.What == "failed") {
			count[r.What+" "+r.Task] = r.Item
		}
	}
	for _, kind := range kinds {
		if err := s.said(1, "back", kind); err != nil {
			t.Error(err)
		}
		if kind != "task" && (count["requeued "+kind] != 1 || count["failed "+kind] != 0) {
			t.Errorf("%s: %v", kind, count)
		}
		if _, err := s.Logged(t.Context(), 0, "handed back", "task="+kind); err != nil {
			t.Error(err)
		}
	}
	s.stop()
	s.noErrors()
}

// says waits for a record of the first generation.
func (s *subject) says(what, task string) {
	s.t.Helper()
	s.until(func() error { return s.said(1, what, task) })
}

// said is an error as long as there is no such record.
func (s *subject) said(generation int, what, task string) error {
	h := s.tracks()
	if !slices.ContainsFunc(h, func(r record) bool { return r.Generation == generation && r.What == what && r.Task == task }) {
		return fmt.Errorf("generation %d did not say %q of %q, but %+v", generation, what, task, h)
	}
	return nil
}
