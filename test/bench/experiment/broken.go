package experiment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/bench/report"
	"github.com/gracerun/grace/test/load"
)

const brokenText = "An upgrade meets a new program that is broken: it exits at once, never gets ready, is not there, is killed, or\n" +
	"dies 300 ms after its start, which is when most of the others have let go of the old one. For a proxy whose upgrade\n" +
	"starts no program it is the configuration that has an error, or is not there. Where it can be set, a new program\n" +
	"has 2 s to get ready. Some 150 requests a second are made from before the trigger until it is clear what has become\n" +
	"of it, for at most 5 s; then the good program is put back, and the next upgrade has 10 s."

// broken upgrades to programs that cannot serve.
func broken(ctx context.Context, env *Env) (*report.Section, error) {
	var all []*mishap
	for _, k := range env.pick(peer.Upgrade, ours) {
		for _, how := range peer.Breakages() {
			if k.CanBreak(how) && k.Name != rawLimit { // which is here for its speed
				all = append(all, &mishap{kind: k, how: how})
			}
		}
	}
	together(5, all, func(m *mishap) {
		env.Progress("broken: %s, the new program %v", m.kind.Name, m.how)
		m.err = m.happen(ctx, env)
	})
	return brokenReport(all), ctx.Err()
}

// A mishap is an upgrade to a broken program, and what came of it.
type mishap struct {
	kind *peer.Kind
	how  peer.Breakage

	serves string // "old", "new", "nobody"
	words  string // the first that the service says about it; "" = none
	seen   load.Stat
	lost   []load.Failure
	later  error // of the next upgrade, to a good program; nil = it worked
	err    error // why all this is not known
}

func (m *mishap) happen(ctx context.Context, env *Env) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	s, err := env.Builder.Start(ctx, m.kind, peer.Config{Ready: 2 * time.Second})
	if err != nil {
		return err
	}
	defer s.Close()
	old, err := s.PIDs()
	if err != nil {
		return err
	}
	if err := s.Break(m.how); err != nil {
		return err
	}
	var runner load.Runner
	result := under(ctx, &runner, light(s), func(ctx context.Context) { m.watch(ctx, s, old) })
	m.seen, m.lost = result.Total(), result.Failures
	if err := s.Mend(); err != nil {
		return err
	}
	_, m.later = upgrade(ctx, s, 10*time.Second)
	return nil
}

// watch triggers, and looks until the service has said something and the new
// program has had its time to die.
func (m *mishap) watch(ctx context.Context, s *peer.Server, old []int) {
	const least, most = 1500 * time.Millisecond, 5 * time.Second
	if !load.Pause(ctx, 100*time.Millisecond) { // every client has its connection
		return
	}
	from := len(s.Log())
	if err := s.Trigger(); err != nil {
		m.words = "the trigger: " + err.Error()
	}
	for begin := time.Now(); time.Since(begin) < least || m.words == "" && time.Since(begin) < most; {
		if !load.Pause(ctx, 20*time.Millisecond) {
			return
		}
		if m.words == "" {
			m.words = complaint(s.LogFrom(from), s.Root)
		}
	}
	m.serves = serving(ctx, s, old)
}

// serving says who answers: "old", "new" or "nobody".
func serving(ctx context.Context, s *peer.Server, old []int) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	who := "nobody"
	for range 10 {
		pid, err := peer.Ask(ctx, s.HTTP[0])
		switch {
		case err != nil:
		case slices.Contains(old, pid):
			who = "old"
		default:
			return "new"
		}
	}
	return who
}

// complaint returns the first line of a log that tells of a failure, without its
// date. What the broken program says itself is none: it has no part in the service.
func complaint(log, root string) string {
	for line := range strings.Lines(log) {
		own := strings.HasPrefix(line, "broken on purpose") || strings.HasPrefix(line, "panic: ")
		if own || !strings.HasSuffix(line, "\n") || !complains(line) {
			continue
		}
		line = strings.TrimLeft(line, "0123456789/:.- ")
		return strings.ReplaceAll(strings.TrimSpace(line), root, "")
	}
	return ""
}

func complains(line string) bool {
	line = strings.ToLower(line)
	if strings.Contains(line, "exited with 0") || strings.Contains(line, "exited with code 0") {
		return false
	}
	for _, word := range []string{"fail", "err", "exit", "killed", "died", "[emerg]", "[alert]", "no such", "not ready", "timeout", "timed out"} {
		if strings.Contains(line, word) {
			return true
		}
	}
	return false
}

// faults returns what a service must not do.
func (m *mishap) faults() (list []string) {
	fault := func(format string, args ...any) {
		list = append(list, fmt.Sprintf("broken: the new program %v: ", m.how)+fmt.Sprintf(format, args...))
	}
	if m.err != nil {
		fault("%v", m.err)
		return list
	}
	if m.serves != "old" {
		fault("%s serves", m.serves)
	}
	if m.words == "" {
		fault("no error is reported")
	}
	// One that serves until it dies takes with it what it has in hand.
	if len(m.lost) > 0 && (m.how != peer.Late || len(m.lost) > lightClients) {
		fault("%d failed requests, the first: %v", len(m.lost), &m.lost[0])
	}
	if m.later != nil && !errors.Is(m.later, context.Canceled) {
		fault("the next upgrade, to a good one: %v", m.later)
	}
	return list
}
