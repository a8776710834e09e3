package gracerun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gracerun/grace/gracerun/internal/control"
	"github.com/gracerun/grace/gracerun/internal/handoff"
)

// ReadyHandler answers whether the service takes new work, for load balancers and
// for the readiness probe of Kubernetes:
//
//	http.Handle("/readyz", app.ReadyHandler())
//
// It is 200 from the moment that the service is ready, through all upgrades, and
// 503 with the reason as soon as it is told to stop: see [App.StopDelay]. What
// matters is the service, not the process: in a new one on probation, and in an old
// one that finishes what it has in hand after an upgrade, it is 200.
func (a *App) ReadyHandler() http.Handler { return control.Probe("ready", a.readiness) }

// LiveHandler answers whether the process is still of use, for the liveness probe of
// Kubernetes: 200, or 503 with the reason when the App does not answer itself, or
// [App.Health] returns an error. It is 200 in the start and in the drain.
func (a *App) LiveHandler() http.Handler { return control.Probe("alive", a.liveness) }

// readiness is nil while the service takes new work.
func (a *App) readiness(context.Context) error {
	l := a.running()
	if l == nil {
		return errors.New("starting")
	}
	l.mu.Lock()
	state, stage, leaving := l.state, l.stage, l.leaving
	l.mu.Unlock()
	switch next := l.self.Successor(); {
	case leaving != nil:
		return leaving
	case state == StateStarting && !l.replaces():
		return errors.New("starting: " + cmp.Or(stage, handoff.StageInit))
	case state >= StateDraining && (next == nil || !next.Alive()):
		return errors.New("the successor has ended")
	}
	return nil
}

// liveTimeout is for who asks without one of his own.
const liveTimeout = 10 * time.Second

func (a *App) liveness(ctx context.Context) error {
	l := a.running()
	if l == nil {
		return nil
	}
	ctx, cancel := withPatience(ctx, liveTimeout)
	defer cancel()
	return l.healthy(ctx)
}

// healthy is nil while the loop turns and App.Health returns nil; that is asked from
// the first moment that this generation is ready until its cleanups begin.
func (l *life) healthy(ctx context.Context) error {
	select {
	case l.inbox <- occurrence{call: func() {}}:
	case <-l.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the App itself does not answer: %w", context.Cause(ctx))
	}
	if l.app.Health == nil || !l.isReady() || l.cleaning.Load() {
		return nil
	}
	answer := make(chan error, 1)
	go func() { answer <- l.app.Health(ctx) }()
	select {
	case err := <-answer:
		if ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
			return err
		}
	case <-ctx.Done(): // who hangs must not have the drain wait for all who asked
	}
	return fmt.Errorf("App.Health: %w", context.Cause(ctx)) // which says how long it had
}

// withPatience returns a context that ends after d with an error that says so.
func withPatience(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("no answer within %v", d))
}
