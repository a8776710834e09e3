package load

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Result is what a [Runner] has seen.
type Result struct {
	Start    time.Time
	Took     time.Duration
	Interval time.Duration // of every Series
	Kinds    []Stat        // in the order of the groups
	Failures []Failure     // all of them, in the order in which they were noticed
	Windows  []Window      // in the order in which they were opened
	Answers  []Answers     // in the order of each process's first answer
}

// Stat is what the clients of one kind have seen.
type Stat struct {
	Kind       string
	OK         int // requests answered in full and right
	Failed     int // requests that were not: Result.Failures has each
	Dials      int // connections opened
	Announced  int // connections that the server said it would end
	IdleClosed int // idle connections found closed by a client that looks; no failure

	Steady   Histogram // latencies of the OK requests outside every window
	InWindow Histogram // and of those during part of which a window was open
	Series   []Point   // by the time at which requests ended, Result.Interval each, from Result.Start
}

// Point is one interval of a [Stat.Series].
type Point struct {
	OK     int
	Failed int
	Max    time.Duration // the longest latency of its OK requests
}

// Window is a time marked by [Runner.Window], such as an upgrade.
type Window struct {
	Start time.Time
	End   time.Time // zero = still open
}

// Answers counts the answers in which one process gave its name.
type Answers struct {
	Generation, PID int
	Count           int
	First, Last     time.Time // when they came
}

// Total returns the sum of all kinds, without Series; its Kind is "total".
func (r *Result) Total() Stat {
	t := Stat{Kind: "total"}
	for i := range r.Kinds {
		k := &r.Kinds[i]
		t.OK += k.OK
		t.Failed += k.Failed
		t.Dials += k.Dials
		t.Announced += k.Announced
		t.IdleClosed += k.IdleClosed
		t.Steady.Merge(&k.Steady)
		t.InWindow.Merge(&k.InWindow)
	}
	return t
}

// String returns a table of the kinds, followed by the failures, a line each.
func (r *Result) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "kind\tok\tfailed\tdials\tannounced\tidle closed\tsteady\tin a window")
	for _, k := range append(slices.Clip(r.Kinds), r.Total()) {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%v\t%v\n",
			k.Kind, k.OK, k.Failed, k.Dials, k.Announced, k.IdleClosed, &k.Steady, &k.InWindow)
	}
	w.Flush()
	for i := range r.Failures {
		f := &r.Failures[i]
		fmt.Fprintf(&b, "%v %v\n", f.When.Sub(r.Start).Round(time.Microsecond), f)
	}
	return b.String()
}

// add counts a finished request.
func (s *Stat) add(o *Outcome, interval int, inWindow bool) {
	count := func(n *int, yes bool) {
		if yes {
			*n++
		}
	}
	count(&s.Dials, o.Dialed)
	count(&s.Announced, o.Announced)
	count(&s.IdleClosed, o.IdleClosed)
	if missing := interval + 1 - len(s.Series); missing > 0 {
		s.Series = append(s.Series, make([]Point, missing)...)
	}
	p := &s.Series[interval]
	if o.Failure != nil {
		s.Failed++
		p.Failed++
		return
	}
	s.OK++
	p.OK++
	p.Max = max(p.Max, o.Latency)
	if inWindow {
		s.InWindow.Add(o.Latency)
	} else {
		s.Steady.Add(o.Latency)
	}
}

func (s *Stat) clone() Stat {
	c := *s
	c.Steady.counts = slices.Clone(s.Steady.counts)
	c.InWindow.counts = slices.Clone(s.InWindow.counts)
	c.Series = slices.Clone(s.Series)
	return c
}

// Snapshot is a Runner's state in a few words.
type Snapshot struct {
	Elapsed    time.Duration
	OK         int
	Failed     int
	IdleClosed int
	InFlight   int // requests now under way
	Generation int // the newest that has answered; 0 = none said
	PID        int // and its process
	InWindow   bool
}

// String returns a progress line.
func (s Snapshot) String() string {
	return fmt.Sprintf("%6.1fs  %d ok  %d failed  %d in flight  generation %d (pid %d)",
		s.Elapsed.Seconds(), s.OK, s.Failed, s.InFlight, s.Generation, s.PID)
}
