package pidfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// ErrNotRunning is the cause of [Signal]'s error when nobody holds the lock.
var ErrNotRunning = errors.New("not running: nobody holds its lock")

// Signal sends sig to the process that [Read] returns for path. If nobody holds the lock
// the error wraps [ErrNotRunning], and if the process ended at that very moment,
// [os.ErrProcessDone].
//
// On Linux a stranger who got the pid meanwhile cannot be hit: Signal gets hold of the
// process by a pidfd, then makes sure that it is still the one, then signals through the
// pidfd. Without pidfds an instant remains between the last two.
func Signal(path string, sig syscall.Signal) error {
	path, err := absolute(path)
	if err != nil {
		return err
	}
	for {
		pid, err := runningPID(path)
		if err != nil {
			return err
		}
		sent, err := signalHolder(path, pid, sig)
		if sent || err != nil {
			return err
		}
		// A successor has taken over in between: it is the one to signal.
	}
}

// signalHolder sends sig to pid, unless pid no longer runs the service once we have hold of it.
func signalHolder(path string, pid int, sig syscall.Signal) (sent bool, err error) {
	p, err := os.FindProcess(pid) // opens a pidfd
	if err != nil {
		return false, signalError(path, pid, err)
	}
	defer p.Release()
	again, err := runningPID(path)
	if err != nil || again != pid {
		return false, err
	}
	if err := p.Signal(sig); err != nil {
		return false, signalError(path, pid, err)
	}
	return true, nil
}

// runningPID is Read, with an error if nobody runs.
func runningPID(path string) (int, error) {
	pid, err := Read(path)
	if err == nil && pid == 0 {
		err = &fs.PathError{Op: "signal", Path: path, Err: ErrNotRunning}
	}
	return pid, err
}

func signalError(path string, pid int, err error) error {
	return &fs.PathError{Op: "signal", Path: path, Err: fmt.Errorf("pid %d: %w", pid, err)}
}
