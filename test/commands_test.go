//go:build linux

package test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/test/harness"
	"github.com/gracerun/grace/test/load"
)

// Twenty programs write numbered lines while the service that supervises them is
// replaced fifty times: they are the same processes, none of their lines is lost,
// cut or out of order, and how they end is known. One that is to be restarted in
// each upgrade inherits nothing. The service itself loses nothing, either.
func TestCommandsLiveOn(t *testing.T) {
	t.Parallel()
	const children, rounds = 20, 50
	s := startSupervisor(t, fmt.Sprintf("count:%d,shell:1", children))
	names := s.running("count", children)
	before := s.control().commands()
	given, err := harness.Environ(s.First)
	s.must(err)
	given = slices.DeleteFunc(given, func(v string) bool { return strings.HasPrefix(v, "GRACERUN_") }) // of these tests
	var settled leftovers
	for i := range rounds {
		s.upgrade()
		if i%10 != 2 {
			continue
		}
		s.until(func() error { return s.startedByOwner("shell0") })
		s.inheritsNothing("shell0", given)
		if i == 2 {
			settled = s.leftovers()
		}
	}
	s.until(func() error { // a goroutine may be about to end
		now := s.leftovers()
		if now.processes != settled.processes || now.fds != settled.fds || now.routines > settled.routines {
			return fmt.Errorf("after %d upgrades: %+v, after 3: %+v", rounds, now, settled)
		}
		return nil
	})
	s.samePIDs(before, names)
	told := names[:children/2]
	for _, name := range told {
		s.must(s.Signal(before[name].PID, syscall.SIGUSR1))
	}
	s.until(func() error { return s.endedWith("exit status 7", told) })
	s.stop()
	s.noErrors()
	for _, name := range names {
		s.allLines(name, "stdout")
		s.allLines(name, "stderr")
	}
	s.runOnce(names)
}

// Programs that end at any time, also in the middle of an upgrade, are seen to
// end once each: they are started again once, never beside themselves, and the
// last words of all of them are there.
func TestCommandsEndOnce(t *testing.T) {
	t.Parallel()
	const children = 8
	s := startSupervisor(t, fmt.Sprintf("flicker:%d", children))
	for range upgrades(t) {
		s.upgrade()
		load.Pause(t.Context(), rand.N(60*time.Millisecond))
	}
	names := s.names("flicker", children)
	s.must(os.WriteFile(filepath.Join(s.dir, "calm"), nil, 0o600))
	c := s.control()
	for _, name := range names {
		s.until(func() error { return s.counts(name, "calm", 1) })
		c.steers("pause", name)
	}
	s.until(func() error { return s.commandsAre("paused", names) })
	commands := c.commands()
	s.stop()
	s.noErrors()
	s.tracks().nothingCut(t)
	total := 0
	for _, name := range names {
		runs := s.endsSeen(name, commands[name])
		total += runs
		var want []string
		for range runs {
			want = append(want, "hello", "good-bye")
		}
		if got := s.output(name, "stdout"); !slices.Equal(got, want) {
			t.Errorf("%s ran %d times and said %q", name, runs, got)
		}
	}
	gaps := s.tracks().gaps()
	t.Logf("%d children ran %d times in all; from an end to the next begin: median %v, most %v",
		children, total, gaps[len(gaps)/2], gaps[len(gaps)-1])
}

// endsSeen proves that a command began once after each of its ends, and that what
// is known of it says so. It returns how often it ran.
func (s *subject) endsSeen(name string, known commandStatus) (runs int) {
	s.t.Helper()
	ended, code := 0, int64(0)
	for _, r := range s.tracks() {
		switch {
		case r.Task != name:
		case r.What == "begin":
			if runs++; runs != ended+1 {
				s.t.Errorf("%s began for the %dth time after %d ends", name, runs, ended)
			}
		case r.What == "end":
			ended++
			code = r.Item
		}
	}
	if want := fmt.Sprint("exit status ", code); ended != runs || known.LastExit != want || known.Restarts != runs-1 {
		s.t.Errorf("%s ran %d times, ended %d times, at last with %s; what is known is %+v\n%s", name, runs, ended, want, known, s.story(name))
	}
	return runs
}

// gaps are the times between an end and the next begin, the shortest first.
func (h tracks) gaps() (gaps []time.Duration) {
	ended := map[string]time.Duration{}
	for _, r := range h {
		switch at, ok := ended[r.Task]; {
		case r.What == "end":
			ended[r.Task] = r.At
		case r.What == "begin" && ok:
			gaps = append(gaps, r.At-at)
		}
	}
	slices.Sort(gaps)
	return gaps
}

