//go:build linux

package test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gracerun/grace/test/testdata/task/trace"
)

// A task that is paused has no run until it is resumed: not in this generation,
// not in three more, and not after a crash of the service. The others go on.
func TestPauseLasts(t *testing.T) {
	t.Parallel()
	s := startSubject(t, "task/exclusive", "-prod=false")
	s.serves()
	paused := []string{"short loop", "often"}
	for _, task := range paused {
		s.control().steers("pause", task)
	}
	s.until(func() error { return s.inState("paused", paused...) })
	before := s.tracks().count("begin")
	for range 3 {
		s.upgrade()
		s.goesOn("seldom")
		s.until(func() error { return s.inState("paused", paused...) })
	}
	s.kill(s.owner())
	s.must(s.Gone(t.Context()))
	s.settle()
	s.goesOn("failing loop")
	s.until(func() error { return s.inState("paused", paused...) })
	after := s.tracks().count("begin")
	for _, task := range paused {
		if after[task] != before[task] {
			t.Errorf("%s had %d runs while it was paused", task, after[task]-before[task])
		}
		s.control().steers("resume", task)
		s.goesOn(task)
	}
	s.stop()
}

// A pause that is answered with yes holds, and so does its end, whatever else
// happens at that time: here the service is replaced while one task after the
// other is paused, resumed, and paused.
func TestPauseMeetsUpgrade(t *testing.T) {
	t.Parallel()
	const idle = 60 // of each kind
	s := startSubject(t, "task/exclusive", "-prod=false", "-idle", fmt.Sprint(idle))
	s.serves()
	verbs := []string{"pause", "resume"}
	for i := range max(upgrades(t)/5, 2) {
		first, second := verbs[i%2], verbs[(i+1)%2]
		var asking sync.WaitGroup
		for _, kind := range []string{"loop", "work"} {
			c := s.staying()
			asking.Go(func() {
				for n := range idle {
					for _, verb := range []string{first, second, first} {
						if err := c.steer(verb, fmt.Sprintf("idle %s %d", kind, n)); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		s.whileReplaced(asking.Wait)
		s.allPaused("idle", first == "pause")
		s.whileReplaced(func() {}) // what came late, if anything did, is seen by now
		s.allPaused("idle", first == "pause")
	}
	s.stop()
}

// Each time that it is triggered a task runs once, whatever else happens at that
// time.
func TestTriggerMeetsUpgrade(t *testing.T) {
	t.Parallel()
	const task = "hourly"
	s := startSubject(t, "task/exclusive", "-prod=false")
	s.serves()
	n := upgrades(t)
	for i := range n {
		c := s.staying()
		c.tasks() // it is the old process that is asked
		s.whileReplaced(func() { c.steers("trigger", task) })
		s.until(func() error { return s.ran(task, i+1) })
	}
	s.stop()
	if runs := s.tracks().count("begin")[task]; runs != n {
		t.Errorf("it was triggered %d times and ran %d times", n, runs)
	}
}

// A task that is triggered in the middle of a run has one more run, however often
// that was; and one that is paused runs all the same, and is paused after that.
func TestTriggerInTheMiddle(t *testing.T) {
	t.Parallel()
	const task = "held"
	s := startSubject(t, "task/exclusive", "-prod=false")
	s.serves()
	release := func() {
		_, err := s.Get(t.Context(), "/release")
		s.must(err)
	}
	c := s.control()
	c.steers("trigger", task)
	s.until(func() error { return s.counts(task, "begin", 1) })
	for range 3 {
		c.steers("trigger", task)
	}
	release()
	s.until(func() error { return s.counts(task, "begin", 2) })
	release()
	s.until(func() error { return s.counts(task, "end", 2) })
	c.steers("pause", task)
	c.steers("trigger", task)
	s.until(func() error { return s.counts(task, "begin", 3) })
	release()
	s.until(func() error { return s.inState("paused", task) })
	s.stop()
	h := s.tracks()
	h.nothingCut(t)
	if runs := h.count("begin")[task]; runs != 3 {
		t.Errorf("it ran %d times, want 3", runs)
	}
}

// Neither upgrades nor a crash nor runs in between move the times of an Every, and
// no time is left out.
func TestEveryKeepsItsTimes(t *testing.T) {
	t.Parallel()
	const (
		task   = "secondly"
		period = time.Second
	)
	s := startSubject(t, "task/exclusive", "-prod=false")
	s.serves()
	s.goesOn(task)
	due := s.control().tasks()[task].Due
	first := trace.Now() + time.Until(due) // as it says: it may begin late
	keeps := func() {
		t.Helper()
		s.until(func() error { // an older generation may have the task still
			now := s.control().tasks()[task].Due
			if now.IsZero() {
				return errors.New("it is due at no time")
			}
			if since := now.Sub(due); (since - since.Round(period)).Abs() > time.Millisecond {
				t.Errorf("it was due at %v, and is at %v", due, now)
			}
			return nil
		})
	}
	for range 5 {
		s.whileReplaced(func() { s.control().steers("trigger", task) })
		keeps()
	}
	died := trace.Now()
	s.kill(s.owner())
	s.must(s.Gone(t.Context()))
	s.settle()
	back := trace.Now()
	keeps()
	s.control().steers("trigger", task)
	settled := trace.Now()
	s.goesOn(task)
	s.until(func() error {
		if last := s.tracks().begun(task); last[len(last)-1] < settled+2*period {
			return fmt.Errorf("begun at %v, settled at %v", last, settled)
		}
		return nil
	})
	keeps()
	s.stop()
	times := s.tracks().begun(task)
	for at := first; at < settled+2*period; at += period {
		limit := at + period*9/10 // on a machine that is busy
		if at < back && died < limit {
			limit += back - died // nobody was there
		}
		if !slices.ContainsFunc(times, func(begun time.Duration) bool { return begun > at-period/10 && begun < limit }) {
			t.Errorf("it did not begin at %v, but at %v", at, times)
		}
	}
	t.Logf("begun at %v, settled at %v", times, settled)
}

// begun are the times at which a task began.
func (h tracks) begun(task string) (times []time.Duration) {
	for _, r := range h {
		if r.Task == task && r.What == "begin" {
			times = append(times, r.At)
		}
	}
	return times
}

// goesOn waits for another run of a task.
func (s *subject) goesOn(task string) {
	s.t.Helper()
	n := s.tracks().count("begin")[task]
	s.until(func() error { return s.ran(task, n+1) })
}

func (s *subject) ran(task string, n int) error { return s.counts(task, "begin", n) }

// counts is an error as long as there are fewer records.
func (s *subject) counts(task, what string, n int) error {
	if got := s.tracks().count(what)[task]; got < n {
		return fmt.Errorf("%s: %d times %s, want %d", task, got, what, n)
	}
	return nil
}

func (s *subject) inState(state string, tasks ...string) error {
	all := s.control().tasks()
	for _, task := range tasks {
		if got := all[task]; got.State != state || got.Paused != (state == "paused") {
			return fmt.Errorf("%s is %+v, want it %s", task, got, state)
		}
	}
	return nil
}

// allPaused proves that all tasks of a kind are, or are not.
func (s *subject) allPaused(kind string, paused bool) {
	s.t.Helper()
	all := s.control().tasks()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if task := all[name]; strings.HasPrefix(name, kind) && task.Paused != paused {
			s.t.Errorf("%+v, want Paused %v", task, paused)
		}
	}
	if s.t.Failed() {
		s.t.Fatal(s.Log())
	}
}
