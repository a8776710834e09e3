package experiment

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/load"
)

// mixed is a client that makes four requests over a keep-alive connection, at
// which it looks before it sends, and the fifth over one of its own. All are
// GET /, so that every answer names its process.
type mixed struct {
	keep  load.KeepAlive
	fresh load.Fresh
	n     int
}

func (m *mixed) Do() load.Outcome {
	if m.n++; m.n%5 == 0 {
		return m.fresh.Do()
	}
	return m.keep.Do()
}

func (m *mixed) Close() error { return m.keep.Close() }

// mix returns a group of such clients, in a closed loop without think time.
func mix(s *peer.Server) load.Group {
	t := load.Target{Address: s.HTTP[0], Timeout: 5 * time.Second}
	n := 0
	return load.Group{Kind: "mixed", N: 64, Think: -1, New: func() load.Client {
		n++ // so that they do not all dial at once
		return &mixed{keep: load.KeepAlive{Target: t, Look: true, Get: 1}, fresh: load.Fresh{Target: t, Get: true}, n: n}
	}}
}

// capacity returns how many requests a second plain net/http answers to as many
// clients as there are, each of which asks again at once.
func capacity(ctx context.Context, env *Env) (float64, error) {
	s, err := env.Builder.Start(ctx, peer.Find(plain), peer.Config{})
	if err != nil {
		return 0, err
	}
	defer s.Close()
	var rates []float64
	for range 3 {
		var r load.Runner
		begin := time.Now()
		res := under(ctx, &r, []load.Group{mix(s)}, func(ctx context.Context) { load.Pause(ctx, 700*time.Millisecond) })
		if len(res.Failures) > 0 {
			return 0, fmt.Errorf("%s: %w", plain, &res.Failures[0])
		}
		rates = append(rates, float64(res.Kinds[0].OK)/time.Since(begin).Seconds())
	}
	return median(rates), ctx.Err()
}

// A sample is what one request took. Times are from the upgrade's trigger.
type sample struct {
	due, end time.Duration
	pid      int
	failed   bool
}

// samples collects outcomes, which it is given by several goroutines.
type samples struct {
	mu  sync.Mutex
	all []load.Outcome
}

func (s *samples) add(o load.Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, o)
}

// since returns what was collected, by the time of the trigger.
func (s *samples) since(trigger time.Time) []sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]sample, len(s.all))
	for i, o := range s.all {
		due := o.Start.Sub(trigger)
		list[i] = sample{due, due + o.Latency, o.PID, o.Failure != nil}
	}
	return list
}
