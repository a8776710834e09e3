package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gracerun/grace/test/load"
)

const (
	sleep  = 1200 * time.Millisecond // of a slow request: longer than an upgrade takes
	stream = 2 * time.Second
)

// clients are those that keep the service busy. None sends a request twice.
func clients(address string) []load.Group {
	target := load.Target{Address: address, Timeout: 5 * time.Second}
	return []load.Group{
		{Kind: "keep-alive", N: 16, Think: 2 * time.Millisecond, ThinkMax: 20 * time.Millisecond,
			New: func() load.Client { return &load.KeepAlive{Target: target} }},
		{Kind: "fresh POST", N: 4, Think: 5 * time.Millisecond, ThinkMax: 15 * time.Millisecond,
			New: func() load.Client { return &load.Fresh{Target: target} }},
		{Kind: "fresh GET", N: 2, Think: time.Millisecond, ThinkMax: 5 * time.Millisecond,
			New: func() load.Client { return &visitor{load.KeepAlive{Target: target}} }},
		{Kind: "slow", N: 2, New: func() load.Client { return &load.Slow{Target: target, Sleep: sleep} }},
		{Kind: "stream", N: 2, New: func() load.Client { return &load.Stream{Target: target, For: stream} }},
	}
}

// visitor asks GET / on a new connection: the answer names the process that gave
// it, so this client is the first to meet a new one.
type visitor struct{ load.KeepAlive }

func (v *visitor) Do() load.Outcome {
	defer v.Close()
	return v.KeepAlive.Do()
}

// running is the load while it runs.
type running struct {
	load.Runner
	began time.Time
	stop  context.CancelFunc // no new requests; those in hand go on
	done  chan struct{}
}

func begin(groups []load.Group) *running {
	ctx, stop := context.WithCancel(context.Background())
	l := &running{began: time.Now(), stop: stop, done: make(chan struct{})}
	l.Interval = 50 * time.Millisecond // about a column of the picture, or less
	go func() {
		defer close(l.done)
		l.Run(ctx, groups...)
	}()
	return l
}

// wait returns what was seen, when the last request has ended.
func (l *running) wait() *load.Result {
	<-l.done
	return l.Result()
}

// line says how it goes. crashed is how many of the failures are the doing of the
// program that crashed.
func (l *running) line(step, steps int, program string, crashed int) string {
	s := l.Snapshot()
	bar := strings.Repeat("#", step) + strings.Repeat(".", steps-step)
	doing := "next: "
	if s.InWindow {
		doing = "SIGHUP"
	}
	text := fmt.Sprintf("[%s] %s %-7s  %s requests, %d failed", bar, doing, program, comma(s.OK), s.Failed)
	if crashed > 0 {
		text += fmt.Sprintf(" (%d with the crash)", crashed)
	}
	return text
}

// quick returns the kinds whose latency is the service's own: a slow request and
// a stream take as long as they are told to.
func quick(r *load.Result) []load.Stat {
	return slices.DeleteFunc(slices.Clone(r.Kinds), func(k load.Stat) bool {
		return k.Kind == "slow" || k.Kind == "stream"
	})
}

// sort divides the failures into those that the process held that was made to
// crash, which ended with it, and those that must not be: lost. A client knows
// whom it talks to by an earlier answer on the same connection. A connection
// without one is taken to be that process's if it was opened after it was started
// and broke when it died.
func sort(failures []load.Failure, tries []try) (lost, crashed []load.Failure) {
	for _, f := range failures {
		if slices.ContainsFunc(tries, func(t try) bool { return held(t, f) }) {
			crashed = append(crashed, f)
		} else {
			lost = append(lost, f)
		}
	}
	return lost, crashed
}

func held(t try, f load.Failure) bool {
	if t.program != "crashes" {
		return false
	}
	if f.PID != 0 {
		return f.PID == t.pid
	}
	switch f.Stage {
	case load.StageEOFBefore, load.StageEOFInside, load.StageResetBefore, load.StageResetInside:
		opened := f.When.Add(-f.After)
		return opened.After(t.began) && f.When.Before(t.began.Add(t.took+settle))
	}
	return false
}

// firstAnswers are the times from SIGHUP to the first answer that a new process
// gave, for the upgrades that were done.
func firstAnswers(r *load.Result, tries []try) (h load.Histogram) {
	for _, t := range tries {
		i := slices.IndexFunc(r.Answers, func(a load.Answers) bool { return a.PID == t.pid })
		if t.stage == "" && i >= 0 {
			h.Add(r.Answers[i].First.Sub(t.began))
		}
	}
	return h
}
