package experiment

import (
	"slices"

	"github.com/gracerun/grace/test/bench/peer"
)

// able returns the kinds that can do what.
func (e *Env) able(what peer.Set) []*peer.Kind {
	return slices.DeleteFunc(slices.Clone(e.Kinds), func(k *peer.Kind) bool { return !k.Can(what) })
}

// pick returns the kinds that can do what; when Quick, only those named.
func (e *Env) pick(what peer.Set, quick ...string) []*peer.Kind {
	able := e.able(what)
	if !e.Quick {
		return able
	}
	return slices.DeleteFunc(able, func(k *peer.Kind) bool { return !slices.Contains(quick, k.Name) })
}

// The names of the kinds that goals speak of.
const (
	ours      = "gracerun"
	plain     = "plain net/http"
	tableflip = "tableflip"
)

// turn returns a round's order of those that take turns: each round begins with
// another one, and half of them go backwards, so that none is always the first or
// the next after the same.
func turn[T any](all []T, round int) []T {
	if len(all) == 0 {
		return nil
	}
	at := round % len(all)
	order := slices.Concat(all[at:], all[:at])
	if round/len(all)%2 == 1 {
		slices.Reverse(order)
	}
	return order
}
