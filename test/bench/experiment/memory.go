package experiment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/bench/report"
)

const memoryText = "PSS (proportional set size, `smaps_rollup`) of all processes of a service: a page that two of\n" +
	"them share counts half in each. *One generation* has answered 1,000 requests and is at rest. *Old + new* is taken\n" +
	"while both are alive, and 200 more requests have been made on new connections: the old one has a request in hand,\n" +
	"and gracerun is in its probation (3 s here), in which both serve. *Same file*: the program that runs is started once\n" +
	"more. *New file*: another copy of it has been installed, as by a deployment; then the two have no page of it in\n" +
	"common, whatever starts them. In each round every service is started anew, one after the other; the figures are\n" +
	"medians, and a ratio is of one round. 1 MB is 2^20 bytes."

// memory measures what a service takes at rest and at the overlap of two
// generations, and what the library adds to a program.
func memory(ctx context.Context, env *Env) (*report.Section, error) {
	same, other := 5, 2 // rounds
	if env.Quick {
		same, other = 1, 0
	}
	kinds := env.pick(0, ours, plain, tableflip)
	all := make([]*footprint, len(kinds))
	for i, k := range kinds {
		all[i] = &footprint{kind: k}
	}
	for round := range same + other {
		for _, f := range turn(all, round) {
			env.Progress("memory: round %d of %d, %s", round+1, same+other, f.kind.Name)
			f.sample(ctx, env, round >= same)
		}
	}
	sec := &report.Section{ID: "memory", Title: "Memory", Text: memoryText}
	sec.Tables = append(sec.Tables, footprints(all))
	i := slices.IndexFunc(all, func(f *footprint) bool { return f.kind.Name == ours })
	if i < 0 {
		return sec, ctx.Err()
	}
	sec.Goals = append(sec.Goals, all[i].goal())
	return sec, errors.Join(hello(ctx, env, sec, same), ctx.Err())
}

// A footprint is the memory of one kind, a value for each round.
type footprint struct {
	kind        *peer.Kind
	one         []float64 // bytes
	same, other overlaps
	err         error // why there are no more
}

// overlaps are old and new together.
type overlaps struct {
	both  []float64 // bytes
	ratio []float64 // of both and one
}

// sample adds a round, unless an earlier one failed.
func (f *footprint) sample(ctx context.Context, env *Env, newFile bool) {
	if f.err != nil || newFile && !f.kind.Can(peer.Binary) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	one, both, err := overlap(ctx, env, f.kind, newFile)
	if f.err = err; err != nil {
		return
	}
	into := &f.same
	if newFile {
		into = &f.other
	}
	f.one = append(f.one, float64(one))
	if both > 0 {
		into.both = append(into.both, float64(both))
		into.ratio = append(into.ratio, float64(both)/float64(one))
	}
}

// overlap starts and upgrades a server, and returns what it takes before and
// while two generations serve. both is 0 if they never do.
func overlap(ctx context.Context, env *Env, k *peer.Kind, newFile bool) (one, both uint64, err error) {
	s, err := env.Builder.Start(ctx, k, peer.Config{Probation: 3 * time.Second})
	if err != nil {
		return 0, 0, err
	}
	defer s.Close()
	if err := apart(ctx, s); err != nil {
		return 0, 0, err
	}
	for range 2 { // nginx ends a connection after 1,000
		if err := calls(s.HTTP[0], 500); err != nil {
			return 0, 0, err
		}
	}
	before, err := s.PIDs()
	if err != nil {
		return 0, 0, err
	}
	if one, err = pss(s); err != nil || !k.Can(peer.Upgrade) {
		return one, 0, err
	}
	if newFile {
		if err := s.Mend(); err != nil { // by a copy of the program that runs
			return 0, 0, err
		}
	}
	both, err = upgraded(ctx, s)
	after, failed := s.PIDs()
	if len(after) <= len(before) {
		both = 0
	}
	return one, both, errors.Join(err, failed)
}

// upgraded upgrades a server that has a request in hand, and returns what its
// processes take then.
func upgraded(ctx context.Context, s *peer.Server) (bytes uint64, err error) {
	if _, err := hold(ctx, s, 2*time.Second); err != nil {
		return 0, err
	}
	if _, err := upgrade(ctx, s, 10*time.Second); err != nil {
		return 0, err
	}
	for range 200 { // so that each of those that accept has some
		peer.Ask(ctx, s.HTTP[0]) // what is lost is for another experiment
	}
	return pss(s)
}

// apart has a server leave the file of the process that stands in for init, if
// there is one: it is no part of the service, but would share its pages.
func apart(ctx context.Context, s *peer.Server) error {
	now, err := s.PIDs()
	if err != nil || slices.Contains(now, s.First) {
		return err
	}
	if err := s.Mend(); err != nil {
		return err
	}
	if _, err := upgrade(ctx, s, 10*time.Second); err != nil {
		return err
	}
	e := entrant{Server: s, rest: len(now)}
	_, err = e.settled(ctx)
	return err
}

func footprints(all []*footprint) report.Table {
	t := report.Table{
		Title:   "Memory of a service (PSS, MB)",
		Columns: []string{"", "one generation", "old + new, same file", "ratio", "ratio, range", "old + new, new file", "ratio"},
	}
	for _, f := range all {
		row := []string{f.kind.Name, megabytes(median(f.one)), "-", "-", "-", "-", "-"}
		switch {
		case f.err != nil && len(f.same.both) == 0:
			row[2] = shorten(firstLine(f.err), 60)
		case !f.kind.Can(peer.Upgrade):
			row[2] = "no upgrade"
		case len(f.same.both) == 0:
			row[2] = "never two"
		default:
			row[2] = megabytes(median(f.same.both))
			row[3] = fmt.Sprintf("%.2f", median(f.same.ratio))
			row[4] = fmt.Sprintf("%.2f to %.2f", slices.Min(f.same.ratio), slices.Max(f.same.ratio))
		}
		if len(f.other.both) > 0 {
			row[5] = megabytes(median(f.other.both))
			row[6] = fmt.Sprintf("%.2f", median(f.other.ratio))
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func (f *footprint) goal() report.Goal {
	g := report.Goal{What: "memory of old and new at the overlap (PSS, same file)", Want: "at most 1.3 of one generation", Got: "not measured"}
	if len(f.same.ratio) > 0 {
		g.Got, g.Met = fmt.Sprintf("%.2f", median(f.same.ratio)), median(f.same.ratio) <= 1.3
	}
	return g
}

// megabytes returns a number of bytes in units of 2^20.
func megabytes(bytes float64) string { return fmt.Sprintf("%.1f", bytes/(1<<20)) }
