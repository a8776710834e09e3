package systemd_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gracerun/grace/test/harness"
)

// A bench is a systemd that runs as process 1 of its own namespaces.
type bench struct {
	*harness.Systemd
	dir string // /run/bench inside
}

// newBench boots it. The environment may name the files of another system, with a newer
// systemd: GRACERUN_SYSTEMD_ROOT.
func newBench(t *testing.T, units map[string]string) *bench {
	t.Helper()
	s, err := harness.StartSystemd(t.Context(), harness.SystemdConfig{
		Root: os.Getenv("GRACERUN_SYSTEMD_ROOT"), Units: units, Programs: map[string]string{"program": "/proc/self/exe"},
	})
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skipf("skipped: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &bench{s, s.Dir}
}

func (b *bench) must(t *testing.T, args ...string) string {
	t.Helper()
	text, err := b.Systemctl(t.Context(), args...)
	if err != nil {
		status, _ := b.Systemctl(t.Context(), "status", args[len(args)-1])
		log, _ := os.ReadFile(filepath.Join(b.dir, "log"))
		t.Fatalf("systemctl %s: %v: %s\n%s\n%s", strings.Join(args, " "), err, text, status, log)
	}
	return text
}

// show returns properties of a unit.
func (b *bench) show(t *testing.T, unit string, names ...string) string {
	t.Helper()
	text, err := b.Show(t.Context(), unit, names...)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (b *bench) want(t *testing.T, unit, names, want string) {
	t.Helper()
	if got := b.show(t, unit, strings.Fields(names)...); got != want {
		t.Errorf("%s: %s = %q, want %q", unit, names, got, want)
	}
}

// await is for what systemd does by itself.
func (b *bench) await(t *testing.T, unit, names, want string) {
	t.Helper()
	got := ""
	for limit := time.Now().Add(10 * time.Second); time.Now().Before(limit); time.Sleep(20 * time.Millisecond) {
		if got = b.show(t, unit, strings.Fields(names)...); got == want {
			return
		}
	}
	t.Fatalf("%s: %s = %q after 10 s, want %q", unit, names, got, want)
}

// ask has a process of the bench do something, and returns what it answers.
func (b *bench) ask(t *testing.T, process, order string) string {
	t.Helper()
	answer, err := ask(filepath.Join(b.dir, process), order)
	if err != nil {
		t.Fatalf("%s: %s: %v", process, order, err)
	}
	if text, failed := strings.CutPrefix(answer, "error: "); failed {
		t.Fatalf("%s: %s: %s", process, order, text)
	}
	return answer
}

// pidOf is a process of the bench, as it is called inside.
func (b *bench) pidOf(t *testing.T, process string) string {
	t.Helper()
	return fmt.Sprint(b.ask(t, process, "pid"))
}
