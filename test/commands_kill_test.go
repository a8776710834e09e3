//go:build linux

package test

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/test/load"
)

// Whichever processes of the service are killed, at whatever moment of an upgrade,
// the programs live on; the next start finds them, and starts no second one of any.
func TestCommandsOverKills(t *testing.T) {
	t.Parallel()
	const children = 6
	s := startSupervisor(t, fmt.Sprintf("count:%d", children))
	names := s.running("count", children)
	before := s.control().commands()
	for range upgrades(t)/2 + 1 {
		s.killInUpgrade()
		s.until(func() error { return s.commandsAre("running", names) })
		s.samePIDs(before, names)
	}
	s.stop()
	t.Logf("%d killed, %d times started anew", len(s.killed), s.restarts)
	s.runOnce(names)
	for _, name := range names {
		s.linesInOrder(name, "stdout")
		s.linesInOrder(name, "stderr")
	}
}

// The same for programs that end all the time: there is one of each, and none is
// forgotten.
func TestFlickeringCommandsOverKills(t *testing.T) {
	t.Parallel()
	const children = 6
	s := startSupervisor(t, fmt.Sprintf("flicker:%d", children))
	names := s.names("flicker", children)
	for range upgrades(t)/2 + 1 {
		s.killInUpgrade()
	}
	for _, name := range names {
		s.goesOn(name)
	}
	s.stop()
	t.Logf("%d killed, %d times started anew", len(s.killed), s.restarts)
	h := s.tracks()
	h.nothingCut(t)
	for _, name := range names {
		if begun, ended := h.count("begin")[name], h.count("end")[name]; begun != ended {
			t.Errorf("%s began %d times and ended %d times:\n%s", name, begun, ended, s.story(name))
		}
	}
}

// killInUpgrade begins an upgrade, kills one process of the service or all at some
// moment of it, and waits until the service is in order again.
func (s *subject) killInUpgrade() {
	s.t.Helper()
	s.must(s.Signal(s.owner(), syscall.SIGHUP))
	load.Pause(s.t.Context(), rand.N(50*time.Millisecond))
	if rand.N(2) == 0 {
		s.killOne()
	} else {
		s.killAll()
	}
	s.settle()
}

// killAll kills all processes of the service: also one that another was about to
// start.
func (s *subject) killAll() {
	s.t.Helper()
	for {
		all := s.generations()
		if len(all) == 0 {
			return
		}
		for _, p := range all {
			s.kill(p.PID)
		}
	}
}

// linesInOrder is for a service that was killed: what it had read, and not yet
// written, is lost, and nothing else.
func (s *subject) linesInOrder(name, stream string) {
	s.t.Helper()
	lines := s.output(name, stream)
	last, lost, odd := 0, 0, 0
	for _, line := range lines {
		var n int
		if _, err := fmt.Sscanf(line, name+" %d", &n); err != nil {
			odd++
			continue
		}
		if n <= last {
			s.t.Errorf("%s, %s: line %d came after line %d", name, stream, n, last)
		}
		lost += n - last - 1
		last = n
	}
	s.t.Logf("%s, %s: %d lines, %d lost, %d that are not whole", name, stream, len(lines), lost, odd)
	if lost+odd > 2*(len(s.killed)+1) {
		s.t.Errorf("%s, %s: too many are lost", name, stream)
	}
}
