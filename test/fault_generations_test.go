//go:build linux

package test

import (
	"fmt"
	"strings"
	"testing"
)

// generations returns a scene of four generations, of which the older three have
// a request in hand each, and the requests.
func generations(t *testing.T) (s *scene, requests []*slow) {
	s = newScene(t, times{}, nil)
	for generation := 2; generation <= 4; generation++ {
		requests = append(requests, s.slowRequest())
		s.hup()
		s.serves(generation)
		s.logs(fmt.Sprintf("generation=%d ", generation-1), "upgrade committed") // from now on it does not serve on
	}
	return s, requests
}

// TestTERMWhileThreeDrain stops the service: the requests in hand are finished,
// and the newest generation exits last.
func TestTERMWhileThreeDrain(t *testing.T) {
	t.Parallel()
	s, requests := generations(t)
	newest := s.owner()
	s.term(newest)
	s.logs("generation=4", "draining")
	for _, r := range requests {
		r.finish()
		s.gone(r.pid())
	}
	s.gone(newest)
	s.logs("generation=4", "msg=done")
	s.leavesNothing()
	exits := s.Log()
	for _, older := range []string{"generation=1", "generation=2", "generation=3"} {
		if strings.Index(exits, "msg=done service=service "+older) > strings.Index(exits, "msg=done service=service generation=4") {
			t.Errorf("%s was done after the newest one", older)
		}
	}
}

// TestMiddleKilled kills one of those that drain. The others finish, and the next
// upgrade works.
func TestMiddleKilled(t *testing.T) {
	t.Parallel()
	s, requests := generations(t)
	s.startLoad()
	s.kill(requests[1].pid())
	requests[0].finish()
	requests[2].finish()
	s.alone()
	s.endLoad()
	s.countsAs(normalSuccessor(t))
	s.startLoad()
	s.upgrade()
	s.alone()
	s.endLoad()
	s.finish()
}

// TestMiddleKilledThenTERM has the newest wait for one whose own successor is dead.
func TestMiddleKilledThenTERM(t *testing.T) {
	t.Parallel()
	s, requests := generations(t)
	newest := s.owner()
	s.kill(requests[1].pid())
	s.term(newest)
	s.logs("generation=4", "draining")
	requests[2].finish()
	requests[0].finish()
	s.must(s.Gone(s.ctx))
	s.leavesNothing()
}

// TestNewestKilled leaves the older ones to finish what they have in hand.
func TestNewestKilled(t *testing.T) {
	t.Parallel()
	s, requests := generations(t)
	s.kill(s.owner())
	for _, r := range requests {
		r.finish()
	}
	s.must(s.Gone(s.ctx))
	s.must(s.Restart())
	s.serves(1)
	s.finish()
}
