//go:build linux

package test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/test/load"
)

// Requests of 3 s, and an upgrade every 300 ms: generations overlap up to the
// cap. There an upgrade waits, says for whom, and goes on when that one is done;
// every request is finished by the generation that took it.
func TestGenerationsOverlapUpToTheCap(t *testing.T) {
	t.Parallel()
	const (
		generations = 4
		request     = 3 * time.Second
		every       = 300 * time.Millisecond
		last        = generations + 2
	)
	s := startSite(t, "service", 0, "-generations", fmt.Sprint(generations), "-probation", "20ms")
	alive := s.watchAlive(t)
	var requests sync.WaitGroup
	pids := []int{s.First}
	for n := 1; n < last; n++ {
		if n <= generations {
			requests.Go(s.slowRequest(t, n, request))
			s.asleep(t)
		}
		next := time.After(every)
		if err := s.Signal(pids[n-1], syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		if n == generations {
			s.waitsFor(t, 1, pids[0], generations)
		}
		pid, err := s.Generation(t.Context(), n+1)
		if err != nil {
			t.Fatalf("%v\n%s", err, s.Log())
		}
		pids = append(pids, pid)
		<-next
	}
	requests.Wait()
	if most := alive(); most != generations {
		t.Errorf("at most %d generations were alive at once, want %d", most, generations)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	s.noErrors(t)
}

// slowRequest returns a function that makes a request and tells who answered it.
func (s *site) slowRequest(t *testing.T, generation int, d time.Duration) func() {
	return func() {
		c := load.Slow{Target: s.plain, Sleep: d}
		o := c.Do()
		if o.Failure != nil {
			t.Errorf("the request that generation %d took: %v", generation, o.Failure)
		} else if o.Generation != generation {
			t.Errorf("generation %d answered what generation %d took", o.Generation, generation)
		}
	}
}

// asleep waits until the process that accepts has a slow request in hand.
func (s *site) asleep(t *testing.T) {
	t.Helper()
	err := until(t.Context(), func() error {
		text, err := s.Get(t.Context(), "/sleeping")
		if err == nil && text == "0\n" {
			err = errors.New("no slow request is in hand")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// waitsFor fails the test unless the log says that an upgrade waits at the cap,
// for whom, and for what.
func (s *site) waitsFor(t *testing.T, generation, pid, limit int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second) // long before it is done
	defer cancel()
	for _, words := range [][]string{
		{"upgrade waits", fmt.Sprintf("limit=%d", limit), fmt.Sprintf("generation=%d ", generation), fmt.Sprintf("pid=%d", pid)},
		{"waiting for an older generation", fmt.Sprintf("older=%d", generation), fmt.Sprintf("pid=%d", pid), "tcp 127.0.0.1:0", ": 1"},
	} {
		if _, err := s.Logged(ctx, 0, words...); err != nil {
			t.Errorf("%v\n%s", err, s.Log())
		}
	}
}

// watchAlive counts the living processes until the function that it returns is
// called, which tells how many there were at most.
func (s *site) watchAlive(t *testing.T) func() int {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	most := 0
	wg.Go(func() {
		for load.Pause(ctx, 10*time.Millisecond) {
			all, err := s.Processes()
			if err != nil {
				t.Error(err)
				return
			}
			n := 0
			for _, p := range all {
				if p.State != 'Z' { // dead, and its parent did not look yet
					n++
				}
			}
			most = max(most, n)
		}
	})
	t.Cleanup(cancel)
	return func() int {
		cancel()
		wg.Wait()
		return most
	}
}

// When nothing idles the old process is gone at once with its last answer. What
// calls http.Server.Shutdown is not: that looks at its connections again and
// again, in the end every half second.
func TestGoneWithTheLastAnswer(t *testing.T) {
	t.Parallel()
	ours := startSite(t, "service", 0, "-probation", "20ms")
	theirs := startSite(t, "recipe", 0)
	const (
		rounds  = 4
		request = 800 * time.Millisecond // in the middle between two of the late looks
	)
	var stays, polls []time.Duration
	for range rounds {
		stays = append(stays, ours.stay(t, request, func(ctx context.Context) error {
			_, err := ours.Upgrade(ctx)
			return err
		}))
		polls = append(polls, theirs.stay(t, request, theirs.replaceRecipe))
	}
	slices.Sort(stays)
	slices.Sort(polls)
	t.Logf("after its last answer the old process stayed for %v; with Shutdown, for %v", stays, polls)
	// The best round is what the program does, the others are what the machine
	// adds: there may be more to run than it has processors. Of what polls the worst is:
	// on such a machine a look can happen to come with the last answer.
	best, worst := stays[0], polls[rounds-1]
	if best > 10*time.Millisecond {
		t.Errorf("the old process stayed for at least %v after its last answer", best)
	}
	if best > worst/2 {
		t.Errorf("the old process stayed for at least %v, with a Shutdown that polls for at most %v", best, worst)
	}
}

// stay replaces the service while it has a request in hand, and returns for how
// long the old process was there after the client had its answer.
func (s *site) stay(t *testing.T, request time.Duration, replace func(context.Context) error) time.Duration {
	t.Helper()
	_, old, err := s.Who(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var answered, exited atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	wg.Go(func() {
		c := load.Slow{Target: s.plain, Sleep: request}
		o := c.Do()
		answered.Store(int64(time.Since(start)))
		if o.Failure != nil || o.PID != old {
			t.Errorf("pid %d, not %d, answered: %v", o.PID, old, o.Failure)
		}
	})
	wg.Go(func() {
		if err := s.Exited(t.Context(), old); err != nil {
			t.Error(err)
		}
		exited.Store(int64(time.Since(start)))
	})
	s.asleep(t)
	if err := replace(t.Context()); err != nil {
		t.Errorf("%v\n%s", err, s.Log())
	}
	wg.Wait()
	return time.Duration(exited.Load() - answered.Load())
}
