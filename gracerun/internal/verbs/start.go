package verbs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/gracerun/grace/gracerun/internal/control"
	"github.com/gracerun/grace/pidfile"
)

// start ends when the service works, whoever started it.
func start(c *call, ctx context.Context, _ []string) error {
	why := ""
	if c.Foreground != nil {
		why = c.Foreground()
	}
	switch {
	case why != "" && !c.options.detach:
		c.note("start stays in the foreground: %s", why)
		return run(c, ctx, nil)
	case os.Getpid() == 1 && c.options.detach:
		return errors.New("start --detach as the first process of a system or container, which ends with it: use run")
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	if k := c.probe(ctx); !k.held && k.status != nil && k.works() { // its lock file was deleted, which keeps no second one out
		return c.running(k)
	}
	for {
		pid, err := c.Start(ctx)
		locked := new(pidfile.LockedError)
		switch {
		case err == nil:
			return c.started(ctx, pid)
		case !errors.As(err, &locked):
			return because(ctx, err)
		}
		if c.known, err = c.await(ctx, (*known).works); err != nil {
			return err
		}
		if c.known.running() {
			return c.running(c.known)
		}
	}
}

// running is the good end of a start that was none.
func (c *call) running(k *known) error {
	c.known = k
	for _, w := range c.warnings(k) {
		c.note("%s", w)
	}
	c.say("already running (%s)", k.who())
	return nil
}

// because adds why ctx ended, if it did.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w (%w)", err, cause)
	}
	return err
}

// started tells where the service listens. It is ready, and about to say so itself.
func (c *call) started(ctx context.Context, pid int) error {
	limit := time.Now().Add(answerTimeout)
	for c.known = c.probe(ctx); c.known.begins() && ctx.Err() == nil && time.Now().Before(limit); c.known = c.probe(ctx) {
		wait(ctx, time.Millisecond)
	}
	if c.gone(c.known) != nil && exited(pid) {
		return fmt.Errorf("it was started (pid %d), and has ended since: its log says why", pid)
	}
	where := ""
	if s := c.known.status; s != nil && s.PID == pid && len(s.Sockets) > 0 {
		where = ", listening on " + addresses(s.Sockets)
	}
	c.say("started (pid %d)%s", pid, where)
	return nil
}

func exited(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	defer p.Release()
	return ended(p)
}

func addresses(sockets []control.Socket) string {
	var list []string
	for _, s := range sockets {
		list = append(list, s.Network+" "+s.Bound)
	}
	return strings.Join(list, ", ")
}

// await waits until whoever holds the lock is as wanted, or has let go of it.
func (c *call) await(ctx context.Context, wanted func(*known) bool) (*known, error) {
	ctx, cancel := c.boundedByReady(ctx, 0, "ready")
	defer cancel()
	for {
		k := c.probe(ctx)
		if d, ok := ctx.Deadline(); ok && !time.Now().Before(d) {
			<-ctx.Done() // a read may time out before the context does
		}
		switch {
		case ctx.Err() != nil: // and so the probe is not to be trusted
			return nil, fmt.Errorf("%s has the lock and is not ready: %w; see: %s status", k.who(), context.Cause(ctx), c.Name)
		case wanted(k):
			return k, nil
		case !k.running():
			return k, k.lock
		}
		c.progress.show(time.Now(), fmt.Sprintf("%s is %s: waiting for it", k.who(), k.doing()), "")
		wait(ctx, tick)
	}
}

// doing is a word for what a service does that does not work.
func (k *known) doing() string {
	switch {
	case k.status != nil:
		return k.status.State
	case k.starting:
		return "starting"
	}
	return "not answering"
}
