package gracerun

import (
	"fmt"
	"os"

	"github.com/gracerun/grace/pidfile"
)

// A runningError says of a lock that is held what it means for a service.
type runningError struct {
	held    *pidfile.LockedError
	upgrade bool // this process was started for one, by an App of another name
}

func (e *runningError) Error() string {
	if e.upgrade {
		return fmt.Sprintf("already running (pid %d): %s is locked: this process was started to upgrade an App of another name; has App.Name changed? Then restart the service", e.held.PID, e.held.Path)
	}
	if e.held.PID == os.Getpid() {
		return fmt.Sprintf("already running in this very process: %s is locked: give this App its own Name or RunDir", e.held.Path)
	}
	return fmt.Sprintf("already running (pid %d): %s is locked: SIGHUP upgrades it, SIGTERM stops it; to run another beside it, give that its own App.Name or App.RunDir", e.held.PID, e.held.Path)
}

func (e *runningError) Unwrap() error { return e.held }
