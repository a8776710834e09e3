package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gracerun/grace/test/bench/experiment"
	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/bench/report"
)

// finds is an experiment that ends at once, with these faults and this error.
func finds(name string, err error, faults ...string) experiment.Experiment {
	return experiment.Experiment{Name: name, Run: func(context.Context, *experiment.Env) (*report.Section, error) {
		return &report.Section{
			ID: name, Title: "About " + name, Faults: faults,
			Goals:    []report.Goal{{What: "goal of " + name, Want: "1", Got: "2"}},
			Headline: []report.Headline{{Column: name, Peer: "gracerun", Value: "42"}},
		}, err
	}}
}

// waits is an experiment that ends with its context.
func waits() experiment.Experiment {
	return experiment.Experiment{Name: "waits", Run: func(ctx context.Context, _ *experiment.Env) (*report.Section, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
}

// A result is what a run of the command shows.
type result struct {
	status         int
	stdout, stderr string
}

func call(ctx context.Context, experiments []experiment.Experiment, args ...string) result {
	var stdout, stderr bytes.Buffer
	b := bench{stdout: &stdout, stderr: &stderr, experiments: experiments}
	status := b.main(ctx, args)
	return result{status, stdout.String(), stderr.String()}
}

func (r result) check(t *testing.T, status int, stdout, stderr string) {
	t.Helper()
	if r.status != status || !strings.Contains(r.stdout, stdout) || !strings.Contains(r.stderr, stderr) {
		t.Errorf("exit status is %d, want %d;\nstdout, want %q:\n%s\nstderr, want %q:\n%s", r.status, status, stdout, r.stdout, stderr, r.stderr)
	}
}

var errBroken = errors.New("broken on purpose")

func TestExitStatus(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name           string
		experiments    []experiment.Experiment
		status         int
		stdout, stderr string
	}{
		{"ok, a goal not met", []experiment.Experiment{finds("a", nil)}, exitOK, "goal of a", ""},
		{"fault", []experiment.Experiment{finds("a", nil, "lost one"), finds("b", nil)}, exitFault, "a: lost one", ""},
		{"error", []experiment.Experiment{finds("a", errBroken), finds("b", nil)}, exitError, "goal of b", "a: broken on purpose"},
		{"fault and error", []experiment.Experiment{finds("a", errBroken, "lost one")}, exitFault, "a: lost one", "a: broken on purpose"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			call(t.Context(), test.experiments, "-quick").check(t, test.status, test.stdout, test.stderr)
		})
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	b := []experiment.Experiment{finds("loss", nil), finds("speed", nil)}
	for _, test := range []struct {
		args           string
		status         int
		stdout, stderr string
	}{
		{"-help", exitOK, "", "-upgrades"},
		{"-list", exitOK, "loss\n  speed\n", ""},
		{"-nonsense", exitUsage, "", "nonsense"},
		{"loss", exitUsage, "", `unexpected argument "loss"`},
		{"-upgrades 0", exitUsage, "", "-upgrades 0"},
		{"-run loss,sped", exitUsage, "", `-run: there is no "sped", but loss, speed`},
		{"-peers gracerum", exitUsage, "", `-peers: there is no "gracerum"`},
		{"-run speed", exitOK, "About speed", "speed took"},
	} {
		t.Run(test.args, func(t *testing.T) {
			t.Parallel()
			call(t.Context(), b, strings.Fields(test.args)...).check(t, test.status, test.stdout, test.stderr)
		})
	}
	if r := call(t.Context(), b, "-run", "speed"); strings.Contains(r.stdout, "loss") {
		t.Errorf("-run speed runs loss:\n%s", r.stdout)
	}
}

func TestPickPeers(t *testing.T) {
	t.Parallel()
	b := bench{kinds: []*peer.Kind{{Name: "gracerun"}, {Name: "tableflip"}, {Name: "nginx HUP"}}}
	o, err := b.parse([]string{"-peers", "nginx HUP, gracerun", "-quick", "-out", "x"})
	if err != nil {
		t.Fatal(err)
	}
	if len(o.kinds) != 2 || o.kinds[0].Name != "gracerun" || o.kinds[1].Name != "nginx HUP" {
		t.Errorf("picked %v", o.kinds)
	}
	if want := `go run ./test/bench -peers "nginx HUP, gracerun" -quick`; o.command != want {
		t.Errorf("is repeated by %s, want %s", o.command, want)
	}
}

func TestInterrupt(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancelCause(t.Context())
	interrupts := experiment.Experiment{Name: "second", Run: func(ctx context.Context, env *experiment.Env) (*report.Section, error) {
		interrupt(errors.New("interrupted"))
		return waits().Run(ctx, env)
	}}
	r := call(ctx, []experiment.Experiment{finds("first", nil), interrupts, finds("third", nil)}, "-quick")
	r.check(t, exitError, "About first", "second: did not end: interrupted")
	r.check(t, exitError, "goal of first", "third: did not begin: interrupted")
}

func TestQuickEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		started := time.Now()
		r := call(t.Context(), []experiment.Experiment{waits(), finds("late", nil)}, "-quick")
		r.check(t, exitError, "", "waits: did not end: -quick ends after 1m40s")
		if took := time.Since(started); took != quickLimit {
			t.Errorf("took %v, want %v", took, quickLimit)
		}
	})
}

