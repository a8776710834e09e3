package command

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// groupPeriod is how often a group that has lost its leader is counted.
	groupPeriod = 20 * time.Millisecond
	// killPatience is how long the end of the service waits for a group that was
	// killed and is not gone.
	killPatience = 5 * time.Second
)

// stop tells the group to end. When it has, next is what follows; nil, or the end of
// Run, ends it all.
func (c *child) stop(next step) step { return c.stopFor(Waiting, next) }

func (c *child) stopFor(state string, next step) step {
	return func() step {
		sig := unix.Signal(cmp.Or(int(c.spec.StopSignal), int(unix.SIGTERM)))
		c.enter(Stopping, func(r *record) { r.Then = state })
		c.log.Info("command told to end", "pid", c.proc.pid, "signal", sig.String())
		if c.proc.signal(sig) == nil && sig != unix.SIGKILL {
			c.proc.signal(unix.SIGCONT) // what is stopped hears nothing else
		}
		if c.over {
			c.tell()
		}
		if gone := c.awaitGroup(); !gone {
			return nil
		}
		c.clear(state)
		if c.over {
			return nil
		}
		return next
	}
}

// awaitGroup waits for the end of the group, and kills it on schedule. It reports
// false when it is left to a successor, or to the next start: what is killed can wait
// for a device, for ever.
func (c *child) awaitGroup() (gone bool) {
	timeout, stop := afterOrNever(c.spec.StopTimeout, time.Now())
	defer stop()
	quit, ended, deadline := c.quit, c.proc.done, c.s.do.Done()
	if c.over {
		quit = nil
	}
	var poll, patience <-chan time.Time
	for c.proc.running() || !c.proc.vacant() {
		if !c.proc.running() {
			ended, poll = nil, time.After(groupPeriod)
		}
		select {
		case <-ended:
		case <-poll:
		case <-quit:
			if quit, c.over = nil, true; c.s.leaving {
				return false
			}
			c.tell()
		case <-timeout:
			timeout, patience = nil, time.After(killPatience)
			c.log.Warn("command killed: it did not end in time", "pid", c.proc.pid, "timeout", c.spec.StopTimeout)
			c.proc.signal(unix.SIGKILL)
		case <-deadline:
			deadline, patience = nil, time.After(killPatience)
			c.log.Warn("command killed: the time of the service is over", "pid", c.proc.pid)
			c.proc.signal(unix.SIGKILL)
			c.s.killed(c.spec.Name)
		case <-patience:
			c.log.Error("command killed, but not gone", "pid", c.proc.pid)
			if patience = time.After(killPatience); c.over {
				return false
			}
		}
	}
	return true
}

// ended is for a program that has ended by itself. What is left of its group must be
// gone before it is started again.
func (c *child) ended() step {
	e, ran := c.proc.exit, time.Since(c.record.StartedAt)
	state, next := c.judge(e, ran)
	if !c.proc.vacant() {
		c.log.Warn("command left processes behind", "pid", c.proc.pid, "exit", e.String())
		return c.stopFor(state, next)
	}
	c.clear(state)
	return next
}

// judge decides what follows from an exit. One that nobody knows is no failure.
func (c *child) judge(e exit, ran time.Duration) (state string, next step) {
	good := e.known && e.status.Exited() && (e.status.ExitStatus() == 0 || slices.Contains(c.spec.ExitCodes, e.status.ExitStatus()))
	switch {
	case c.spec.Restart == Never, c.spec.Restart == OnFailure && good:
		return Done, c.rest
	case e.known && !good:
		return Waiting, c.failed(ran)
	}
	return Waiting, c.again(ran)
}

// clear is for a group that is gone: it reads what is left of the output, and writes
// down how the program ended, and what follows: at once, or one that is done could be
// started again after a crash.
func (c *child) clear(state string) {
	c.unwatch()
	p, e := c.proc, exit{}
	if !p.running() { // else it was killed, and is not gone
		e = p.exit
	}
	held := false
	for i := range c.streams {
		held = c.streams[i].finish() || held
	}
	if held && isOutput(c.record.Streams) {
		c.log.Warn("command left a process outside its group, which nobody watches", "pid", p.pid, "hint", "have it stay in the foreground")
	}
	if c.notify != nil {
		c.notify.close()
		c.notify = nil
	}
	c.log.Info("command ended", "pid", p.pid, "exit", e.String())
	c.enter(state, func(r *record) {
		r.PID, r.Begin, r.Parts, r.LastExit, r.Error, r.Then = 0, 0, [2][]byte{}, e.String(), "", ""
	})
	p.release()
	c.proc = nil
}

// failed counts a failure. A program that was not even started is given up at once if
// it is never to be started again.
func (c *child) failed(ran time.Duration) step {
	return func() step {
		var giveUp bool
		c.update(func(r *record) { giveUp = r.fail(c.spec, time.Now()) })
		if !giveUp && c.spec.Restart != Never {
			return c.again(ran)
		}
		text := cmp.Or(c.record.Error, c.record.LastExit)
		if giveUp {
			text = fmt.Sprintf("given up after %d failures: %s", len(c.record.Failures), text)
		}
		c.log.Error("command given up", "error", text, "output", strings.Join(c.sink.last(), "\n"))
		c.enter(Failed, func(r *record) { r.Error = text })
		return c.rest
	}
}

// again waits for the next start.
func (c *child) again(ran time.Duration) step {
	return func() step {
		var due time.Time
		c.enter(Waiting, func(r *record) {
			due = time.Now().Add(r.next(c.spec, ran))
			r.Due = due
			r.Restarts++
		})
		c.log.Info("command is started again", "at", due, "restarts", c.record.Restarts)
		return c.retry(due)
	}
}
