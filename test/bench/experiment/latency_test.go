package experiment

import (
	"testing"
	"time"

	"github.com/gracerun/grace/test/bench/peer"
)

const before, after = 10, 20 // pids

// madeUp is a turn in which requests take 1 ms, and 9 ms for 50 ms after the
// trigger; at 70 ms the old process answers for the last time. One fails.
func madeUp() []sample {
	const ms = time.Millisecond
	list := []sample{{due: 30 * ms, end: 31 * ms, failed: true}}
	for due := -600 * ms; due < latencyMost; due += ms {
		s := sample{due: due, end: due + ms, pid: before}
		if due >= 0 && due < 50*ms {
			s.end = due + 9*ms
		}
		if due >= 70*ms {
			s.pid = after
		}
		list = append(list, s)
	}
	return list
}

func TestLatencyWindow(t *testing.T) {
	t.Parallel()
	d := newDelay(&entrant{Server: new(peer.Server), kind: peer.Find(ours)})
	d.add(madeUp(), []int{before})
	if d.out != nil || d.Newest() != after {
		t.Fatalf("%d is the newest, %v", d.Newest(), d.out)
	}
	if d.windows[0] != 170 {
		t.Errorf("the window is %v ms long, want 170", d.windows[0])
	}
	if n := d.steady.TotalCount(); n != 500 || d.steady.Max() != 1000 {
		t.Errorf("steady: %d requests, the longest %d us", n, d.steady.Max())
	}
	if n, most := d.window.TotalCount(), d.window.ValueAtQuantile(100); n != 171 || most < 9000 || most > 9010 {
		t.Errorf("window: %d requests, the longest %d us", n, most)
	}
	if d.failed != 1 {
		t.Errorf("%d failed, want 1", d.failed)
	}
	if r := d.ratio(); r < 8.9 || r > 9.1 {
		t.Errorf("ratio %v, want 9", r)
	}
	points := d.series().Points
	if n := len(points); n != 35 || points[0].X != -90 || points[0].Y != 1 || points[5].Y != 9 {
		t.Errorf("%d points: %v", n, points)
	}
}

func TestLatencyWithoutNewProcess(t *testing.T) {
	t.Parallel()
	d := newDelay(&entrant{Server: new(peer.Server), kind: peer.Find(ours)})
	d.add([]sample{{due: time.Millisecond, end: 2 * time.Millisecond, pid: before}}, []int{before})
	if d.out == nil || len(d.faults()) == 0 {
		t.Error("no fault")
	}
}
