package verbs

import (
	"cmp"
	"context"
	"errors"
	"os"
	"syscall"

	"github.com/gracerun/grace/pidfile"
)

// tidy removes the pid file of a service that did not end well, and its control socket. They
// are nobody's while this process has the lock. A lock file is not made for that: it might
// keep the service's own user out.
func (c *call) tidy(ctx context.Context) {
	if missing(c.PIDFile) || missing(pidfile.LockPath(c.PIDFile)) {
		return
	}
	lock, err := pidfile.Acquire(c.PIDFile)
	if locked := new(pidfile.LockedError); errors.As(err, &locked) {
		return // it was started again
	}
	if err == nil {
		if _, err := c.ask(ctx); errors.Is(err, syscall.ECONNREFUSED) {
			os.Remove(c.Socket)
		}
		err = cmp.Or(os.Remove(c.PIDFile), lock.Close())
	}
	if err != nil {
		c.note("the pid file is left: %v", err)
	}
}
