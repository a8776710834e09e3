package load

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Group is a number of clients of one kind.
type Group struct {
	Kind string        // its name in the result; "" = the client's type. Groups of the same Kind are counted together
	N    int           // how many; 0 = 1
	New  func() Client // called N times, before the first request

	// Think is how long a client waits after each answer, ThinkMax the upper
	// end if the wait is to be random. Both 0 = N milliseconds, which bounds
	// the group at 1,000 requests per second whatever N is; Think < 0 = none,
	// which bounds nothing.
	Think, ThinkMax time.Duration

	// Rate makes the load an open loop: this many requests per second of the
	// whole group are due at fixed times, whether or not earlier ones have been
	// answered. One that is due while all N clients are busy is made late, and
	// its latency counts from when it was due. Those that were due before the
	// Runner's context ended are made and counted. 0 = a closed loop; else
	// Think and ThinkMax do not count.
	Rate float64
}

// afterFailure is the least a client waits after a failure, so that a dead
// server does not fill the memory with them. What follows is another request.
const afterFailure = 10 * time.Millisecond

// Runner runs clients and keeps count. The zero value is ready to use. Its
// methods may be called at any time, by several goroutines; Run too, whose
// results then add up.
type Runner struct {
	Interval time.Duration // of Stat.Series; 0 = 100 ms
	Each     func(Outcome) // if not nil, called with every outcome by the client's goroutine

	// Exact has the requests of open loops made when they are due, on Linux.
	// Otherwise one that no client is late for is made up to a millisecond
	// after, which its latency includes: Go's timers alone are not better. Not
	// for testing/synctest, whose clock would stand still.
	Exact bool

	mu       sync.Mutex
	res      Result
	stats    []*Stat   // what becomes res.Kinds
	open     int       // windows now open
	closed   time.Time // when the last of the others was
	inFlight int
}

// Run runs the groups' clients until ctx ends, lets each finish its request,
// and returns what was seen. Requests are not cut short by ctx: a client ends
// within its own time-out.
func (r *Runner) Run(ctx context.Context, groups ...Group) *Result {
	r.begin()
	var wg sync.WaitGroup
	for i := range groups {
		g := &groups[i]
		clients := make([]Client, max(g.N, 1))
		for i := range clients {
			clients[i] = g.New()
		}
		kind := g.Kind
		if kind == "" {
			kind = fmt.Sprintf("%T", clients[0])
		}
		s := r.stat(kind)
		wg.Go(func() { r.runGroup(ctx, g, s, clients) })
	}
	wg.Wait()
	return r.Result()
}

// Result returns what has been seen so far. The caller owns it.
func (r *Runner) Result() *Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	res := r.res
	if !res.Start.IsZero() {
		res.Took = time.Since(res.Start)
	}
	for _, s := range r.stats {
		res.Kinds = append(res.Kinds, s.clone())
	}
	res.Failures = slices.Clone(res.Failures)
	res.Windows = slices.Clone(res.Windows)
	res.Answers = slices.Clone(res.Answers)
	return &res
}

// Snapshot returns the totals so far. It is cheap.
func (r *Runner) Snapshot() Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Snapshot{InFlight: r.inFlight, InWindow: r.open > 0, Failed: len(r.res.Failures)}
	if !r.res.Start.IsZero() {
		s.Elapsed = time.Since(r.res.Start)
	}
	for _, k := range r.stats {
		s.OK += k.OK
		s.IdleClosed += k.IdleClosed
	}
	for _, a := range r.res.Answers {
		if a.Generation >= s.Generation {
			s.Generation, s.PID = a.Generation, a.PID
		}
	}
	return s
}

// Window marks the time until end is called as one to be kept apart: requests
// during part of which it was open go to Stat.InWindow. Windows may overlap.
func (r *Runner) Window() (end func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := len(r.res.Windows)
	r.res.Windows = append(r.res.Windows, Window{Start: time.Now()})
	r.open++
	return sync.OnceFunc(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.closed = time.Now()
		r.res.Windows[i].End = r.closed
		r.open--
	})
}

// begin starts the clock.
func (r *Runner) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.res.Start.IsZero() {
		r.res.Start = time.Now()
	}
	if r.res.Interval = r.Interval; r.Interval <= 0 {
		r.res.Interval = 100 * time.Millisecond
	}
}

func (r *Runner) stat(kind string) *Stat {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.stats {
		if s.Kind == kind {
			return s
		}
	}
	s := &Stat{Kind: kind}
	r.stats = append(r.stats, s)
	return s
}

func (r *Runner) runGroup(ctx context.Context, g *Group, s *Stat, clients []Client) {
	loop := func(c Client) { r.closedLoop(ctx, g, s, c) }
	if g.Rate > 0 {
		due := newSchedule(ctx, g.Rate)
		if r.Exact {
			defer metronome(due.step)()
		}
		loop = func(c Client) { r.openLoop(due, s, c) }
	}
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() { loop(c) })
	}
	wg.Wait()
	for _, c := range clients {
		if c, ok := c.(io.Closer); ok {
			c.Close()
		}
	}
}

func (r *Runner) closedLoop(ctx context.Context, g *Group, s *Stat, c Client) {
	d := rand.N(g.think() + 1) // so that they do not march in step
	for Pause(ctx, d) {
		o := r.request(s, c, time.Now())
		if d = g.think(); o.Failure != nil {
			d = max(d, afterFailure)
		}
	}
}

func (r *Runner) openLoop(due *schedule, s *Stat, c Client) {
	for {
		start, ok := due.next()
		if !ok {
			return
		}
		r.request(s, c, start)
	}
}

// request makes one request, which counts from start, and keeps count of it.
func (r *Runner) request(s *Stat, c Client, start time.Time) Outcome {
	r.mu.Lock()
	r.inFlight++
	r.mu.Unlock()

	o := c.Do()
	end := time.Now()
	o.Kind, o.Start, o.Latency = s.Kind, start, end.Sub(start)
	r.count(s, &o, end)
	if r.Each != nil {
		r.Each(o)
	}
	return o
}

func (r *Runner) count(s *Stat, o *Outcome, end time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inFlight--
	inWindow := r.open > 0 || r.closed.After(o.Start)
	s.add(o, int(end.Sub(r.res.Start)/r.res.Interval), inWindow)
	if f := o.Failure; f != nil {
		f.Kind, f.When, f.After, f.InWindow = s.Kind, end, o.Latency, inWindow
		r.res.Failures = append(r.res.Failures, *f)
	}
	if o.PID != 0 {
		r.answered(o, end)
	}
}

// answered counts an answer for the process that gave it.
func (r *Runner) answered(o *Outcome, at time.Time) {
	for i := range slices.Backward(r.res.Answers) { // most come from the newest
		if a := &r.res.Answers[i]; a.Generation == o.Generation && a.PID == o.PID {
			a.Count++
			a.Last = at
			return
		}
	}
	r.res.Answers = append(r.res.Answers, Answers{o.Generation, o.PID, 1, at, at})
}

// think returns how long to wait before the next request.
func (g *Group) think() time.Duration {
	switch {
	case g.Think < 0:
		return 0
	case g.Think == 0 && g.ThinkMax <= 0:
		return time.Duration(max(g.N, 1)) * time.Millisecond
	case g.ThinkMax > g.Think:
		return g.Think + rand.N(g.ThinkMax-g.Think+1)
	}
	return g.Think
}

// Pause waits for d and reports whether ctx has not ended.
func Pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return ctx.Err() == nil
	}
}
