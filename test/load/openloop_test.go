package load_test

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gracerun/grace/test/load"
)

// stalling is a server that takes 1 ms for a request, but answers nothing
// between two times after its start.
func stalling(from, to time.Duration) func() load.Client {
	start := time.Now()
	do := func() load.Outcome {
		if now := time.Since(start); now >= from && now < to {
			time.Sleep(to - now)
		}
		time.Sleep(time.Millisecond)
		return load.Outcome{}
	}
	return func() load.Client { return &fake{do: do} }
}

// measure runs g for d and returns the latencies in the order in which the
// requests were due.
func measure(t *testing.T, d time.Duration, g load.Group) []time.Duration {
	var mu sync.Mutex
	var all []load.Outcome
	r := load.Runner{Each: func(o load.Outcome) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, o)
	}}
	r.Run(within(t, d), g)
	slices.SortFunc(all, func(a, b load.Outcome) int { return a.Start.Compare(b.Start) })
	var latencies []time.Duration
	for _, o := range all {
		latencies = append(latencies, o.Latency)
	}
	return latencies
}

// Of a second without an answer a closed loop shows one request for each client,
// an open loop every one that was due.
func TestOpenLoopShowsTheStall(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for _, tt := range []struct {
		name    string
		group   load.Group
		stalled int                                 // requests that took longer than 1 ms
		latency func(i time.Duration) time.Duration // of the i-th of them
	}{
		{"closed", load.Group{N: 1, Think: 9 * ms}, 1, nil},
		{"open, enough clients", load.Group{N: 200, Rate: 100}, 100, func(i time.Duration) time.Duration {
			return 1001*ms - i*10*ms // all are answered when the stall ends
		}},
		{"open, one client", load.Group{N: 1, Rate: 100}, 112, func(i time.Duration) time.Duration {
			return 1001*ms - i*9*ms // one by one, 1 ms each, while one is due every 10 ms
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := tt.group
				g.New = stalling(time.Second, 2*time.Second)
				all := measure(t, 9995*ms, g)
				if g.Rate > 0 && len(all) != 1000 {
					t.Errorf("%d requests at 100/s in 9.995 s", len(all))
				}
				all = slices.DeleteFunc(all, func(d time.Duration) bool { return d == ms })
				if len(all) != tt.stalled {
					t.Fatalf("%d requests took longer, want %d", len(all), tt.stalled)
				}
				for i, d := range all {
					if tt.latency != nil && d != tt.latency(time.Duration(i)) {
						t.Errorf("the stalled request %d took %v, want %v", i, d, tt.latency(time.Duration(i)))
					}
				}
			})
		})
	}
}

// What was due before the end is made after it, and no more.
func TestOpenLoopMakesUpAtTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		all := measure(t, 9900*time.Millisecond, load.Group{N: 2, Rate: 4, New: stalling(time.Second, time.Minute)})
		if took := time.Since(start); len(all) != 40 || took < time.Minute {
			t.Errorf("%d requests in %v, want 40 in a minute", len(all), took)
		}
		if last := all[len(all)-1]; last < 50*time.Second {
			t.Errorf("the last one, due before 10 s and answered after 60, took %v", last)
		}
	})
}

// A request belongs to the window that was open when it was due, although it is
// sent long after.
func TestOpenLoopWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r load.Runner
		go func() {
			time.Sleep(2500 * time.Millisecond)
			defer r.Window()()
			time.Sleep(time.Second)
		}()
		res := r.Run(within(t, 9500*time.Millisecond), load.Group{N: 1, Rate: 1, New: stalling(0, 20*time.Second)})
		// Those due at 0 to 3 s were waiting while the window was open.
		if k := res.Kinds[0]; k.InWindow.Count() != 4 || k.Steady.Count() != 6 {
			t.Errorf("%v and %v", &k.InWindow, &k.Steady)
		}
	})
}

// On a real clock no request is made before it is due, and none is left out,
// whatever the machine does.
func TestExact(t *testing.T) {
	t.Parallel()
	ctx := within(t, 100*time.Millisecond)
	end, _ := ctx.Deadline()
	var mu sync.Mutex
	var first time.Time
	var n int
	r := load.Runner{Exact: true, Each: func(o load.Outcome) {
		mu.Lock()
		defer mu.Unlock()
		if n++; first.IsZero() || o.Start.Before(first) {
			first = o.Start
		}
		if o.Latency < time.Millisecond { // what the server takes
			t.Errorf("%+v", o)
		}
	}}
	r.Run(ctx, load.Group{N: 4, Rate: 1000, New: stalling(0, 0)})
	if want := int(end.Sub(first) / time.Millisecond); n < want {
		t.Errorf("%d requests, want %d or more", n, want)
	}
}
