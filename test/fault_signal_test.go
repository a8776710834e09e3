//go:build linux

package test

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestHUP sends SIGHUP when it is least expected.
func TestHUP(t *testing.T) {
	t.Parallel()
	var faults []fault
	// A new process that gets one before it owns the service keeps it in mind.
	// Before gracerun is initialized nobody can: the signal ends the process, as
	// it ends any other (signal(7)).
	faults = append(faults, fault{name: "to the child at spawn", serves: 1,
		do:   func(s *scene) { s.signal(s.childAt("spawn").pid, syscall.SIGHUP) },
		says: []string{refused, "stage=start", "signal: hangup"}})
	for _, step := range heldSteps[1:] {
		faults = append(faults, fault{name: "to the child at " + step, serves: 3,
			do: func(s *scene) {
				h := s.childAt(step)
				s.signal(h.pid, syscall.SIGHUP)
				h.tell("go")
			}})
	}
	// The group gets what a terminal sends: one more request each for the old
	// and the new generation. If both are heard before the next one is spawned
	// they are one.
	for _, step := range heldSteps[1:] {
		faults = append(faults, fault{name: "to the process group at " + step,
			do: func(s *scene) {
				h := s.childAt(step)
				s.must(s.SignalGroup(syscall.SIGHUP))
				h.tell("go")
				if n := s.settled(); n != 3 && n != 4 {
					s.t.Errorf("generation %d serves, want 3 or 4", n)
				}
			}})
	}
	runFaults(t, append(faults,
		fault{name: "to the process group at spawn", serves: 2,
			do: func(s *scene) {
				s.childAt("spawn")
				s.must(s.SignalGroup(syscall.SIGHUP))
			},
			says: []string{refused, "stage=start", "signal: hangup"}},
		fault{name: "twice, the second after the spawn", serves: 3,
			do: func(s *scene) {
				h := s.childAt("setup")
				s.hup()
				h.tell("go")
			}},
	))
}

// settled waits until no upgrade is under way or asked for, and returns the
// generation that serves. A request travels from one process to another, and
// shows nowhere on its way: it has arrived when nothing happens for a while.
func (s *scene) settled() (generation int) {
	s.t.Helper()
	since := time.Now()
	s.until(func() bool {
		text := s.LogFrom(s.mark)
		asked, done := strings.Count(text, "upgrade asked for"), strings.Count(text, "upgrade committed")
		if asked != done || len(s.generations()) != 1 {
			since = time.Now()
		}
		return time.Since(since) > 500*time.Millisecond
	}, "upgrades go on")
	generation, _, err := s.Who(s.ctx)
	s.must(err)
	return generation
}

// TestHUPs sends many SIGHUPs at once. How many upgrades they make is the
// kernel's choice, which merges signals; but the program that was installed
// before the last of them runs in the end.
func TestHUPs(t *testing.T) {
	t.Parallel()
	burst := func(n int) func(*scene) {
		return func(s *scene) {
			for range n {
				s.must(s.Install(build(t, "test/testdata/service")))
				s.hup()
			}
			if got := s.settled(); got > n+1 {
				s.t.Errorf("%d signals made %d upgrades", n, got-1)
			}
			if exe := s.program(s.owner()); exe != s.Path {
				s.t.Errorf("%s runs, which is not the program that was installed last", exe)
			}
		}
	}
	runFaults(t, []fault{
		{name: "two", do: burst(2)},
		{name: "ten", do: burst(10)},
	})
}

// TestHUPInSetup sends SIGHUP to the first generation before it serves.
func TestHUPInSetup(t *testing.T) {
	t.Parallel()
	s := newScene(t, times{}, nil)
	s.must(s.Stop(s.ctx))
	s.hold("setup")
	s.must(s.Restart())
	h := s.wait("setup")
	s.signal(h.pid, syscall.SIGHUP)
	h.tell("go")
	s.serves(2)
	s.finish()
}

// TestTERM stops the service during an upgrade. It ends, with the new process,
// and without cutting the request in hand.
func TestTERM(t *testing.T) {
	t.Parallel()
	type entry struct {
		name  string
		begin func(*scene)
	}
	entries := []entry{
		{"in probation", func(s *scene) { s.inProbation() }},
		{"after go", func(s *scene) {
			pid := s.told()
			s.term(s.owner())
			s.logs("generation=1", "draining: the service stops")
			s.cont(pid)
		}},
		{"after go, and the child has stopped", func(s *scene) { s.told() }},
	}
	for _, step := range heldSteps {
		entries = append(entries,
			entry{"at " + step, func(s *scene) { s.childAt(step).tell("go") }},
			entry{"at " + step + ", where it hangs", func(s *scene) { s.childAt(step) }})
	}
	for _, e := range entries {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, times{probation: 300 * time.Millisecond, drain: time.Second}, nil)
			request := s.slowRequest()
			old := s.owner()
			e.begin(s)
			s.term(old)
			s.logs("generation=1", "draining")
			request.finish()
			s.must(s.Gone(s.ctx))
			s.leavesNothing()
			s.must(s.Restart()) // nothing is in the way
			s.serves(1)
			s.finish()
		})
	}
}