// repository makes a repository with a README and returns it. The working
// directory is below it.
func repository(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	work := filepath.Join(root, "test", "bench")
	if err := os.MkdirAll(work, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"go.mod":            "module github.com/gracerun/grace\n",
		"test/bench/go.mod": "module github.com/gracerun/grace/test/bench\n",
		"README.md":         "<!-- headline: go run ./test/bench -->\nold\n<!-- end of headline -->\n",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(work)
	t.Setenv("TMPDIR", t.TempDir())
	return root
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestFullRunIsWritten(t *testing.T) {
	root := repository(t)
	call(t.Context(), []experiment.Experiment{finds("a", nil)}).check(t, exitOK, "written to "+filepath.Join(root, "docs"), "")
	if got := read(t, filepath.Join(root, "docs", "compare.md")); !strings.Contains(got, "## About a") {
		t.Errorf("compare.md is\n%s", got)
	}
	if got := read(t, filepath.Join(root, "README.md")); !strings.Contains(got, "| gracerun | 42 |") {
		t.Errorf("README.md is\n%s", got)
	}
}

func TestPartialRunIsNotWritten(t *testing.T) {
	root := repository(t)
	experiments := []experiment.Experiment{finds("a", nil), finds("b", nil)}
	for _, args := range [][]string{{"-quick"}, {"-run", "a"}, {"-upgrades", "10"}} {
		if r := call(t.Context(), experiments, args...); strings.Contains(r.stdout, "written") {
			t.Errorf("%v: %s", args, r.stdout)
		}
	}
	out := t.TempDir()
	call(t.Context(), experiments, "-quick", "-out", out).check(t, exitOK, "written to "+out, "")
	read(t, filepath.Join(out, "compare.md"))
	unchanged(t, root)
}

func TestIncompleteRunIsWrittenElsewhere(t *testing.T) {
	root := repository(t)
	r := call(t.Context(), []experiment.Experiment{finds("a", nil), finds("b", errBroken)})
	r.check(t, exitError, "incomplete: written to "+os.TempDir(), "b: broken on purpose")
	unchanged(t, root)
}

func unchanged(t *testing.T, root string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(root, "docs")); err == nil {
		t.Error("docs has been written")
	}
	if got := read(t, filepath.Join(root, "README.md")); !strings.Contains(got, "old") {
		t.Errorf("README.md has become\n%s", got)
	}
}

func TestOutsideTheRepository(t *testing.T) {
	t.Chdir(t.TempDir())
	call(t.Context(), nil).check(t, exitUsage, "", "-out")
}

func TestProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			terminal bool
			want     string
		}{
			{false, " 0:00  round 1 of 2\n 1:01  round 2 of 2\n 1:01  stays\n"},
			{true, eraseLine + " 0:00  round 1 of 2" + eraseLine + " 0:00  too soon" + eraseLine + " 1:01  round 2 of 2" + eraseLine + " 1:01  stays\n"},
		} {
			var b bytes.Buffer
			p := newProgress(&b, test.terminal)
			p.printf("round %d of %d", 1, 2)
			p.printf("too soon")
			time.Sleep(61 * time.Second)
			p.printf("round %d of %d", 2, 2)
			p.keep("stays")
			if b.String() != test.want {
				t.Errorf("terminal %v: got %q, want %q", test.terminal, b.String(), test.want)
			}
		}
	})
}
