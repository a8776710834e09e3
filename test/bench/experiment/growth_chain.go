package experiment

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/bench/report"
	"github.com/gracerun/grace/test/load"
)

// A chain is what came of upgrades back to back.
type chain struct {
	asked, honoured int
	most            int // processes alive at a time
	took            time.Duration
	load            *load.Result
	err             error // why it ended early
}

// growChain triggers the next upgrade as soon as the last one has answered.
func growChain(ctx context.Context, env *Env, sec *report.Section) error {
	upgrades := 20
	if env.Quick {
		upgrades = 3
	}
	t := report.Table{
		Title:   "Upgrades back to back",
		Columns: []string{"", "triggers", "honoured", "requests", "failed", "most processes", "at rest", "s"},
	}
	for _, k := range growing(env) {
		env.Progress("growth: back to back, %s", k.Name)
		f := launch(ctx, env, []*peer.Kind{k}, peer.Config{})
		e := f[0]
		c := chain{err: e.out}
		if e.out == nil {
			c = e.chain(ctx, upgrades)
		}
		f.close()
		t.Rows = append(t.Rows, c.row(e))
		if c.err != nil {
			t.Note += fmt.Sprintf("%s: %s. ", k.Name, firstLine(c.err))
		}
		if k.Name == ours {
			sec.Faults = append(sec.Faults, c.faults()...)
		}
	}
	sec.Tables = append(sec.Tables, t)
	return nil
}

// chain upgrades n times under light load, for a minute at most.
func (e *entrant) chain(ctx context.Context, n int) (c chain) {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("after a minute"))
	defer cancel()
	patience := 2 * time.Second
	if e.kind.Name == ours {
		patience = 30 * time.Second
	}
	target := load.Target{Address: e.HTTP[0], Timeout: 5 * time.Second}
	groups := []load.Group{
		{Kind: "fresh", N: 4, Think: 10 * time.Millisecond, New: func() load.Client { return &load.Fresh{Target: target} }},
		{Kind: "keep-alive", N: 4, Think: 10 * time.Millisecond, New: func() load.Client { return &load.KeepAlive{Target: target, Look: true} }},
	}
	c.load = under(ctx, new(load.Runner), groups, func(ctx context.Context) {
		begin := time.Now()
		for range n {
			if c.err = e.link(ctx, &c, patience); c.err != nil {
				break
			}
		}
		c.took = time.Since(begin)
		load.Pause(ctx, time.Second) // what an old process loses late is lost, too
	})
	return c
}

// link makes one upgrade of a chain. The error ends the chain.
func (e *entrant) link(ctx context.Context, c *chain, patience time.Duration) error {
	old, err := e.Server.PIDs()
	if err != nil {
		return err
	}
	if len(old) == 0 {
		return errDied
	}
	c.asked++
	if err := e.Trigger(); err != nil {
		return err
	}
	short, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := e.awaitNew(short, e.HTTP[0], old); err != nil {
		if errors.Is(err, errDied) || ctx.Err() != nil {
			return err
		}
		return nil
	}
	c.honoured++
	now, err := e.Server.PIDs()
	c.most = max(c.most, len(now))
	return err
}

func (c *chain) row(e *entrant) []string {
	if c.load == nil {
		return []string{e.kind.Name, "-", "-", "-", "-", "-", "-", "-"}
	}
	total := c.load.Total()
	return []string{
		e.kind.Name, fmt.Sprint(c.asked), fmt.Sprint(c.honoured),
		thousands(total.OK + total.Failed), fmt.Sprint(total.Failed),
		fmt.Sprint(c.most), fmt.Sprint(e.rest), fmt.Sprintf("%.1f", c.took.Seconds()),
	}
}

func (c *chain) faults() (list []string) {
	if c.err != nil {
		list = append(list, "back to back: "+firstLine(c.err))
	}
	if c.honoured < c.asked {
		list = append(list, fmt.Sprintf("back to back: %d of %d triggers had no new process in 30 s", c.asked-c.honoured, c.asked))
	}
	if c.load != nil {
		for i := range c.load.Failures {
			list = append(list, "back to back: "+c.load.Failures[i].Error())
		}
	}
	return list
}
