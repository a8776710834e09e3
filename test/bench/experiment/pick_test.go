package experiment

import "testing"

// Each takes every place equally often, and is not always after the same.
func TestTurn(t *testing.T) {
	all := []string{"a", "b", "c"}
	place, after := map[string]map[int]int{}, map[string]int{}
	for round := range 6 {
		order := turn(all, round)
		for i, name := range order {
			if place[name] == nil {
				place[name] = map[int]int{}
			}
			place[name][i]++
			if i > 0 {
				after[order[i-1]+name]++
			}
		}
	}
	for _, name := range all {
		for i := range all {
			if place[name][i] != 2 {
				t.Errorf("%s is %d times at place %d, want 2", name, place[name][i], i)
			}
		}
	}
	for _, pair := range []string{"ab", "ba", "bc", "cb", "ca", "ac"} {
		if after[pair] != 2 {
			t.Errorf("%s: %d times, want 2", pair, after[pair])
		}
	}
	if got := turn([]string(nil), 3); got != nil {
		t.Errorf("turn of nobody = %v", got)
	}
}
