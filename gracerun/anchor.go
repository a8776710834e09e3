package gracerun

import (
	"context"
	"fmt"
	"os"

	"github.com/gracerun/grace/gracerun/internal/daemon"
	"github.com/gracerun/grace/gracerun/internal/handoff"
)

// keepPIDFirst is for a process that must not end before its service does: the one
// that has to keep its pid, or process 1, with whose end the kernel ends all others.
func (a *App) keepPIDFirst(ctx context.Context) error {
	first := os.Getpid() == 1
	if !a.StablePID && !first {
		return nil
	}
	err := keepPID(ctx)
	if err != nil && !a.StablePID {
		a.logger().Warn("no upgrades: process 1 has to stay, and cannot run the service in a child", "error", err)
		return nil
	}
	return err
}

// runVerb is Run for a process that is nothing but the service: also where somebody is
// known to follow its pid, another keeps that.
func (a *App) runVerb(ctx context.Context) error {
	if !a.StablePID && daemon.Watched() {
		if err := keepPID(ctx); err != nil {
			a.logger().Warn("an upgrade will look like the end of the service: who started it follows this pid", "error", err)
		}
	}
	return a.Run(ctx)
}

// keepPID has this process do nothing but keep its pid, and a child of it run the
// service. It returns nil where that is so already, or nobody needs it.
func keepPID(ctx context.Context) error {
	if isStarted() || ctx.Err() != nil {
		return nil
	}
	if err := handoff.AbsoluteName(); err != nil {
		return fmt.Errorf("gracerun: %w", err)
	}
	if err := handoff.BecomeAnchor(); err != nil {
		return fmt.Errorf("gracerun: a process that keeps the pid: %w", err)
	}
	return nil
}

// startedPID is that of the process that a supervisor has started.
func startedPID() int {
	if pid, ok := handoff.Anchored(); ok {
		return pid
	}
	return os.Getpid()
}

// isStarted reports whether a process of this service has started this one, to run it.
func isStarted() bool {
	_, anchored := handoff.Anchored()
	return anchored || handoff.Inherited()
}