// What is asked of a program holds, whatever else happens at that time: here the
// service is replaced while one program after the other is paused, resumed, or
// triggered.
func TestSteeredCommandsMeetUpgrades(t *testing.T) {
	t.Parallel()
	const children = 8
	s := startSupervisor(t, fmt.Sprintf("steady:%d", children))
	names := s.running("steady", children)
	begun := 1
	for i := range upgrades(t) {
		verb := []string{"pause", "resume", "trigger"}[i%3]
		state := "running"
		if verb == "pause" {
			state = "paused"
		} else {
			begun++
		}
		c := s.staying()
		c.commands() // it is the old process that is asked
		s.whileReplaced(func() {
			for _, name := range names {
				c.steers(verb, name)
			}
		})
		for _, name := range names {
			s.until(func() error { return s.counts(name, "begin", begun) })
		}
		s.until(func() error { return s.commandsAre(state, names) })
	}
	s.stop()
	for _, name := range names {
		if n := s.tracks().count("begin")[name]; n != begun {
			t.Errorf("%s began %d times, want %d\n%s", name, n, begun, s.story(name))
		}
	}
}

// A new generation starts what is new, ends what is no longer to be, also if that is
// all there was, and leaves alone what is as it was. So does a new start after a
// crash.
func TestCommandsChange(t *testing.T) {
	t.Parallel()
	s := startSupervisor(t, "steady:3")
	names := s.running("steady", 3)
	before := s.control().commands()
	s.change("steady:2,count:1")
	s.running("count", 1)
	s.until(func() error { return s.counts("steady2", "end", 1) })
	s.samePIDs(before, names[:2])
	if _, ok := s.control().commands()["steady2"]; ok {
		t.Error("what is no longer registered is in the status")
	}
	s.change("count:0")
	for _, name := range []string{"steady0", "steady1", "count0"} {
		s.until(func() error { return s.counts(name, "end", 1) })
	}
	s.change("steady:2")
	for _, name := range names[:2] {
		s.until(func() error { return s.counts(name, "begin", 2) })
	}
	s.killAll()
	s.must(os.WriteFile(filepath.Join(s.dir, "commands"), []byte("count:0"), 0o600))
	s.settle()
	for _, name := range names[:2] {
		s.until(func() error { return s.counts(name, "end", 2) })
	}
	s.stop()
	s.noErrors()
	s.tracks().nothingCut(t)
}

// An upgrade that is refused leaves the programs, and what they say, alone.
func TestCommandsOverRefusedUpgrades(t *testing.T) {
	t.Parallel()
	const children = 4
	s := startSupervisor(t, fmt.Sprintf("count:%d", children))
	names := s.running("count", children)
	before := s.control().commands()
	owner := s.owner()
	for i, script := range []string{"this is no program", "#!/bin/sh\nexit 3\n", "#!/bin/sh\nkill -9 $$\n"} {
		s.must(s.InstallText(script, 0o755))
		from := len(s.Log())
		s.must(s.Signal(owner, syscall.SIGHUP))
		_, err := s.Logged(t.Context(), from, "upgrade", "level=ERROR")
		s.must(err)
		s.settle()
		if s.owner() != owner {
			t.Fatalf("script %d took over", i)
		}
		s.samePIDs(before, names)
	}
	s.stop()
	s.runOnce(names)
	for _, name := range names {
		s.allLines(name, "stdout")
		s.allLines(name, "stderr")
	}
}

// leftovers are what a service has when nothing is under way.
type leftovers struct {
	processes int
	fds       string
	routines  string
}

// leftovers waits until the numbers no longer change.
func (s *subject) leftovers() (now leftovers) {
	s.t.Helper()
	last := leftovers{processes: -1}
	s.until(func() error {
		defer func() { last = now }()
		all, err := s.Processes()
		s.must(err)
		for _, p := range all {
			if p.State == 'Z' {
				return fmt.Errorf("%v is not reaped", p)
			}
		}
		if n := len(s.generations()); n > 1 {
			return fmt.Errorf("%d generations", n)
		}
		fds, err := harness.OpenFDs(s.owner())
		s.must(err)
		routines, err := s.Get(s.t.Context(), "/goroutines")
		s.must(err)
		now = leftovers{len(all), fds.String(), strings.TrimSpace(routines)}
		if now != last {
			return fmt.Errorf("%+v, %+v before", now, last)
		}
		load.Pause(s.t.Context(), 20*time.Millisecond)
		return nil
	})
	return now
}

// inheritsNothing looks at a command that opens nothing by itself. given is what the
// service itself was given.
func (s *subject) inheritsNothing(name string, given []string) {
	s.t.Helper()
	pid := s.control().commands()[name].PID
	fds, err := harness.OpenFDs(pid)
	s.must(err)
	for _, fd := range fds {
		if fd.Num > 2 {
			s.t.Errorf("%s inherits %+v", name, fd)
		}
	}
	has, err := harness.Environ(pid)
	s.must(err)
	slices.Sort(given)
	slices.Sort(has)
	if !slices.Equal(given, has) {
		s.t.Errorf("%s has the environment %q, the service was given %q", name, has, given)
	}
}
