//go:build linux

package test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/test/load"
)

// A service that is stopped in the middle of an upgrade ends its programs, whichever
// of its processes had them in hand, and has their last words.
func TestCommandsOverStops(t *testing.T) {
	t.Parallel()
	const children = 4
	for range upgrades(t)/2 + 1 {
		s := startSupervisor(t, fmt.Sprintf("count:%d", children))
		names := s.running("count", children)
		s.must(s.Signal(s.owner(), syscall.SIGHUP))
		load.Pause(t.Context(), rand.N(40*time.Millisecond))
		s.term()
		s.until(func() error {
			if s.isReady() == nil { // it was about to be another program, and not looked like a generation
				s.term()
			}
			return s.isGone()
		})
		s.noErrors("the child ended with signal: terminated") // it was told, too, before it could hear
		h := s.tracks()
		h.nothingCut(t)
		for _, name := range names {
			begun, ended := h.count("begin")[name], h.count("end")[name]
			if begun != ended {
				t.Errorf("%s began %d times and ended %d times:\n%s", name, begun, ended, s.story(name))
			}
			if begun == 1 { // else the new process began it once more, and only then heard of the stop
				s.allLines(name, "stdout")
				s.allLines(name, "stderr")
			}
		}
	}
}

// term tells all generations to end; one may be done already.
func (s *subject) term() {
	s.t.Helper()
	for _, p := range s.generations() {
		s.Signal(p.PID, syscall.SIGTERM)
	}
}

func (s *subject) isGone() error {
	all, err := s.Processes()
	if err == nil && len(all) > 0 {
		err = fmt.Errorf("still there: %v", all)
	}
	return err
}

// A program that does not care for SIGTERM is killed on schedule.
func TestStubbornCommand(t *testing.T) {
	t.Parallel()
	const limit = 300 * time.Millisecond
	s := startSupervisor(t, "stubborn:2")
	s.upgrade() // it is adopted, too
	s.running("stubborn", 2)
	began := time.Now()
	s.control().steers("pause", "stubborn0")
	s.until(func() error { return s.commandsAre("paused", []string{"stubborn0"}) })
	if d := time.Since(began); d < limit {
		t.Errorf("it was stopped after %v", d)
	}
	if got := s.control().commands()["stubborn0"]; got.LastExit != "signal: killed" {
		t.Errorf("it is %+v", got)
	}
	began = time.Now()
	s.stop()
	if d := time.Since(began); d < limit || d > limit+5*time.Second {
		t.Errorf("the service stopped after %v", d)
	}
}

// A program that cannot work is started again more and more slowly, then given up;
// which is said once. Resumed it has another chance.
func TestCrashLoop(t *testing.T) {
	t.Parallel()
	const failures = 5
	s := startSupervisor(t, "crash:1")
	for chance := 1; chance <= 2; chance++ {
		s.until(func() error { return s.counts("crash0", "begin", chance*failures) })
		s.until(func() error { return s.commandsAre("failed", []string{"crash0"}) })
		got := s.control().commands()["crash0"]
		if got.LastExit != "exit status 1" || got.Error == "" || got.PID != 0 || !slices.Contains(got.Output, "this cannot work") {
			t.Errorf("it is %+v", got)
		}
		if n := strings.Count(s.Log(), "level=ERROR"); n != chance {
			t.Errorf("%d errors are in the log, want %d:\n%s", n, chance, s.Log())
		}
		if chance == 1 {
			s.slowsDown("crash0")
			s.control().steers("resume", "crash0")
		}
	}
	s.stop()
	if n := s.tracks().count("begin")["crash0"]; n != 2*failures {
		t.Errorf("it was started %d times, want %d", n, 2*failures)
	}
}

// slowsDown proves that the pauses were those of the back-off: each is between half
// and all of twice as much as the last one. (What a busy machine adds has no limit.)
func (s *subject) slowsDown(name string) {
	s.t.Helper()
	var ended time.Duration
	var pauses []time.Duration
	full := 40 * time.Millisecond
	for _, r := range s.tracks() {
		switch {
		case r.Task != name:
		case r.What == "end":
			ended = r.At
		case r.What == "begin" && ended != 0:
			pauses = append(pauses, r.At-ended)
			if d := r.At - ended; d < full/2 {
				s.t.Errorf("a pause of %v, want %v at least", d, full/2)
			}
			full *= 2
		}
	}
	s.t.Logf("paused for %v", pauses)
}

// What is left of a program's group when it has ended, and replaces itself as fast
// as it can, is gone before the program is started again, and when the service
// stops.
func TestForkBombCommand(t *testing.T) {
	t.Parallel()
	s := startSupervisor(t, "bomb:1")
	s.until(func() error { return s.counts("bomb0", "begin", 2) })
	s.upgrade()
	s.until(func() error { return s.counts("bomb0", "begin", 4) })
	s.stop() // until no process is left
	s.tracks().nothingCut(t)
}
