package experiment

import (
	"slices"
	"testing"

	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/load"
)

func TestLossPlan(t *testing.T) {
	t.Parallel()
	mine, other := peer.Find(ours), peer.Find(tableflip)
	for _, tt := range []struct {
		env                  Env
		rounds, mine, others int // the latter two in each round
	}{
		{Env{Upgrades: 1000}, 6, 167, 4},
		{Env{Upgrades: 100}, 5, 20, 1},
		{Env{Upgrades: 101}, 5, 21, 1},
		{Env{Upgrades: 1}, 1, 1, 1},
		{Env{}, 1, 1, 1},
		{Env{Upgrades: 1000, Quick: true}, 1, 5, 1},
	} {
		rounds, share := lossPlan(&tt.env)
		if rounds != tt.rounds || share(mine) != tt.mine || share(other) != tt.others {
			t.Errorf("%d upgrades, quick %v: %d rounds of %d and %d", tt.env.Upgrades, tt.env.Quick, rounds, share(mine), share(other))
		}
	}
}

// Every stage has its column, and only the clients that idle for long are
// excused, and only for what idling costs.
func TestLossCounts(t *testing.T) {
	t.Parallel()
	l := &loser{entrant: &entrant{kind: peer.Find(ours)}, modes: map[string]tally{}, classes: map[class]int{}}
	const busy, idle = "TLS", "idle, looks"
	res := &load.Result{Kinds: []load.Stat{{Kind: busy, OK: 95, Failed: 5}, {Kind: idle, OK: 96, Failed: 4}}}
	for _, f := range []load.Failure{
		{Kind: busy, Stage: load.StageEOFBefore, Reused: true},
		{Kind: busy, Stage: load.StageEOFBefore},
		{Kind: busy, Stage: load.StageRefused},
		{Kind: busy, Stage: load.StageEOFInside, Reused: true},
		{Kind: busy, Stage: load.StageTimeout},
		{Kind: idle, Stage: load.StageEOFBefore, Reused: true},   // excused
		{Kind: idle, Stage: load.StageResetBefore, Reused: true}, // excused
		{Kind: idle, Stage: load.StageEOFBefore},
		{Kind: idle, Stage: load.StageEOFInside, Reused: true},
	} {
		f.Err = errDied
		res.Failures = append(res.Failures, f)
	}
	l.upgrades = 2
	l.add(res, 2)
	if got, want := l.modes[busy], (tally{requests: 100, failed: 5}); got != want {
		t.Errorf("%s: %+v, want %+v", busy, got, want)
	}
	if got, want := l.modes[idle], (tally{requests: 100, failed: 2, excused: 2}); got != want {
		t.Errorf("%s: %+v, want %+v", idle, got, want)
	}
	for c, n := range l.classes {
		if !slices.Contains(classes(), c) {
			t.Errorf("%d failures of class %q, which no column has", n, c)
		}
	}
	if n := l.classes["EOF before answer, reused"]; n != 1 {
		t.Errorf("%d of the class that is excused for one kind only, want 1", n)
	}
	if got := l.goal(); got.Met || got.Got != "7 of 200, in 2 upgrades" || len(l.faults()) != 7 {
		t.Errorf("%+v, faults %q", got, l.faults())
	}
}

func TestShort(t *testing.T) {
	t.Parallel()
	for x, want := range map[float64]string{0: "0", 0.0012345: "0.0012", 0.25: "0.25", 3.456: "3.46", 2040.83: "2040.8"} {
		if got := short(x); got != want {
			t.Errorf("short(%v) = %q, want %q", x, got, want)
		}
	}
}
