package command_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gracerun/grace/gracerun/internal/command"
)

// TestOutputFiles: each line is in its file, as it is; they can be rotated.
func TestOutputFiles(t *testing.T) {
	t.Parallel()
	scenes(t, func(t *testing.T, s *scene) {
		dir := t.TempDir()
		both, errs := filepath.Join(dir, "both"), filepath.Join(dir, "errs")
		one := shell("one", "echo out; echo err >&2; exec sleep 1000")
		one.Output = both
		two := shell("two", `printf 'to\r\ntwo\n\n'; echo err >&2; read x </dev/null; exec sleep 1000`)
		two.Output, two.ErrorOutput = both, errs
		g := s.guard(one, two)
		until(t, "all is written", func() bool { return countLines(both) == 5 && countLines(errs) == 1 })
		if got := sortedLines(t, both); !slices.Equal(got, []string{"", "err", "out", "to", "two"}) {
			t.Errorf("%q", got)
		}
		check(t, os.Rename(both, both+".1"))
		check(t, g.Reopen())
		check(t, g.Trigger("one"))
		until(t, "the new file is used", func() bool { return countLines(both) == 2 })
		if got := sortedLines(t, both+".1"); len(got) != 5 {
			t.Errorf("the old one: %q", got)
		}
		if lines := append(s.log.lines("one", "stdout"), s.log.lines("two", "stderr")...); len(lines) > 0 {
			t.Errorf("in the log, too: %q", lines)
		}
		if tail := g.status("two").Output; len(tail) != 4 {
			t.Errorf("last lines %q", tail)
		}
		check(t, g.stop())
		check(t, g.Reopen()) // when it is over
	})
}

func countLines(path string) int {
	text, _ := os.ReadFile(path)
	return strings.Count(string(text), "\n")
}

func sortedLines(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	check(t, err)
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	slices.Sort(lines)
	return lines
}

// TestNoOutputFile: what cannot be written goes to the log, which says why.
func TestNoOutputFile(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	lost, full := shell("lost", "echo hello; exec sleep 1000"), shell("full", "echo hello; exec sleep 1000")
	lost.Output = filepath.Join(t.TempDir(), "no", "such", "directory", "log")
	full.Output = "/dev/full"
	g := s.guard(lost, full)
	for _, name := range []string{"lost", "full"} {
		until(t, name+" is in the log", func() bool { return len(s.log.lines(name, "stdout")) == 1 })
		if r := s.log.find("output", name)[0]; r["line"] != "hello" || r["error"] == nil {
			t.Errorf("%v", r)
		}
	}
	if err := g.Reopen(); err == nil || !strings.Contains(err.Error(), lost.Output) {
		t.Errorf("Reopen: %v", err)
	}
}

// TestMuchOutput before the end is all read.
func TestMuchOutput(t *testing.T) {
	t.Parallel()
	scenes(t, func(t *testing.T, s *scene) {
		out := filepath.Join(t.TempDir(), "out")
		spec := shell("x", `head -c 3000000 /dev/zero | tr '\0' 'x'; echo; seq 1 100000; printf end`)
		spec.Restart, spec.Output = command.Never, out
		g := s.guard(spec)
		g.await("x", command.Done)
		check(t, g.stop())
		text, err := os.ReadFile(out)
		check(t, err)
		lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
		long := 0
		for len(lines) > 0 && strings.HasPrefix(lines[0], "x") {
			long += strings.Count(lines[0], "x")
			lines = lines[1:]
		}
		if long != 3000000 || len(lines) != 100001 || lines[100000] != "end" {
			t.Fatalf("a line of %d, then %d lines", long, len(lines))
		}
		for i := range 100000 {
			if lines[i] != itoa(i+1) {
				t.Fatalf("line %d is %q", i, lines[i])
			}
		}
	})
}

// TestClosedOutput: a program may close what it has, and yet is watched.
func TestClosedOutput(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	g := s.guard(shell("x", "echo bye; exec >&- 2>&-; exec sleep 1000"))
	pid := g.await("x", command.Running).PID
	until(t, "it wrote", func() bool { return len(s.log.lines("x", "stdout")) == 1 })
	next := s.guardLater(shell("x", "echo bye; exec >&- 2>&-; exec sleep 1000"))
	g.leave()
	g = next()
	if st := g.await("x", command.Running); st.PID != pid {
		t.Errorf("%+v", st)
	}
	check(t, g.stop())
	s.wantOutput("x", "stdout", "bye")
}

// TestHalfALine at the hand-over is one line after it.
func TestHalfALine(t *testing.T) {
	t.Parallel()
	scenes(t, func(t *testing.T, s *scene) {
		script := fmt.Sprintf("exec 3<>%s/go; for i in 1 2 3 4 5; do printf $i; read x <&3; printf $i; read x <&3; echo $i; done; exec sleep 1000", s.dir)
		check(t, mkfifo(filepath.Join(s.dir, "go")))
		spec := shell("x", script)
		g := s.guard(spec)
		g.await("x", command.Running)
		for range 10 {
			next := s.guardLater(spec)
			g.leave()
			check(t, os.WriteFile(filepath.Join(s.dir, "go"), []byte("\n"), 0))
			g = next()
		}
		until(t, "it wrote all", func() bool { return len(s.log.lines("x", "stdout")) == 5 })
		check(t, g.stop())
		s.wantOutput("x", "stdout", "111", "222", "333", "444", "555")
	})
}
