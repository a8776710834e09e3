// Package experiment measures: one file for each question, each of which ends in
// a [report.Section]. Peers take turns within a run, so that whatever else the
// machine does hits all of them.
package experiment

import (
	"context"

	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/bench/report"
)

// An Experiment answers one question.
type Experiment struct {
	Name string // for the flag -run: "loss"
	Run  func(context.Context, *Env) (*report.Section, error)
}

// All returns the experiments in the order of the report.
func All() []Experiment {
	return []Experiment{
		{"loss", loss},
		{"speed", speed},
		{"gone", oldGone},
		{"latency", latency},
		{"memory", memory},
		{"leaks", leaks},
		{"broken", broken},
		{"triggers", triggers},
		{"growth", growth},
		{"steady", steady},
	}
}

// Env is what experiments share.
type Env struct {
	Builder  *peer.Builder
	Kinds    []*peer.Kind // what is compared, without those missing on this machine
	Quick    bool         // two minutes for all experiments: what can go wrong is looked for, figures are rough
	Upgrades int          // of gracerun under load, in all; the others have a share
	Progress func(format string, args ...any)
}
