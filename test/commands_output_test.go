//go:build linux

package test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gracerun/grace/test/load"
)

// A program that writes as fast as it can, and for which a pipe is too small, loses
// nothing, either.
func TestFloodOfACommand(t *testing.T) {
	t.Parallel()
	s := startSupervisor(t, "flood:1")
	done := func() error { return s.endedWith("exit status 0", []string{"flood0"}) }
	n := 0
	for ; done() != nil && n < 500; n++ {
		s.upgrade()
		load.Pause(t.Context(), rand.N(50*time.Millisecond))
	}
	s.must(done())
	s.stop()
	s.noErrors()
	s.allLines("flood0", "stdout")
	t.Logf("%d upgrades", n)
	if n < 2 { // the second is while it writes
		t.Error("these are too few to prove anything")
	}
}

// outputRecord is what the log has of a line of a command.
var outputRecord = regexp.MustCompile(`(?m)^time=\S+ level=INFO msg=output service=\S+ generation=\d+ command=(\S+) stream=(\S+) line=(.*)$`)

// output returns the lines of a command: those of its file, or of the log.
func (s *subject) output(name, stream string) (lines []string) {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, name+"."+stream))
	if err == nil {
		for line := range strings.Lines(string(text)) {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
		return lines
	}
	whose := fmt.Sprintf(" command=%s stream=%s ", name, stream)
	for text := range strings.Lines(s.Log()) {
		if !strings.Contains(text, whose) { // which is sooner found
			continue
		}
		m := outputRecord.FindStringSubmatch(text)
		if m == nil || m[1] != name || m[2] != stream {
			continue
		}
		line := m[3]
		if strings.HasPrefix(line, `"`) {
			line, err = strconv.Unquote(line)
			s.must(err)
		}
		lines = append(lines, line)
	}
	return lines
}

// allLines proves that a stream of a command has each of its lines, whole and in
// order.
func (s *subject) allLines(name, stream string) {
	s.t.Helper()
	lines := s.output(name, stream)
	last := 0
	for _, r := range s.tracks() {
		if r.What == "last" && r.Task == name {
			last = int(r.Item)
		}
	}
	if last == 0 || len(lines) != last {
		s.t.Errorf("%s has written %d lines to %s, there are %d", name, last, stream, len(lines))
	}
	for i, line := range lines {
		if want := fmt.Sprintf("%s %d ", name, i+1); !strings.HasPrefix(line, want) || strings.Trim(line[len(want):], "x") != "" {
			s.t.Errorf("line %d of %s is %q", i+1, stream, line)
			return
		}
	}
}
