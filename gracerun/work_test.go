package gracerun

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gracerun/grace/gracerun/internal/handoff"
	"github.com/gracerun/grace/pidfile"
)

// elapsed notes at which times something happens.
type elapsed struct {
	began time.Time
	at    chan time.Duration
}

func newElapsed() *elapsed { return &elapsed{time.Now(), make(chan time.Duration, 100)} }

func (e *elapsed) note() { e.at <- time.Since(e.began) }

func (e *elapsed) all() (list []time.Duration) {
	for len(e.at) > 0 {
		list = append(list, <-e.at)
	}
	return list
}

// TestEvery runs on a schedule that neither a slow run nor a failed one moves;
// of the ticks that a run misses one is made up for.
func TestEvery(t *testing.T) {
	t.Parallel()
	const s = time.Second
	for name, c := range map[string]struct {
		takes []time.Duration
		want  []time.Duration
	}{
		"quick":        {nil, []time.Duration{10 * s, 20 * s, 30 * s, 40 * s, 50 * s}},
		"slow":         {[]time.Duration{9 * s, 9 * s}, []time.Duration{10 * s, 20 * s, 30 * s, 40 * s, 50 * s}},
		"misses one":   {[]time.Duration{11 * s}, []time.Duration{10 * s, 21 * s, 30 * s, 40 * s, 50 * s}},
		"misses three": {[]time.Duration{32 * s}, []time.Duration{10 * s, 42 * s, 50 * s}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var app App
				runs := newElapsed()
				n := 0
				app.Every("tick", 10*s, func(context.Context) error {
					runs.note()
					if n++; n <= len(c.takes) {
						time.Sleep(c.takes[n-1])
					}
					return errors.New("does not matter")
				})
				st := perform(t, &app, &fakeSelf{})
				time.Sleep(55 * s)
				st.end()
				if err := st.wait(); err != nil {
					t.Error(err)
				}
				if got := runs.all(); !slices.Equal(got, c.want) {
					t.Errorf("it ran at %v, want %v", got, c.want)
				}
			})
		})
	}
}

// TestLoop runs again and again, one run at a time, and finishes the one in hand.
func TestLoop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		runs := newElapsed()
		var ctxs []context.Context
		app.Loop("loop", func(ctx context.Context) error {
			runs.note()
			ctxs = append(ctxs, ctx)
			time.Sleep(time.Second)
			return ctx.Err()
		})
		s := perform(t, &app, &fakeSelf{})
		time.Sleep(2500 * time.Millisecond)
		begin := time.Now()
		s.end()
		if err := s.wait(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took != 500*time.Millisecond {
			t.Errorf("the drain took %v", took)
		}
		if got := runs.all(); !slices.Equal(got, []time.Duration{0, time.Second, 2 * time.Second}) {
			t.Errorf("it ran at %v", got)
		}
		for _, ctx := range ctxs {
			if ctx.Err() == nil {
				t.Error("the context of a run outlives it")
			}
		}
	})
}

// TestBackoff: pauses grow from 100 ms to 30 s, less up to a half, and begin
// anew after a success.
func TestBackoff(t *testing.T) {
	t.Parallel()
	kinds := map[string]func(a *App, f func() error){
		"Loop": func(a *App, f func() error) { a.Loop("x", func(context.Context) error { return f() }) },
		"Work": func(a *App, f func() error) {
			Work(a, "x", 1, func(context.Context) (int, error) { return 0, f() }, func(context.Context, int) error { return nil })
		},
	}
	for name, register := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var app App
				runs := newElapsed()
				const failures = 12
				n := 0
				register(&app, func() error {
					runs.note()
					if n++; n == failures {
						return nil
					}
					return errors.New("not now")
				})
				s := perform(t, &app, &fakeSelf{})
				time.Sleep(5 * time.Minute)
				s.end()
				if err := s.wait(); err != nil {
					t.Error(err)
				}
				got := runs.all()
				pause := 100 * time.Millisecond
				for i := 1; i < failures; i++ {
					if d := got[i] - got[i-1]; d < pause/2 || d > pause {
						t.Errorf("pause %d is %v, want between %v and %v", i, d, pause/2, pause)
					}
					pause = min(2*pause, 30*time.Second)
				}
				if d := got[failures] - got[failures-1]; d != 0 {
					t.Errorf("after a success it paused for %v", d)
				}
				if d := got[failures+1] - got[failures]; d > 100*time.Millisecond {
					t.Errorf("the pause after it was %v", d)
				}
			})
		})
	}
}

// TestWork: an item that was taken is done, whenever that was.
func TestWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		items := make(chan int, 10)
		var done atomic.Int32
		Work(&app, "work", 3, func(ctx context.Context) (int, error) {
			select {
			case i := <-items:
				return i, nil
			case <-ctx.Done():
				if context.Cause(ctx) != ErrDraining {
					t.Errorf("take ended with the cause %v", context.Cause(ctx))
				}
				return 99, nil // the last one, taken at the very end
			}
		}, func(ctx context.Context, i int) error {
			time.Sleep(time.Second)
			done.Add(int32(i))
			return ctx.Err()
		})
		s := perform(t, &app, &fakeSelf{})
		s.ready()
		for range 3 {
			items <- 1
		}
		synctest.Wait()
		if h := app.Status().InHand; len(h) != 1 || h[0].Name != "work" || h[0].Count != 3 || !h[0].Since.Equal(time.Now()) {
			t.Errorf("in hand: %+v", h)
		}
		time.Sleep(2 * time.Second)
		if h := app.Status().InHand; len(h) != 0 {
			t.Errorf("in hand: %+v", h)
		}
		begin := time.Now()
		s.end()
		if err := s.wait(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took != time.Second || done.Load() != 3+3*99 {
			t.Errorf("the drain took %v, and %d is done", took, done.Load())
		}
	})
}

