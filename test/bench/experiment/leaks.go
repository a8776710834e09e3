package experiment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/bench/report"
	"github.com/gracerun/grace/test/harness"
	"github.com/gracerun/grace/test/load"
)

const leaksText = "What a service holds after a few upgrades and after many: all its processes, their open descriptors\n" +
	"(`/proc/PID/fd`) and the files in its run directory. It has three listeners, one with TLS and one for lines over TCP\n" +
	"where the peer can have them, and answers some 150 requests a second during each upgrade. The next one comes, or the\n" +
	"count is taken, when the clients have gone and all old processes have left, for which they have 40 s. gracerun's\n" +
	"probation is 20 ms here, to save time."

// leaks looks for what upgrades leave behind.
func leaks(ctx context.Context, env *Env) (*report.Section, error) {
	var all []*trail
	cfg := peer.Config{Listeners: 3, TLS: true, Raw: true, Probation: 20 * time.Millisecond}
	servers := launch(ctx, env, env.pick(peer.Upgrade, ours), cfg)
	defer servers.close()
	for _, e := range servers {
		t := &trail{entrant: e, few: 5, many: 25}
		if e.kind.Name == ours {
			t.many = 100
		}
		if env.Quick {
			t.few, t.many = 2, 10
		}
		all = append(all, t)
	}
	together(3, all, func(t *trail) {
		env.Progress("leaks: %d upgrades of %s", t.many, t.kind.Name)
		t.walk(ctx)
	})
	return leaksReport(all), ctx.Err()
}

// A trail is a service on its way through many upgrades.
type trail struct {
	*entrant
	few, many int // after how many upgrades it is looked at
	done      int
	a, b      *holdings // nil = it did not get so far
	failed    []load.Failure
}

// holdings are what a service holds.
type holdings struct {
	processes int
	fds       harness.FDs
	files     int
}

func (t *trail) walk(ctx context.Context) {
	if t.out == nil {
		t.a = t.look(ctx, t.few)
	}
	if t.out == nil {
		t.b = t.look(ctx, t.many)
	}
}

// look upgrades until that has been done n times, and counts when all is quiet.
func (t *trail) look(ctx context.Context, n int) (h *holdings) {
	for ; t.done < n && t.out == nil; t.done++ {
		t.step(ctx)
	}
	if t.out == nil {
		h, t.out = t.quiet(ctx)
	}
	return h
}

// step upgrades under load, and waits until the old processes have left: some
// wait for as long as a client keeps its connection.
func (t *trail) step(ctx context.Context) {
	var runner load.Runner
	result := under(ctx, &runner, light(t.Server), func(ctx context.Context) {
		if load.Pause(ctx, 50*time.Millisecond) { // every client has its connection
			_, t.out = t.upgrade(ctx, t.HTTP[0])
		}
	})
	t.failed = append(t.failed, result.Failures...)
	ctx, cancel := context.WithTimeoutCause(ctx, 40*time.Second, errors.New("after 40s"))
	defer cancel()
	if t.out == nil {
		_, t.out = t.settled(ctx)
	}
}

// quiet counts until two counts are the same, as connections that clients have
// closed take a moment to end.
func (t *trail) quiet(ctx context.Context) (*holdings, error) {
	last, err := holdingsOf(t.Server)
	for err == nil {
		if !load.Pause(ctx, 300*time.Millisecond) {
			return last, nil
		}
		var h *holdings
		if h, err = holdingsOf(t.Server); err == nil && h.processes == last.processes && h.fds.String() == last.fds.String() {
			return h, nil
		}
		last = h
	}
	return nil, err
}

func holdingsOf(s *peer.Server) (*holdings, error) {
	all, err := s.Processes()
	if err != nil {
		return nil, err
	}
	h := &holdings{processes: len(all)}
	for _, p := range all {
		fds, err := harness.OpenFDs(p.PID)
		if err != nil && !gone(err) {
			return nil, err
		}
		h.fds = append(h.fds, fds...)
	}
	err = filepath.WalkDir(s.RunDir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			h.files++
		}
		return nil // what was removed meanwhile is no file
	})
	return h, err
}

// grown says what b has more of than a; "" = nothing.
func (a *holdings) grown(b *holdings) string {
	var list []string
	for _, x := range []struct {
		what string
		more int
	}{
		{"processes", b.processes - a.processes}, {"descriptors", len(b.fds) - len(a.fds)}, {"files", b.files - a.files},
	} {
		if x.more > 0 {
			list = append(list, fmt.Sprintf("%+d %s", x.more, x.what))
		}
	}
	return strings.Join(list, " ")
}

func leaksReport(all []*trail) *report.Section {
	sec := &report.Section{ID: "leaks", Title: "Leaks", Text: leaksText}
	table := report.Table{
		Title:   "What a service holds",
		Columns: []string{"", "upgrades", "processes", "descriptors", "by kind, in the end", "files", "growth"},
		Note:    "A proxy's connections to its backend come and go.",
	}
	for _, t := range all {
		table.Rows = append(table.Rows, t.row())
		if t.kind.Name == ours {
			sec.Faults = append(sec.Faults, t.faults()...)
		}
	}
	sec.Tables = append(sec.Tables, table)
	return sec
}

func (t *trail) row() []string {
	row := []string{t.kind.Name, fmt.Sprintf("%d, %d", t.few, t.many), "-", "-", "-", "-", "-"}
	if t.a == nil || t.b == nil {
		row[6] = fmt.Sprintf("upgrade %d: %s", t.done+1, firstLine(t.out))
		return row
	}
	copy(row[2:], []string{
		fmt.Sprintf("%d, %d", t.a.processes, t.b.processes),
		fmt.Sprintf("%d, %d", len(t.a.fds), len(t.b.fds)), t.b.fds.String(),
		fmt.Sprintf("%d, %d", t.a.files, t.b.files), "none",
	})
	if grown := t.a.grown(t.b); grown != "" {
		row[6] = grown
	}
	return row
}

func (t *trail) faults() (list []string) {
	if t.out != nil {
		list = append(list, fmt.Sprintf("leaks: upgrade %d: %v", t.done+1, t.out))
	}
	for _, f := range t.failed {
		list = append(list, fmt.Sprintf("leaks: %v", &f))
	}
	if t.a != nil && t.b != nil {
		if grown := t.a.grown(t.b); grown != "" {
			list = append(list, fmt.Sprintf("leaks: %s from %d to %d upgrades\n%s", grown, t.few, t.many, t.b.fds.List()))
		}
	}
	return list
}
