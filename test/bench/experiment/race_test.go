package experiment

import (
	"context"
	"errors"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/test/bench/peer"
)

func TestRace(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	r := &race{
		fleet: fleet{{kind: peer.Find(ours)}, {kind: peer.Find(tableflip)}, {kind: peer.Find(rawLimit)}},
		rounds: []lap{
			{7 * ms, 5 * ms, 4 * ms},
			{6 * ms, 0, 4 * ms}, // exactly 1.25 times and 1 ms
			{8 * ms, 4 * ms, 0},
			{8 * ms, 4 * ms, 8 * ms},
		},
	}
	mine, raw := r.index(ours), r.index(rawLimit)
	if got, want := r.ratios(mine, raw), []float64{1.75, 1.5, 1}; !slices.Equal(got, want) {
		t.Errorf("ratios %v, want %v", got, want)
	}
	if got := r.ratios(mine, -1); got != nil {
		t.Errorf("ratios to nobody: %v", got)
	}
	if yes, of := r.near(mine); yes != 2 || of != 3 {
		t.Errorf("near in %d of %d rounds, want 2 of 3", yes, of)
	}
	all := func(*entrant) bool { return true }
	if i := r.fastest(all); i != r.index(tableflip) {
		t.Errorf("%d is the fastest", i)
	}
	goals := r.goals()
	if got := goals[0]; !got.Met || got.Got != "1.50 times; 2 of 3 rounds within" {
		t.Errorf("%+v", got)
	}
	if got := goals[1]; got.Met || got.Got != "2.00 times tableflip" {
		t.Errorf("%+v", got)
	}
	if got := r.table().Rows[1]; !slices.Equal(got[:3], []string{tableflip, "3", "4.0"}) {
		t.Errorf("row %q", got)
	}
}

// A race of nobody else is not measured against anybody.
func TestRaceAlone(t *testing.T) {
	t.Parallel()
	r := &race{fleet: fleet{{kind: peer.Find(ours)}}, rounds: []lap{{time.Millisecond}}}
	for _, g := range r.goals() {
		if g.Met || g.Got != "not measured" {
			t.Errorf("%+v", g)
		}
	}
}

// Those that take turns are upgraded once a round, and one that dies is started
// anew.
func TestFleet(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var b peer.Builder
	defer b.Close()
	env := &Env{Builder: &b, Progress: t.Logf}
	f := launch(ctx, env, []*peer.Kind{peer.Find(ours), peer.Find(rawLimit)}, peer.Config{Listeners: 2, Probation: 10 * time.Millisecond})
	defer f.close()
	first, last := run(ctx, env, "test", f, 2)
	for i, e := range f {
		if len(first.times(i)) != 2 || len(last.times(i)) != 2 || len(e.troubles()) > 0 {
			t.Errorf("%s: %v and %v, %q", e.kind.Name, first.times(i), last.times(i), e.troubles())
		}
	}
	e := f.find(ours)
	dead, err := e.settled(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Signal(dead[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	e.Exited(ctx, dead[0])
	run(ctx, env, "test", f, 2)
	if len(e.mishaps) != 1 || !errors.Is(e.mishaps[0], errDied) || len(f.faults("test")) != 1 {
		t.Errorf("%q", e.troubles())
	}
	if now, err := e.settled(ctx); err != nil || slices.Equal(now, dead) {
		t.Errorf("%v, %v", now, err)
	}
}

func TestThousands(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 10_007: "10,007", 1_234_567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %q, want %q", n, got, want)
		}
	}
}
