//go:build linux

package test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/gracerun/grace/test/load"
)

// A service with 1,000 tasks in hand, each of them of random length, is replaced
// again and again: each task begins once and ends once, none is cut short, and
// each generation leaves as soon as the last of its own has ended.
func TestThousandTasksInHand(t *testing.T) {
	t.Parallel()
	const crowd = 1000
	n := upgrades(t)
	s := startSubject(t, "task/crowd")
	s.serves()
	for range n {
		s.upgrade()
		load.Pause(t.Context(), rand.N(60*time.Millisecond))
	}
	s.stop()
	s.noErrors()
	h := s.tracks()
	h.eachOnce(t, s.dir)
	h.inHandAtDrain(t, n+1, crowd*9/10)
	h.leftAtOnce(t, n)
}

// eachOnce proves that each number which was drawn began once and ended once, in
// the same process and to its end.
func (h tracks) eachOnce(t *testing.T, dir string) {
	t.Helper()
	drawn, err := os.Stat(filepath.Join(dir, "tickets"))
	if err != nil {
		t.Fatal(err)
	}
	type fate struct{ began, ended []record }
	fates := make([]fate, drawn.Size()+1) // the first number is 1
	for _, r := range h {
		switch r.What {
		case "begin":
			fates[r.Item].began = append(fates[r.Item].began, r)
		case "end":
			fates[r.Item].ended = append(fates[r.Item].ended, r)
		case "cut", "refused":
			t.Errorf("%s %d: %s in generation %d at %v", r.Task, r.Item, r.What, r.Generation, r.At)
		}
	}
	for i, f := range fates[1:] {
		if len(f.began) != 1 || len(f.ended) != 1 || f.began[0].PID != f.ended[0].PID {
			t.Errorf("number %d began %v and ended %v", i+1, f.began, f.ended)
		}
	}
	t.Logf("%d tasks: %v", drawn.Size(), h.count("end"))
}

// inHandAtDrain proves that there was something to lose: so many tasks were in
// hand, on average, when the drains began.
func (h tracks) inHandAtDrain(t *testing.T, drains, least int) {
	t.Helper()
	inHand := map[int]int{} // by process
	var at []int
	for _, r := range h {
		switch r.What {
		case "begin":
			inHand[r.PID]++
		case "end":
			inHand[r.PID]--
		case "drain":
			at = append(at, inHand[r.PID])
		}
	}
	sum := 0
	for _, n := range at {
		sum += n
	}
	t.Logf("in hand when the drains began: %d on average, %d at least", sum/len(at), slices.Min(at))
	if len(at) != drains || sum < least*drains {
		t.Errorf("%d drains began with %d tasks in hand in all, want %d with %d each", len(at), sum, drains, least)
	}
}

// leftAtOnce proves that generations which were replaced are done when the last
// task is. The figure is what each of them measured itself. (The last generation
// has none: it waits for the older ones.)
func (h tracks) leftAtOnce(t *testing.T, generations int) {
	t.Helper()
	const most = 5 * time.Millisecond
	var after []time.Duration
	for _, r := range h {
		if r.What == "gone" && r.Generation <= generations {
			after = append(after, time.Duration(r.Item))
		}
	}
	if len(after) != generations {
		t.Fatalf("%d generations came to their end, want %d", len(after), generations)
	}
	slices.Sort(after)
	median := after[len(after)/2]
	t.Logf("from the end of the last task to the end of the generation: median %v, most %v", median, after[len(after)-1])
	if median > most {
		t.Errorf("half of the generations took longer than %v after their last task: %v", median, after)
	}
}
