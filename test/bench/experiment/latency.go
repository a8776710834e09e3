package experiment

import (
	"context"
	"errors"
	"math"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/bench/report"
	"github.com/gracerun/grace/test/load"
)

// What a turn is made of, by the time from the trigger.
const (
	latencyWarm   = -700 * time.Millisecond // begin of the load
	latencySteady = -500 * time.Millisecond // begin of what counts as steady, up to the trigger
	latencyTail   = 100 * time.Millisecond  // the window's end is so long after the old process's last answer
	latencyMost   = 2000 * time.Millisecond // but no later than this, when the load ends
	latencyBin    = 20 * time.Millisecond   // of the plot
	latencyFrom   = -100 * time.Millisecond // where the plot begins
	latencyTo     = 600 * time.Millisecond  // and ends
	latencyShare  = 0.5                     // of what plain net/http can do
	latencyServes = 100 * time.Millisecond  // gracerun's Probation
	latencyLong   = 20 * 1000 * 1000        // microseconds, the longest that a histogram holds
)

// latency measures how long requests take while servers are replaced, at half
// load.
func latency(ctx context.Context, env *Env) (*report.Section, error) {
	most, err := capacity(ctx, env)
	if err != nil {
		return nil, err
	}
	rate := math.Floor(most*latencyShare/100) * 100
	env.Progress("latency: plain net/http answers %.0f requests a second", most)
	rounds := 8
	if env.Quick {
		rounds = 2
	}
	f := launch(ctx, env, env.pick(peer.Upgrade, ours, tableflip), peer.Config{Probation: latencyServes})
	defer f.close()
	all := make([]*delay, len(f))
	for i, e := range f {
		all[i] = newDelay(e)
	}
	for round := range rounds {
		for _, d := range turn(all, round) {
			env.Progress("latency: round %d of %d, %s", round+1, rounds, d.kind.Name)
			d.turn(ctx, rate)
		}
	}
	return latencyReport(env, all, most, rate), ctx.Err()
}

// A delay is an entrant and how long its clients had to wait.
type delay struct {
	*entrant

	steady, window *hdrhistogram.Histogram // microseconds
	bins           [][]float64             // milliseconds, of each bin of the plot and turn: the longest
	ratios         []float64               // of each turn: p99 in the window to steady
	windows        []float64               // milliseconds, of each turn
	failed         int                     // requests, which have no latency
	lost           []load.Failure
}

func newDelay(e *entrant) *delay {
	return &delay{entrant: e, steady: histogram(), window: histogram(), bins: make([][]float64, (latencyTo-latencyFrom)/latencyBin)}
}

func histogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, latencyLong, 3) }

// turn upgrades the server once under load. The clients' garbage is collected
// before, so that none of it is in their latencies.
func (d *delay) turn(ctx context.Context, rate float64) {
	if d.out != nil || ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	settle, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	d.settled(settle) // if it does not: the upgrade shows what comes of it
	old, err := d.Server.PIDs()
	if d.out = err; err != nil {
		return
	}
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))

	var seen samples
	r := load.Runner{Exact: true, Each: seen.add}
	g := mix(d.Server)
	g.Rate = rate
	var trigger time.Time
	res := under(ctx, &r, []load.Group{g}, func(ctx context.Context) {
		load.Pause(ctx, -latencyWarm)
		trigger = time.Now()
		d.out = d.Trigger()
		load.Pause(ctx, latencyMost)
	})
	if d.out == nil && ctx.Err() == nil {
		d.add(seen.since(trigger), old)
		d.lost = append(d.lost, res.Failures...)
	}
}

// add sorts the requests of a turn into steady and window.
func (d *delay) add(all []sample, old []int) {
	newest, last := answered(all, old)
	if newest == 0 {
		d.out = errors.New("no new process answers under load")
		return
	}
	d.Answered(newest)
	end := min(last+latencyTail, latencyMost)
	steady, window := histogram(), histogram()
	longest := make([]float64, len(d.bins))
	for _, s := range all {
		took := s.end - s.due
		switch {
		case s.failed:
			d.failed++
			continue
		case s.due >= latencySteady && s.end <= 0:
			steady.RecordValue(took.Microseconds())
		case s.end > 0 && s.due <= end:
			window.RecordValue(took.Microseconds())
		}
		if s.due >= latencyFrom && s.due < latencyTo {
			i := (s.due - latencyFrom) / latencyBin
			longest[i] = max(longest[i], milliseconds(took))
		}
	}
	for i, ms := range longest {
		if ms > 0 {
			d.bins[i] = append(d.bins[i], ms)
		}
	}
	d.steady.Merge(steady)
	d.window.Merge(window)
	d.ratios = append(d.ratios, p99(window)/p99(steady))
	d.windows = append(d.windows, milliseconds(end))
}

// answered returns the process that gave the last answer, unless it is an old
// one, and when an old one gave its last.
func answered(all []sample, old []int) (newest int, last time.Duration) {
	var latest time.Duration
	for _, s := range all {
		switch {
		case s.pid == 0 || s.end < 0:
		case slices.Contains(old, s.pid):
			last = max(last, s.end)
		case s.end > latest:
			newest, latest = s.pid, s.end
		}
	}
	return newest, last
}

func p99(h *hdrhistogram.Histogram) float64 { return float64(h.ValueAtQuantile(99)) }
