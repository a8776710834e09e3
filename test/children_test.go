//go:build linux

package test

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/test/harness"
)

// A command that a service starts, at whatever time, inherits no descriptor and
// no variable of the hand-over. (One of tableflip's variables would make a
// program that uses tableflip, too, wait for ever; a descriptor would keep a
// socket or a lock of the service alive after it.)
func TestCommandsInheritNothing(t *testing.T) {
	t.Parallel()
	const rounds = 15
	// What a shell left open in this process would reach the commands, too.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		t.Fatal(os.NewSyscallError("close_range", err))
	}
	dir := t.TempDir()
	probes := filepath.Join(dir, "probes")
	s := start(t, harness.Config{
		Binary: build(t, "test/testdata/loss/children"), Env: []string{"DIR=" + dir, "PROBES=" + probes},
		Network: "unix", Address: filepath.Join(dir, "http.sock"), PIDFile: filepath.Join(dir, "children.pid"),
	})
	if _, err := s.Generation(t.Context(), 1); err != nil {
		t.Fatalf("%v\n%s", err, s.Log())
	}
	given, err := harness.Environ(s.First)
	if err != nil {
		t.Fatal(err)
	}
	for range rounds {
		if _, err := s.Upgrade(t.Context()); err != nil {
			t.Fatalf("%v\n%s", err, s.Log())
		}
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(probes)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		when, fds, names := f[0], f[1], f[2]
		count[when]++
		if fds != "" {
			t.Errorf("%s: a command inherits %s", when, fds)
		}
		for name := range strings.FieldsSeq(names) {
			if !slices.ContainsFunc(given, func(v string) bool { return strings.HasPrefix(v, name+"=") }) {
				t.Errorf("%s: a command inherits the variable %s: %s", when, name, names)
			}
		}
	}
	t.Log(count)
	for _, when := range []string{"imported package", "package variable", "init", "main", "setup", "check", "task", "drain", "cleanup",
		"while starting", "while ready", "while upgrading", "while draining"} {
		if count[when] < rounds/3 {
			t.Errorf("%s: %d commands only", when, count[when])
		}
	}
}
