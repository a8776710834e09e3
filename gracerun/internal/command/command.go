// Package command supervises child programs, over generations of the service.
//
// One mechanism serves an upgrade, a crash and the next start: what is known of a
// program is in a record on disk, written before anything can be lost, and its
// output waits in a FIFO that it has open itself, so that nothing it writes fails
// while nobody reads. The next supervisor finds it by its record and a handle
// (pidfd), never by name. In an upgrade the open files are handed over as well:
// then not even the last words of a program that ends at that moment are lost.
//
// Exclusion is the caller's: of all generations at most one calls [Supervisor.Run]
// at a time.
package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/gracerun/grace/gracerun/internal/control"
)

// Policy says when a program that has ended is started again.
type Policy int

// The values are those of gracerun.RestartPolicy.
const (
	Always Policy = iota
	OnFailure
	Never
)

// Spec is what one program is to be. Times are resolved: 0 means none, or no
// limit; see gracerun.Command.
type Spec struct {
	Name                    string
	Cmd                     func(context.Context) *exec.Cmd
	User, Group             string
	ReadyDelay              time.Duration
	ReadyAddress, ReadyLine string
	ReadyNotify             bool
	ReadyTimeout, Stagger   time.Duration
	Restart                 Policy
	ExitCodes               []int
	Backoff, MaxBackoff     time.Duration
	Failures                int // 0 = 10, negative = never
	FailurePeriod           time.Duration
	StopSignal              syscall.Signal // 0 = SIGTERM
	StopTimeout             time.Duration
	RestartOnUpgrade        bool
	Output, ErrorOutput     string
}

// maxName leaves room for what the names of its files have besides.
const maxName = 150

// Check returns what is wrong with the definition itself, or with the system.
func (s Spec) Check() error {
	errs := []error{supported()}
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(url.PathEscape(s.Name)) > maxName {
		bad("the name is too long: %d bytes are allowed", maxName)
	}
	if _, err := regexp.Compile(s.ReadyLine); err != nil {
		bad("ReadyLine: %w", err)
	}
	if s.ReadyAddress != "" {
		if _, port, err := net.SplitHostPort(s.ReadyAddress); err != nil {
			bad("ReadyAddress: %w", err)
		} else if port == "" || port == "0" {
			bad("ReadyAddress %q: the port is missing", s.ReadyAddress)
		}
	}
	if s.Restart < Always || s.Restart > Never {
		bad("Restart: there is no policy %d", s.Restart)
	}
	if s.Failures > maxFailures {
		bad("Failures: %d are too many to count: at most %d, or -1 for never", s.Failures, maxFailures)
	}
	if s.StopSignal < 0 || s.StopSignal > maxSignal {
		bad("StopSignal: there is no signal %d", int(s.StopSignal))
	}
	for _, path := range []string{s.Output, s.ErrorOutput} {
		if path != "" && !filepath.IsAbs(path) {
			bad("the output's path %q is not absolute", path)
		}
	}
	return errors.Join(errs...)
}

// maxSignal is the last real-time signal.
const maxSignal = 64

// Options are what a [Supervisor] needs of the service.
type Options struct {
	Dir  string // the run directory; it exists, and is the service's own
	Name string // of the service
	Log  *slog.Logger

	// Keeper has a process of our own stand between the service and each program,
	// as it must where the kernel does not tell the exit status of a program that
	// somebody else has started (Linux before 6.15). It is for tests.
	Keeper bool
}

// States of a program; see [control.Command].
const (
	Starting = "starting"
	Running  = "running"
	Stopping = "stopping"
	Waiting  = "waiting"
	Paused   = "paused"
	Done     = "done"
	Failed   = "failed"
	Older    = "older"
)

// Status is what is known of a program, as the control socket tells it.
type Status = control.Command

// DeadlineError names the programs that had to be killed when time was over.
type DeadlineError struct{ Names []string }

func (e *DeadlineError) Error() string {
	return "commands killed at the deadline: " + strings.Join(e.Names, ", ")
}
