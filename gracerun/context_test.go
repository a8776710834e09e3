package gracerun_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun"
)

type key struct{}

// under returns a context of work, as a task gets it: one that an App's own
// context is behind, with a value.
func under(ctx context.Context) context.Context { return context.WithValue(ctx, key{}, "value") }

func TestContexts(t *testing.T) {
	t.Parallel()
	type moment struct{ take, do, task error } // the causes
	for name, c := range map[string]struct {
		drain, cut, end bool
		want            moment
	}{
		"nothing":         {},
		"drain":           {drain: true, want: moment{take: gracerun.ErrDraining}},
		"deadline":        {drain: true, cut: true, want: moment{gracerun.ErrDraining, gracerun.ErrDrainTimeout, gracerun.ErrDrainTimeout}},
		"end of the task": {end: true, want: moment{take: context.Canceled, task: context.Canceled}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			app, drain, cut := gracerun.WithDrain(t.Context())
			defer cut()
			task, end := context.WithCancel(under(app))
			defer end()
			// Each of them derived from each: what ends it does not depend on the way.
			takes := []context.Context{gracerun.UntilDrain(task), gracerun.UntilDrain(gracerun.UntilDrain(task))}
			dos := []context.Context{
				gracerun.ThroughDrain(task), gracerun.ThroughDrain(gracerun.UntilDrain(task)),
				gracerun.ThroughDrain(gracerun.ThroughDrain(task)),
			}
			if c.drain {
				drain()
			}
			if c.end {
				end()
			}
			for i, ctx := range takes {
				expectCause(t, "UntilDrain", i, ctx, c.want.take)
			}
			if c.cut {
				cut()
			}
			for i, ctx := range dos {
				expectCause(t, "ThroughDrain", i, ctx, c.want.do)
			}
			expectCause(t, "task", 0, task, c.want.task)
			for _, ctx := range append(takes, dos...) {
				if ctx.Value(key{}) != "value" {
					t.Errorf("%v has no value", ctx)
				}
				select {
				case <-gracerun.Draining(ctx):
					if !c.drain {
						t.Error("Draining without a drain")
					}
				default:
					if c.drain {
						t.Error("no Draining in a drain")
					}
				}
			}
		})
	}
}

// expectCause waits for the end that is to come, and accepts no other.
func expectCause(t *testing.T, what string, i int, ctx context.Context, want error) {
	t.Helper()
	if want == nil {
		if ctx.Err() != nil || context.Cause(ctx) != nil {
			t.Errorf("%s %d has ended: %v", what, i, context.Cause(ctx))
		}
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
		t.Errorf("%s %d does not end", what, i)
		return
	}
	if ctx.Err() != context.Canceled || context.Cause(ctx) != want {
		t.Errorf("%s %d: Err %v, cause %v; want the cause %v", what, i, ctx.Err(), context.Cause(ctx), want)
	}
}

// TestDerivedContexts have the cause of what they are derived from.
func TestDerivedContexts(t *testing.T) {
	t.Parallel()
	ctx, drain, cut := gracerun.WithDrain(t.Context())
	defer cut()
	take, stop := context.WithTimeout(gracerun.UntilDrain(under(ctx)), time.Hour)
	defer stop()
	do, stopDo := context.WithCancel(gracerun.ThroughDrain(under(ctx)))
	defer stopDo()
	drain()
	expectCause(t, "take", 0, take, gracerun.ErrDraining)
	expectCause(t, "do", 0, do, nil)
	cut()
	expectCause(t, "do", 0, do, gracerun.ErrDrainTimeout)
	late, stopLate := context.WithCancel(gracerun.UntilDrain(under(ctx)))
	defer stopLate()
	expectCause(t, "after all", 0, late, gracerun.ErrDrainTimeout)
}

// TestAskedInTheDrain: what is asked for in the middle of a drain knows of it.
func TestAskedInTheDrain(t *testing.T) {
	t.Parallel()
	app, drain, cut := gracerun.WithDrain(t.Context())
	defer cut()
	drain()
	ctx := under(app)
	if take := gracerun.UntilDrain(ctx); context.Cause(take) != gracerun.ErrDraining { // at once: loops ask it
		t.Errorf("UntilDrain has the cause %v", context.Cause(take))
	}
	expectCause(t, "ThroughDrain", 0, gracerun.ThroughDrain(ctx), nil)
	<-gracerun.Draining(ctx)
}

// TestOutsideAnApp: library code need not know whether there is one.
func TestOutsideAnApp(t *testing.T) {
	t.Parallel()
	ctx := under(t.Context())
	if gracerun.UntilDrain(ctx) != ctx || gracerun.ThroughDrain(ctx) != ctx {
		t.Error("a context that comes from no App is not itself")
	}
	if c := gracerun.Draining(ctx); c != nil {
		t.Errorf("Draining = %v", c)
	}
}

func TestDeadlineOfATask(t *testing.T) {
	t.Parallel()
	app, _, cut := gracerun.WithDrain(t.Context())
	defer cut()
	task, cancel := context.WithDeadline(app, time.Now().Add(time.Hour))
	defer cancel()
	want, _ := task.Deadline()
	if got, ok := gracerun.UntilDrain(task).Deadline(); !ok || got != want {
		t.Errorf("UntilDrain has the deadline %v, %v; want %v", got, ok, want)
	}
	if got, ok := gracerun.ThroughDrain(task).Deadline(); ok {
		t.Errorf("ThroughDrain has the deadline %v", got)
	}
}

// TestWithDrainEndsWithItsParent, with the parent's cause.
func TestWithDrainEndsWithItsParent(t *testing.T) {
	t.Parallel()
	enough := errors.New("enough")
	parent, end := context.WithCancelCause(under(t.Context()))
	ctx, drain, cut := gracerun.WithDrain(parent)
	defer cut()
	if ctx.Value(key{}) != "value" {
		t.Error("the parent's value is gone")
	}
	end(enough)
	expectCause(t, "do", 0, ctx, enough)
	<-gracerun.Draining(ctx)
	drain() // does no harm
	cut()
	expectCause(t, "do", 0, ctx, enough)
}

// TestNestedApps: the innermost counts.
func TestNestedApps(t *testing.T) {
	t.Parallel()
	outer, drainOuter, cutOuter := gracerun.WithDrain(t.Context())
	defer cutOuter()
	inner, _, cutInner := gracerun.WithDrain(outer)
	defer cutInner()
	drainOuter()
	expectCause(t, "take", 0, gracerun.UntilDrain(under(inner)), nil)
}

// TestUntilDrainHoldsNothing after the context of the run it was made for has
// ended: a service makes one for each.
func TestUntilDrainHoldsNothing(t *testing.T) {
	app, _, cut := gracerun.WithDrain(t.Context())
	defer cut()
	use := func(n int) {
		for range n {
			ctx, cancel := context.WithCancel(app)
			gracerun.UntilDrain(ctx)
			gracerun.ThroughDrain(ctx)
			cancel()
		}
	}
	const n = 30_000
	use(n) // as many goroutines as there may be at once have been
	before := heap()
	use(n)
	if after := heap(); after > before+100*n { // a context takes more
		t.Errorf("the heap has grown from %d to %d bytes", before, after)
	}
}

func heap() uint64 {
	for range 2 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
