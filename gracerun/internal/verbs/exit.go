package verbs

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"

	"github.com/gracerun/grace/gracerun/internal/daemon"
)

// The exit statuses of actions, those of LSB init scripts.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitUnsupported = 3
	exitPermission  = 4
	exitNoProgram   = 5
	exitConfig      = 6
	exitNotRunning  = 7
)

// An exit is an error with an exit status of its own.
type exit struct {
	code int
	err  error // nil = it was said already
}

func (e *exit) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exit) Unwrap() error { return e.err }

// failed is for errors that mean nothing to the verbs, whatever they wrap.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return &exit{exitFailed, err}
}

// usage is the fault of who typed the command.
func (c *call) usage(format string, args ...any) error {
	hint := "see: " + c.Name + " help"
	if _, ok := find(c.verb); ok && c.verb != "help" {
		hint += " " + c.verb
	}
	return &exit{exitUsage, fmt.Errorf(format+"; "+hint, args...)}
}

func exitCode(err error) int {
	own := new(exit)
	switch {
	case err == nil:
		return 0
	case errors.As(err, &own):
		return own.code
	case errors.Is(err, errors.ErrUnsupported):
		return exitUnsupported
	case errors.Is(err, fs.ErrPermission):
		return exitPermission
	case noProgram(err):
		return exitNoProgram
	case errors.Is(err, daemon.ErrConfig):
		return exitConfig
	}
	return exitFailed
}

// noProgram reports whether a program to be started is not there: the errors of
// [os.StartProcess] and of [exec.LookPath].
func noProgram(err error) bool {
	start, look := new(fs.PathError), new(exec.Error)
	switch {
	case errors.As(err, &look):
		return errors.Is(look, exec.ErrNotFound) || errors.Is(look, fs.ErrNotExist)
	case errors.As(err, &start):
		return start.Op == "fork/exec" && errors.Is(start, fs.ErrNotExist)
	}
	return false
}
