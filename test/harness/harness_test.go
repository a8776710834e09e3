//go:build linux

package harness_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/test/harness"
)

func start(t *testing.T, cfg harness.Config) (context.Context, *harness.Service) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	var b harness.Builder
	t.Cleanup(func() { b.Close() })
	binary, err := b.Build("github.com/gracerun/grace/example/http")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Binary = binary
	cfg.Args = []string{"-addr", "127.0.0.1:0", "-rundir", harness.RunDir, "-probation", "20ms"}
	s, err := harness.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close() // for the second time where the test did
		if t.Failed() {
			t.Log(s.Log())
		}
	})
	return ctx, s
}

func TestUpgradeAndStop(t *testing.T) {
	t.Parallel()
	ctx, s := start(t, harness.Config{Env: []string{"COLOUR=blue"}})
	first, err := s.Generation(ctx, 1)
	if err != nil || first != s.First {
		t.Fatalf("generation 1 has pid %d, %v; started was %d", first, err, s.First)
	}
	if err := s.Install(s.Path); err != nil {
		t.Fatal(err)
	}
	second, err := s.Upgrade(ctx)
	if err != nil || second == first {
		t.Fatalf("upgrade: %d, %v", second, err)
	}
	if err := s.Exited(ctx, first); err != nil {
		t.Fatal(err)
	}
	if ws, ok := s.Status(first); !ok || ws.ExitStatus() != 0 {
		t.Errorf("the first generation ended with %v, %v", ws, ok)
	}
	env, err := harness.Environ(second)
	if err != nil || !strings.Contains(strings.Join(env, "\n"), "COLOUR=blue") {
		t.Errorf("environment %q, %v", env, err)
	}
	if err := s.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(s.Root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", s.Root, err)
	}
}

func TestCloseReportsLeaks(t *testing.T) {
	t.Parallel()
	ctx, s := start(t, harness.Config{LogPipe: true})
	pid, err := s.Generation(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Logged(ctx, 0, "ready", "generation=1"); err != nil {
		t.Error(err)
	}
	var leak *harness.LeakError
	if err := s.Close(); !errors.As(err, &leak) || len(leak.Processes) != 1 || leak.Processes[0].PID != pid {
		t.Errorf("got %v, want pid %d named", err, pid)
	}
	if ws, ok := s.Status(pid); !ok || ws.Signal() != syscall.SIGKILL {
		t.Errorf("it ended with %v, %v", ws, ok)
	}
}

func TestForeignProcessIsNotSignalled(t *testing.T) {
	t.Parallel()
	_, s := start(t, harness.Config{})
	if err := s.Signal(os.Getpid(), syscall.SIGKILL); err == nil {
		t.Error("no error")
	}
}

func TestOpenFDs(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	fds, err := harness.OpenFDs(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	pipes := 0
	for _, fd := range fds {
		if fd.Num == int(r.Fd()) || fd.Num == int(w.Fd()) {
			pipes++
			if fd.Kind != "pipe" {
				t.Errorf("%+v", fd)
			}
		}
	}
	if pipes != 2 {
		t.Errorf("both ends of a pipe are not in\n%s", fds.List())
	}
}
