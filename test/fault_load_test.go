//go:build linux

package test

import (
	"context"
	"sync"
	"time"

	"github.com/gracerun/grace/test/load"
)

// startLoad begins a load of clients that never try again.
func (s *scene) startLoad() {
	s.t.Helper()
	address, err := s.Address()
	s.must(err)
	tcp := load.Target{Address: address}
	unix := load.Target{Network: "unix", Address: s.socket()}
	ctx, cancel := context.WithCancel(context.Background())
	var r load.Runner
	var wg sync.WaitGroup
	wg.Go(func() {
		r.Run(ctx,
			load.Group{Kind: "keep-alive", N: 3, Think: 5 * time.Millisecond, New: func() load.Client { return &load.KeepAlive{Target: tcp} }},
			load.Group{Kind: "fresh", Think: 5 * time.Millisecond, New: func() load.Client { return &load.Fresh{Target: tcp} }},
			load.Group{Kind: "unix", Think: 10 * time.Millisecond, New: func() load.Client { return &load.Fresh{Target: unix} }},
		)
	})
	s.stopLoad = func() *load.Result {
		answered, giveUp := context.WithTimeout(s.ctx, 5*time.Second)
		defer giveUp()
		for r.Snapshot().OK == 0 && load.Pause(answered, time.Millisecond) { // what came before may have taken no time
		}
		cancel()
		wg.Wait()
		return r.Result()
	}
}

// endLoad ends the load and checks that nothing was lost but what a killed
// process held itself.
func (s *scene) endLoad() {
	s.t.Helper()
	res := s.stopLoad()
	s.stopLoad = nil
	inDeadHands := 0
	for i := range res.Failures {
		if s.explained(&res.Failures[i]) {
			inDeadHands++
			continue
		}
		s.t.Errorf("lost: %v", &res.Failures[i])
	}
	if res.Total().OK == 0 {
		s.t.Error("not one request was answered")
	}
	s.t.Logf("%d requests, lost %d, in the hands of a killed process %d", res.Total().OK, len(res.Failures)-inDeadHands, inDeadHands)
}

// explained reports whether a killed process held the request: its connection
// was that process's, or, where no answer has said whose it was, was opened
// before the death. That nobody listens is never explained.
func (s *scene) explained(f *load.Failure) bool {
	switch f.Stage {
	case load.StageEOFBefore, load.StageEOFInside, load.StageResetBefore, load.StageResetInside:
	default:
		return false
	}
	for _, k := range s.killed {
		if f.PID == k.pid || f.PID == 0 && f.When.Add(-f.After).Before(k.at) {
			return true
		}
	}
	return false
}
