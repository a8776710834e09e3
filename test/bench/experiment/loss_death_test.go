package experiment

import (
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/test/bench/peer"
)

// A server that dies is noticed, and started anew until the third time; what was
// lost meanwhile is not counted for its upgrades.
func TestLossNoticesDeath(t *testing.T) {
	var b peer.Builder
	defer b.Close()
	env := &Env{Builder: &b, Quick: true, Progress: t.Logf}
	l := &loser{
		entrant: &entrant{kind: peer.Find(rawLimit)}, env: env,
		modes: map[string]tally{}, classes: map[class]int{},
	}
	l.start(t.Context(), env, lossConfig())
	if l.out != nil {
		t.Fatal(l.out)
	}
	defer func() { l.Close() }()
	for want := 1; want <= 3; want++ {
		begin := time.Now()
		if err := l.Signal(l.Newest(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		l.turn(t.Context(), 2)
		if l.deaths != want || l.upgrades != 0 || l.total().requests != 0 || (l.out == nil) != (want < 3) {
			t.Fatalf("%d deaths, %d upgrades, %+v, out: %v", l.deaths, l.upgrades, l.total(), l.out)
		}
		t.Logf("after %v", time.Since(begin))
	}
	l.turn(t.Context(), 1) // nothing happens
	if l.deaths != 3 {
		t.Errorf("%d deaths", l.deaths)
	}
}
