//go:build linux

package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func startSupervisor(t *testing.T, commands string) *subject {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "commands"), []byte(commands), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startSubjectIn(t, dir, "command/supervisor", "-init", "-child", build(t, "test/testdata/command/child"))
	s.serves()
	return s
}

// change has the next generation supervise other commands.
func (s *subject) change(commands string) {
	s.t.Helper()
	s.must(os.WriteFile(filepath.Join(s.dir, "commands"), []byte(commands), 0o600))
	s.upgrade()
}

// names are those of n commands of a kind.
func (s *subject) names(kind string, n int) []string {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprint(kind, i))
	}
	return names
}

// running waits until n commands of a kind are, and have begun to be what they are.
func (s *subject) running(kind string, n int) []string {
	s.t.Helper()
	names := s.names(kind, n)
	s.until(func() error { return s.commandsAre("running", names) })
	for _, name := range names {
		s.until(func() error { return s.counts(name, "begin", 1) })
	}
	return names
}

func (s *subject) commandsAre(state string, names []string) error {
	all := s.control().commands()
	for _, name := range names {
		if got := all[name]; got.State != state {
			return fmt.Errorf("%s is %+v, want it %s", name, got, state)
		}
	}
	return nil
}

func (s *subject) endedWith(exit string, names []string) error {
	all := s.control().commands()
	for _, name := range names {
		if got := all[name]; got.State != "done" || got.LastExit != exit || got.PID != 0 {
			return fmt.Errorf("%s is %+v, want it done with %s", name, got, exit)
		}
	}
	return nil
}

// startedByOwner is an error as long as a command is that of an older generation.
func (s *subject) startedByOwner(name string) error {
	owner, command := s.owner(), s.control().commands()[name]
	all, err := s.Processes()
	if err != nil {
		return err
	}
	parents := map[int]int{}
	for _, p := range all {
		parents[p.PID] = p.Parent
	}
	parent := parents[command.PID] // before Linux 6.15 a process between the two
	if parent != owner && parents[parent] != owner || command.State != "running" {
		return fmt.Errorf("%d did not start %+v", owner, command)
	}
	return nil
}

func (s *subject) samePIDs(before map[string]commandStatus, names []string) {
	s.t.Helper()
	now := s.control().commands()
	for _, name := range names {
		if b, n := before[name], now[name]; b.PID == 0 || n.PID != b.PID || n.Restarts != 0 || n.LastExit != "" {
			s.t.Fatalf("%+v, it was %+v\n%s", n, b, s.Log())
		}
	}
}

// runOnce proves that these commands began once and ended once, by themselves.
func (s *subject) runOnce(names []string) {
	s.t.Helper()
	h := s.tracks()
	h.nothingCut(s.t)
	for _, name := range names {
		if begun, ended := h.count("begin")[name], h.count("end")[name]; begun != 1 || ended != 1 {
			s.t.Errorf("%s began %d times and ended %d times:\n%s", name, begun, ended, s.story(name))
		}
	}
}

// story is what the log and the trace say of a command, but for its output.
func (s *subject) story(name string) string {
	var b strings.Builder
	for line := range strings.Lines(s.Log()) {
		if strings.Contains(line, "command="+name+" ") && !strings.Contains(line, "msg=output") {
			b.WriteString(line)
		}
	}
	for _, r := range s.tracks() {
		if r.Task == name {
			fmt.Fprintf(&b, "%+v\n", r)
		}
	}
	return b.String()
}
