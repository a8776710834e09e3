package command

import (
	"testing"
	"time"
)

// These tests are in the package: what decides has no face.

// TestBackoff: the pause doubles up to the cap, and begins anew after a good run.
func TestBackoff(t *testing.T) {
	t.Parallel()
	s := Spec{Backoff: 100 * time.Millisecond, MaxBackoff: time.Second}
	var h history
	for i, c := range []struct{ ran, want time.Duration }{
		{0, 100 * time.Millisecond},
		{0, 200 * time.Millisecond},
		{0, 400 * time.Millisecond},
		{999 * time.Millisecond, 800 * time.Millisecond},
		{0, time.Second},
		{0, time.Second},
		{time.Second, 100 * time.Millisecond},
		{0, 200 * time.Millisecond},
	} {
		if got := h.next(s, c.ran); h.Pause != c.want || got < c.want/2 || got > c.want {
			t.Errorf("pause %d: %v of %v, want up to %v", i, got, h.Pause, c.want)
		}
	}
}

// TestNoBackoff: no pause stays none.
func TestNoBackoff(t *testing.T) {
	t.Parallel()
	for _, s := range []Spec{{}, {Backoff: time.Second}, {MaxBackoff: time.Second}} {
		var h history
		for range 3 {
			if got := h.next(s, 0); got != 0 {
				t.Errorf("%+v: %v", s, got)
			}
		}
	}
}

// TestBackoffIsSpread: many programs that failed at once do not come back at once.
func TestBackoffIsSpread(t *testing.T) {
	t.Parallel()
	seen := map[time.Duration]bool{}
	for range 100 {
		var h history
		seen[h.next(Spec{Backoff: time.Second, MaxBackoff: time.Minute}, 0)] = true
	}
	if len(seen) < 90 {
		t.Errorf("100 pauses have %d values", len(seen))
	}
}

func TestGivingUp(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1e9, 0)
	for name, c := range map[string]struct {
		spec  Spec
		every time.Duration
		want  int // which failure is one too many; 0: none of 2,000
	}{
		"the default":         {Spec{FailurePeriod: time.Minute}, time.Second, 10},
		"three":               {Spec{Failures: 3, FailurePeriod: time.Minute}, time.Second, 3},
		"the first":           {Spec{Failures: 1, FailurePeriod: time.Minute}, time.Second, 1},
		"too seldom":          {Spec{Failures: 3, FailurePeriod: time.Minute}, 31 * time.Second, 0},
		"just often enough":   {Spec{Failures: 3, FailurePeriod: time.Minute}, 30 * time.Second, 3},
		"never":               {Spec{Failures: -1, FailurePeriod: time.Minute}, 0, 0},
		"as many as can be":   {Spec{Failures: maxFailures}, time.Second, maxFailures},
		"without a period":    {Spec{Failures: 5}, 24 * time.Hour, 5},
		"never, and no limit": {Spec{Failures: -1}, time.Second, 0},
	} {
		var h history
		got := 0
		for i := range 2000 {
			if h.fail(c.spec, begin.Add(time.Duration(i)*c.every)) {
				got = i + 1
				break
			}
		}
		if got != c.want || len(h.Failures) > maxFailures {
			t.Errorf("%s: given up after %d, want %d; %d kept", name, got, c.want, len(h.Failures))
		}
	}
}
