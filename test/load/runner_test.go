package load_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gracerun/grace/test/load"
)

// fake is a client whose requests take no network.
type fake struct {
	do     func() load.Outcome
	closed int
}

func (f *fake) Do() load.Outcome { return f.do() }
func (f *fake) Close() error     { f.closed++; return nil }

func takes(d time.Duration) func() load.Outcome {
	return func() load.Outcome { time.Sleep(d); return load.Outcome{Generation: 1, PID: 2} }
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestRunnerCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lost := errors.New("lost")
		var n, seen int
		odd := &fake{do: func() load.Outcome {
			if n++; n%2 == 0 {
				return load.Outcome{Failure: &load.Failure{Stage: load.StageShort, Err: lost}}
			}
			return load.Outcome{Dialed: true, IdleClosed: true}
		}}
		r := load.Runner{Interval: time.Second, Each: func(load.Outcome) { seen++ }}
		res := r.Run(within(t, 10*time.Second),
			load.Group{Kind: "odd", Think: time.Second, New: func() load.Client { return odd }})

		k := res.Kinds[0]
		if k.OK != 5 || k.Failed != 5 || k.Dials != 5 || k.IdleClosed != 5 || seen != 10 || odd.closed != 1 {
			t.Errorf("seen %d, closed %d times\n%v", seen, odd.closed, res)
		}
		if len(res.Failures) != 5 || len(k.Series) != 10 || res.Took != 10*time.Second {
			t.Fatalf("%d failures, %d points, %v", len(res.Failures), len(k.Series), res.Took)
		}
		for i, p := range k.Series {
			if p.OK+p.Failed != 1 {
				t.Errorf("interval %d: %+v", i, p)
			}
		}
		if f := res.Failures[0]; f.Kind != "odd" || f.When.Before(res.Start) || !errors.Is(&f, lost) || !strings.Contains(res.String(), f.Error()) {
			t.Errorf("%+v\n%v", f, res)
		}
	})
}

// A request belongs to a window if they overlap, however little.
func TestWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r load.Runner
		go func() {
			time.Sleep(5500 * time.Millisecond) // in the 6th request, that is
			r.Window()()
			time.Sleep(time.Second) // in the 7th
			end := r.Window()
			time.Sleep(time.Second) // in the 8th
			end()
			end()
		}()
		res := r.Run(within(t, 9500*time.Millisecond), load.Group{Think: -1, New: func() load.Client { return &fake{do: takes(time.Second)} }})
		k := res.Kinds[0]
		if k.Steady.Count() != 7 || k.InWindow.Count() != 3 || k.InWindow.Max() != time.Second {
			t.Errorf("%v and %v", &k.Steady, &k.InWindow)
		}
		if len(res.Windows) != 2 || res.Windows[1].End.Sub(res.Windows[1].Start) != time.Second {
			t.Errorf("%v", res.Windows)
		}
	})
}

// The end of the context ends no request, and Snapshot tells where things are.
func TestRequestInHandIsFinished(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r load.Runner
		done := make(chan *load.Result)
		go func() {
			done <- r.Run(within(t, time.Second), load.Group{N: 3, New: func() load.Client { return &fake{do: takes(time.Minute)} }})
		}()
		time.Sleep(30 * time.Second)
		if s := r.Snapshot(); s.InFlight != 3 || s.OK != 0 || s.Elapsed != 30*time.Second {
			t.Errorf("%v", s)
		}
		if res := <-done; res.Kinds[0].OK != 3 || len(res.Answers) != 1 || res.Answers[0].Count != 3 {
			t.Error(res)
		}
		if s := r.Snapshot(); s.InFlight != 0 || s.OK != 3 || s.Generation != 1 || s.PID != 2 {
			t.Errorf("%v", s)
		}
	})
}

func TestThinkBoundsTheRate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		group    load.Group
		failing  bool
		min, max int // requests in ten seconds
	}{
		{"default, one", load.Group{}, false, 9_990, 10_001},
		{"default, many", load.Group{N: 100}, false, 9_900, 10_100},
		{"fixed", load.Group{N: 2, Think: 100 * time.Millisecond}, false, 200, 202},
		{"random", load.Group{ThinkMax: 200 * time.Millisecond}, false, 70, 140},
		{"failing", load.Group{Think: -1}, true, 1000, 1001},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := tt.group
				g.New = func() load.Client {
					return &fake{do: func() (o load.Outcome) {
						if tt.failing {
							o.Failure = &load.Failure{Err: errors.ErrUnsupported}
						}
						return o
					}}
				}
				var r load.Runner
				total := r.Run(within(t, 10*time.Second), g).Total()
				if n := total.OK + total.Failed; n < tt.min || n > tt.max {
					t.Errorf("%d requests, want %d to %d", n, tt.min, tt.max)
				}
			})
		})
	}
}
