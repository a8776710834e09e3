package gracerun

import (
	"context"
	"errors"
)

var (
	// ErrNotReady is what Upgrade returns before the App is ready, and Task
	// before Run.
	ErrNotReady = errors.New("gracerun: not ready yet")
	// ErrUpgrading is wrapped by what Upgrade returns when its context ended
	// while the upgrade goes on: because somebody else asked for it, too, or
	// because it is the successor's by now.
	ErrUpgrading = errors.New("gracerun: the upgrade goes on")
	// ErrDraining is the cause of a context that ends with the start of the
	// drain, and what Upgrade and Task return when it is too late for them.
	ErrDraining = errors.New("gracerun: draining")
	// ErrDrainTimeout is the cause of a context that ends with the drain's
	// deadline, and is wrapped by what Run returns when work was cut by it.
	ErrDrainTimeout = errors.New("gracerun: the drain deadline passed")
	// ErrPaused is the cause of a context that ends because its task is paused.
	ErrPaused = errors.New("gracerun: paused")
	// ErrTaskTimeout is the cause of a context that ends with the time that
	// [App.Timeout] gives to a run.
	ErrTaskTimeout = errors.New("gracerun: the task took longer than its time")
)

// An end is the two moments at which work ends: the start of the drain ends the
// taking, its deadline the doing. It travels in contexts.
type end struct {
	take  context.Context // ended by the drain's start
	do    context.Context // ended by the drain's deadline
	until context.Context // ended by the drain's start, or when the task is paused
}

type endKey struct{}

// newEnd returns an end whose contexts have parent's values, not its
// cancellation.
func newEnd(parent context.Context) (e *end, drain context.CancelFunc, cut context.CancelCauseFunc) {
	e = new(end)
	do, cancelDo := context.WithCancelCause(context.WithValue(context.WithoutCancel(parent), endKey{}, e))
	take, cancelTake := context.WithCancelCause(do)
	e.do, e.take, e.until = do, take, take
	drain = func() { cancelTake(ErrDraining) }
	cut = func(cause error) {
		cancelTake(ErrDraining)
		cancelDo(cause)
	}
	return e, drain, cut
}

func endOf(ctx context.Context) *end {
	e, _ := ctx.Value(endKey{}).(*end)
	return e
}

// attach returns ctx with e in it, ended also by the drain's deadline. It is for
// contexts that somebody else has made, once for each server.
func (e *end) attach(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(context.WithValue(ctx, endKey{}, e))
	context.AfterFunc(e.do, func() { cancel(context.Cause(e.do)) })
	return ctx
}

// Draining returns a channel that is closed when the drain begins: handlers that
// stream or hold a WebSocket select on it to end politely. It is nil, which
// blocks for ever, for a context that comes from no App.
func Draining(ctx context.Context) <-chan struct{} {
	if e := endOf(ctx); e != nil {
		return e.take.Done()
	}
	return nil
}

// UntilDrain returns a copy of ctx that is ended also by the start of the drain,
// with the cause [ErrDraining], and by a pause of the task that ctx is of, with the
// cause [ErrPaused]. It is the context to wait for new work with. For a context that
// comes from no App it is ctx itself.
//
// What it holds is released when ctx ends or the drain begins.
func UntilDrain(ctx context.Context) context.Context {
	e := endOf(ctx)
	switch {
	case e == nil || ctx == e.until:
		return ctx
	case ctx == e.do:
		return e.until
	}
	child, cancel := context.WithCancelCause(ctx)
	if e.until.Err() != nil { // AfterFunc would end it only in a moment
		cancel(context.Cause(e.until))
		return child
	}
	stop := context.AfterFunc(e.until, func() { cancel(context.Cause(e.until)) })
	context.AfterFunc(ctx, func() { stop() })
	return child
}

// ThroughDrain returns a context with the values of ctx that is ended only by the
// drain's deadline, with the cause [ErrDrainTimeout]. It is the context to
// finish work with that was taken. For a context that comes from no App it is
// ctx itself.
func ThroughDrain(ctx context.Context) context.Context {
	e := endOf(ctx)
	if e == nil || ctx == e.do {
		return ctx
	}
	if ctx == e.take {
		return e.do
	}
	return through{Context: e.do, values: context.WithoutCancel(ctx)}
}

// through has the values of one context and the end of another.
type through struct {
	context.Context
	values context.Context
}

func (t through) Value(key any) any {
	// WithoutCancel hides the cancellation of values from package context, so
	// that context.Cause finds the one of the embedded context.
	if v := t.values.Value(key); v != nil {
		return v
	}
	return t.Context.Value(key)
}

// WithDrain returns a context as an App gives to its work, for tests: drain
// begins the drain, cut is its deadline. It is ended also by the end of parent.
// Call cut when the test is over.
func WithDrain(parent context.Context) (ctx context.Context, drain, cut context.CancelFunc) {
	e, drain, end := newEnd(parent)
	stop := context.AfterFunc(parent, func() { end(context.Cause(parent)) })
	return e.do, drain, func() {
		stop()
		end(ErrDrainTimeout)
	}
}
