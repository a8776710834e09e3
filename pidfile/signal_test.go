//go:build unix

package pidfile_test

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/gracerun/grace/pidfile"
)

func TestSignal(t *testing.T) {
	t.Parallel()
	path := temp(t)
	p := start(t, command("hold", path))
	p.expect("held")
	check(t, pidfile.Signal(path, 0))
	check(t, pidfile.Signal(path, syscall.SIGKILL))
	p.end()
	if got := p.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal(); got != syscall.SIGKILL {
		t.Errorf("ended by %v", got)
	}
	err := pidfile.Signal(path, syscall.SIGKILL)
	if !errors.Is(err, pidfile.ErrNotRunning) || !strings.Contains(err.Error(), path) {
		t.Errorf("%v, want ErrNotRunning", err)
	}
}

func TestSignalStarting(t *testing.T) {
	t.Parallel()
	path := temp(t)
	own(t, path)
	var locked *pidfile.LockedError
	if err := pidfile.Signal(path, 0); !errors.As(err, &locked) {
		t.Errorf("%v, want a LockedError", err)
	}
	if err := pidfile.Signal(temp(t), syscall.SIGKILL); !errors.Is(err, pidfile.ErrNotRunning) {
		t.Errorf("%v, want ErrNotRunning", err)
	}
}
