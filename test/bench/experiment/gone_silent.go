package experiment

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/bench/report"
)

const (
	silentConns   = 10
	silenceLimit  = 70 * time.Second
	silenceWanted = time.Second + 5*time.Second + 600*time.Millisecond // linger + 5 s, after the probation, and a little to start and exit
)

// A silence is an upgrade of all kinds at once while each has connections open
// that never send a byte.
type silence struct {
	fleet fleet
	stays []time.Duration // of the old processes, from the trigger; 0 = see the entrant's out
	wg    sync.WaitGroup
}

var errStays = errors.New("still there at the end")

// beginSilence starts and upgrades all, and returns when each new process has
// answered. What the old ones do is noted in the background.
func beginSilence(ctx context.Context, env *Env, kinds []*peer.Kind) *silence {
	env.Progress("gone: opening silent connections")
	f := launch(ctx, env, kinds, peer.Config{})
	s := &silence{fleet: f, stays: make([]time.Duration, len(f))}
	var answered sync.WaitGroup
	for i, e := range f {
		if e.out != nil {
			continue
		}
		answered.Add(1)
		s.wg.Go(func() { s.stays[i], e.out = e.keepSilent(ctx, sync.OnceFunc(answered.Done)) })
	}
	answered.Wait()
	return s
}

// wait waits until the last old process has left, or has been waited for long
// enough.
func (s *silence) wait() { s.wg.Wait() }

// keepSilent returns how long after the trigger no process was left that the
// upgrade has replaced. It calls answered when a new one has answered.
func (e *entrant) keepSilent(ctx context.Context, answered func()) (time.Duration, error) {
	defer answered()
	ctx, cancel := context.WithTimeout(ctx, silenceLimit)
	defer cancel()
	for range silentConns {
		conn, err := net.DialTimeout("tcp", e.HTTP[0], 5*time.Second)
		if err != nil {
			return 0, err
		}
		defer conn.Close()
	}
	if _, err := peer.Ask(ctx, e.HTTP[0]); err != nil { // it was accepted after the silent ones
		return 0, err
	}
	if _, err := e.upgrade(ctx, e.HTTP[0]); err != nil {
		return 0, err
	}
	answered()
	_, err := e.settled(ctx)
	if ctx.Err() != nil {
		return silenceLimit, errStays
	}
	return time.Since(e.triggered), err
}

func (s *silence) addTo(sec *report.Section) {
	t := report.Table{
		Title:   fmt.Sprintf("Old process gone with %d silent connections, s after the trigger", silentConns),
		Columns: []string{"", "s"},
	}
	for i, e := range s.fleet {
		value := fmt.Sprintf("%.1f", s.stays[i].Seconds())
		if errors.Is(e.out, errStays) {
			value = fmt.Sprintf("more than %.0f", silenceLimit.Seconds())
		} else if e.out != nil {
			value = firstLine(e.out)
		}
		t.Rows = append(t.Rows, []string{e.kind.Name, value})
		if e.kind.Name != ours {
			continue
		}
		sec.Goals = append(sec.Goals, report.Goal{
			What: "old process gone with silent connections",
			Want: "linger (1 s) + 5 s after the probation (0.5 s), and 0.1 s to start and exit",
			Got:  value + " s after the trigger",
			Met:  e.out == nil && s.stays[i].Round(100*time.Millisecond) <= silenceWanted, // as shown
		})
		if e.out != nil {
			sec.Faults = append(sec.Faults, "silent connections: "+firstLine(e.out))
		}
	}
	sec.Tables = append(sec.Tables, t)
}
