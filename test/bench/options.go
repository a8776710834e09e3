package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gracerun/grace/test/bench/experiment"
	"github.com/gracerun/grace/test/bench/peer"
)

// fullUpgrades is the number of upgrades that a result rests on.
const fullUpgrades = 1000

// options are what the flags ask for.
type options struct {
	quick, list bool
	upgrades    int
	experiments []experiment.Experiment
	kinds       []*peer.Kind
	command     string // with the flags that change what is measured
	out         string // directory of the report; "" = none is written
	readme      string // file of the headline; "" = none
}

// parse reads the flags. Its errors say what would be right.
func (b *bench) parse(args []string) (*options, error) {
	var o options
	var run, peers string
	set := flag.NewFlagSet("go run ./test/bench", flag.ContinueOnError)
	set.SetOutput(b.stderr)
	set.BoolVar(&o.quick, "quick", false, "look for faults only, in two minutes; the figures are rough")
	set.StringVar(&run, "run", "", "only these `experiments`, separated by commas")
	set.StringVar(&peers, "peers", "", "only these `peers`, separated by commas")
	set.IntVar(&o.upgrades, "upgrades", fullUpgrades, "`number` of upgrades of gracerun under load")
	set.StringVar(&o.out, "out", "", "`directory` for compare.md and its plots; by default docs, and the README's headline changes, too,\nbut only if everything was measured: nothing is written with -quick, -run, -peers or fewer -upgrades")
	set.BoolVar(&o.list, "list", false, "print the names of all experiments and peers")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if set.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q: all is said by flags, see -help", set.Arg(0))
	}
	if o.upgrades < 1 {
		return nil, fmt.Errorf("-upgrades %d: must be at least 1", o.upgrades)
	}
	var err1, err2 error
	o.experiments, err1 = pick("-run", run, b.experiments, func(e experiment.Experiment) string { return e.Name })
	o.kinds, err2 = pick("-peers", peers, b.kinds, func(k *peer.Kind) string { return k.Name })
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	o.command = command(set)
	if o.out == "" && !o.list && !o.quick && run == "" && peers == "" && o.upgrades >= fullUpgrades {
		return &o, o.toRepository()
	}
	return &o, nil
}

// pick returns those of all whose names are in a list, in their own order; all if
// the list is empty.
func pick[T any](flag, list string, all []T, name func(T) string) (picked []T, err error) {
	if list == "" {
		return all, nil
	}
	wanted := map[string]bool{}
	for w := range strings.SplitSeq(list, ",") {
		wanted[strings.TrimSpace(w)] = true
	}
	var names []string
	for _, t := range all {
		names = append(names, name(t))
		if wanted[name(t)] {
			picked = append(picked, t)
			delete(wanted, name(t))
		}
	}
	for w := range strings.SplitSeq(list, ",") { // not by the map: in the order they were given
		if w := strings.TrimSpace(w); wanted[w] {
			return nil, fmt.Errorf("%s: there is no %q, but %s", flag, w, strings.Join(names, ", "))
		}
	}
	return picked, nil
}

// command returns what repeats the measurement.
func command(set *flag.FlagSet) string {
	line := set.Name()
	set.Visit(func(f *flag.Flag) {
		value := f.Value.String()
		switch {
		case f.Name == "out":
			return
		case value == "true":
			line += " -" + f.Name
			return
		case strings.ContainsAny(value, " ,/"):
			value = strconv.Quote(value)
		}
		line += " -" + f.Name + " " + value
	})
	return line
}

// toRepository sets where a full report goes: to the repository around the
// working directory.
func (o *options) toRepository() error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	for ; ; dir = filepath.Dir(dir) {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module github.com/gracerun/grace\n") {
			o.out, o.readme = filepath.Join(dir, "docs"), filepath.Join(dir, "README.md")
			return nil
		}
		if dir == filepath.Dir(dir) {
			return errors.New("the working directory is not in gracerun's repository: change to it, or name a directory with -out")
		}
	}
}