// TestWorkEnds: io.EOF ends the worker that got it, and not the service.
func TestWorkEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		var calls atomic.Int32
		Work(&app, "work", -1, func(context.Context) (int, error) { calls.Add(1); return 0, io.EOF }, func(context.Context, int) error { return nil })
		app.Go("once", func(context.Context) error { calls.Add(10); return nil })
		s := perform(t, &app, &fakeSelf{})
		time.Sleep(time.Hour)
		if n := calls.Load(); n != 11 {
			t.Errorf("calls: %d", n)
		}
		s.end()
		if err := s.wait(); err != nil {
			t.Error(err)
		}
	})
}

// TestTask: a task may be begun in Setup, by a handler in the drain, but not
// outside a life.
func TestTask(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		nothing := func(context.Context) error { return nil }
		if err := app.Task("early", nothing); !errors.Is(err, ErrNotReady) {
			t.Errorf("before Run: %v", err)
		}
		ended := make(chan struct{}, 1)
		app.Setup = func(context.Context) error { return app.Task("in Setup", nothing) }
		s := perform(t, &app, &fakeSelf{})
		s.ready()
		app.Task("first", func(ctx context.Context) error {
			<-UntilDrain(ctx).Done()
			return app.Task("second", func(ctx context.Context) error {
				time.Sleep(time.Second)
				ended <- struct{}{}
				return errors.New("logged, and no more")
			})
		})
		begin := time.Now()
		s.end()
		if err := s.wait(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took != time.Second || len(ended) != 1 {
			t.Errorf("the drain took %v; done: %d", took, len(ended))
		}
		if err := app.Task("late", nothing); !errors.Is(err, ErrDraining) {
			t.Errorf("after Run: %v", err)
		}
	})
}

// TestExclusive: while an older generation has the claim, this one waits; told
// that it is free, it goes on with the schedule that is written down. The time that
// comes with the message may be one that has been since.
func TestExclusive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		app := App{RunDir: t.TempDir()}
		older, err := pidfile.Acquire(filepath.Join(app.RunDir, "test.task.a%2Fb"))
		if errors.Is(err, errors.ErrUnsupported) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		runs := newElapsed()
		app.Every("a/b", time.Minute, func(context.Context) error { runs.note(); return nil })
		self := &fakeSelf{legacy: &handoff.Legacy{From: 1}}
		s := perform(t, &app, self)
		self.events <- handoff.Go{}
		time.Sleep(90*time.Second + claimPeriod/2) // between two looks at the claim
		if got := runs.all(); got != nil {
			t.Errorf("it ran at %v although another generation had the claim", got)
		}
		due := time.Now().Add(10*time.Second).Format(time.RFC3339Nano) + " 1m0s\n"
		check(t, os.WriteFile(filepath.Join(app.RunDir, "test.task.a%2Fb.due"), []byte(due), 0o600))
		older.Close()
		self.events <- handoff.Released{Name: "another"}
		self.events <- handoff.Released{Name: "a/b", Due: time.Now()}
		time.Sleep(80 * time.Second)
		s.end()
		if err := s.wait(); err != nil {
			t.Error(err)
		}
		if got, want := runs.all(), []time.Duration{100*time.Second + claimPeriod/2, 160*time.Second + claimPeriod/2}; !slices.Equal(got, want) {
			t.Errorf("it ran at %v, want %v", got, want)
		}
	})
}

// TestExclusiveWithoutAMessage: one that is lost stops no task.
func TestExclusiveWithoutAMessage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		app := App{RunDir: t.TempDir()}
		older, err := pidfile.Acquire(filepath.Join(app.RunDir, "test.task.loop"))
		if errors.Is(err, errors.ErrUnsupported) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		runs := newElapsed()
		app.Loop("loop", func(ctx context.Context) error { runs.note(); <-UntilDrain(ctx).Done(); return nil })
		s := perform(t, &app, &fakeSelf{})
		s.ready()
		time.Sleep(claimPeriod / 2)
		older.Close()
		time.Sleep(time.Minute)
		s.end()
		if err := s.wait(); err != nil {
			t.Error(err)
		}
		if got := runs.all(); !slices.Equal(got, []time.Duration{claimPeriod}) {
			t.Errorf("it ran at %v", got)
		}
	})
}

// TestExclusiveNeverClaimed: the drain does not wait for a claim.
func TestExclusiveNeverClaimed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		app := App{RunDir: t.TempDir()}
		older, err := pidfile.Acquire(filepath.Join(app.RunDir, "test.task.loop"))
		if errors.Is(err, errors.ErrUnsupported) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer older.Close()
		app.Loop("loop", func(context.Context) error { t.Error("it ran"); return nil })
		s := perform(t, &app, &fakeSelf{})
		s.ready()
		synctest.Wait()
		s.end()
		if err := s.wait(); err != nil {
			t.Error(err)
		}
	})
}
