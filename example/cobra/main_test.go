//go:build linux

package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/test/harness"
)

// A broken configuration refuses a reload and a start, in its own words, and
// keeps nobody from stopping the service.
func TestBrokenConfiguration(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.configure(`{"address": ""}`)
	const fault = "mysvc.json: no address"
	for _, command := range []string{"check", "reload"} {
		if said := s.mysvc(1, command); !strings.Contains(said, fault) {
			t.Errorf("%s said:\n%s", command, said)
		}
	}
	s.says(1, "hello")
	s.mysvc(0, "status")
	s.mysvc(0, "stop", "--timeout", "5s")
	if left, err := s.Processes(); err != nil || len(left) > 0 {
		t.Errorf("after stop there is %v, %v", left, err)
	}
	if said := s.mysvc(1, "start"); !strings.Contains(said, fault) {
		t.Errorf("start said:\n%s", said)
	}
	s.mysvc(3, "status")
}

// The new process has the arguments of the old one, "start" among them, and
// serves.
func TestReload(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.configure(`{"address": "127.0.0.1:0", "greeting": "good morning"}`)
	s.mysvc(0, "check")
	s.mysvc(0, "reload")
	s.says(2, "good morning")
	s.mysvc(0, "restart", "--timeout=10s")
	s.says(3, "good morning")
	s.mysvc(0, "stop")
	s.mysvc(0, "restart") // starts it
	s.mysvc(0, "status")
	s.mysvc(0, "stop")
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	s := start(t)
	var status struct{ State string }
	if said := s.mysvc(0, "status", "--json"); json.Unmarshal([]byte(said), &status) != nil || status.State != "ready" {
		t.Errorf("status --json said:\n%s", said)
	}
	s.mysvc(2, "stop", "--nonsense")
	for _, args := range [][]string{{"stop", "--help"}, {"help", "stop"}} {
		if said := s.mysvc(0, args...); !strings.Contains(said, "schedule") {
			t.Errorf("%q said:\n%s", args, said)
		}
	}
	if said := s.mysvc(1, "sotp"); !strings.Contains(said, `unknown command "sotp"`) {
		t.Errorf("sotp said:\n%s", said)
	}
	s.says(1, "hello")
	s.mysvc(0, "stop")
}

// builder compiles the program once for all tests.
var builder harness.Builder

func TestMain(m *testing.M) {
	code := m.Run()
	if err := builder.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// A service is mysvc, with a configuration and a run directory of its own.
type service struct {
	*harness.Service
	t   *testing.T
	ctx context.Context
	env []string // by which the harness knows who belongs to the service
}

// start calls mysvc start, and returns when that has ended well.
func start(t *testing.T) *service {
	t.Helper()
	program, err := builder.Build(".")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	s := &service{t: t, ctx: ctx}
	s.Service, err = harness.Start(harness.Config{
		Binary: program,
		Name:   "mysvc",
		Args:   []string{"--config", "mysvc.json", "--rundir", "run", "start"},
		Prepare: func(hs *harness.Service) error {
			s.Service = hs
			s.configure(`{"address": "127.0.0.1:0", "greeting": "hello"}`)
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.Log())
		}
		if err := s.Close(); err != nil && !t.Failed() {
			t.Error(err)
		}
	})
	if s.env, err = harness.Environ(s.First); err != nil {
		t.Fatal(err)
	}
	if err := s.Exited(ctx, s.First); err != nil {
		t.Fatal(err)
	}
	if ws, ok := s.Status(s.First); !ok || ws.ExitStatus() != 0 {
		t.Fatalf("start ended with %v, %v", ws, ok)
	}
	return s
}

func (s *service) configure(text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.Root, "mysvc.json"), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// mysvc runs a command and returns what it printed.
func (s *service) mysvc(exit int, command ...string) string {
	s.t.Helper()
	args := append([]string{"--config", "mysvc.json", "--rundir", "run"}, command...)
	cmd := exec.CommandContext(s.ctx, s.Path, args...)
	cmd.Dir = s.Root
	cmd.Env = slices.Clone(s.env)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	text, _ := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != exit {
		s.t.Errorf("%q: exit status %d, not %d:\n%s", command, got, exit, text)
	}
	return string(text)
}

// says checks which generation serves, and its greeting.
func (s *service) says(generation int, greeting string) {
	s.t.Helper()
	pid, err := s.Generation(s.ctx, generation)
	if err != nil {
		s.t.Fatal(err)
	}
	text, err := s.Get(s.ctx, "/")
	if want := fmt.Sprintf("generation %d pid %d says %s\n", generation, pid, greeting); err != nil || text != want {
		s.t.Errorf("%v, GET / says %q, not %q", err, text, want)
	}
}
