package experiment

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/load"
)

const (
	startLimit   = 15 * time.Second
	upgradeLimit = 10 * time.Second
)

var errDied = errors.New("died")

// An entrant is a server that takes part until something goes wrong with it.
type entrant struct {
	*peer.Server // nil = it did not start
	kind         *peer.Kind
	cfg          peer.Config
	rest         int       // processes when no upgrade is under way
	triggered    time.Time // right before the last trigger
	mishaps      []error   // after each of which it was started anew
	out          error     // why it takes part no longer; nil = it does
}

func (e *entrant) start(ctx context.Context, env *Env, cfg peer.Config) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	e.cfg = cfg
	if e.Server, e.out = env.Builder.Start(ctx, e.kind, cfg); e.out != nil {
		return
	}
	e.rest, e.out = e.atRest(ctx)
}

// atRest returns the number of processes when it has been the same for a while:
// the first answer of a master's workers can come before the last worker.
func (e *entrant) atRest(ctx context.Context) (n int, err error) {
	for {
		now, err := e.Server.PIDs()
		if err != nil || len(now) == n {
			return n, err
		}
		if n = len(now); !load.Pause(ctx, 50*time.Millisecond) {
			return n, fmt.Errorf("starting: %w", context.Cause(ctx))
		}
	}
}

// troubles returns a sentence for each mishap, and for being out.
func (e *entrant) troubles() (list []string) {
	for _, err := range e.mishaps {
		list = append(list, fmt.Sprintf("%s: %s.", e.kind.Name, firstLine(err)))
	}
	if e.out != nil {
		list = append(list, fmt.Sprintf("%s is out: %s.", e.kind.Name, firstLine(e.out)))
	}
	return list
}

// startAnew notes a mishap and starts the entrant anew. It is out after the third.
func (e *entrant) startAnew(ctx context.Context, env *Env, err error) {
	env.Progress("%s: %s", e.kind.Name, firstLine(err))
	e.mishaps = append(e.mishaps, err)
	if len(e.mishaps) == 3 {
		e.out = errors.New("three mishaps")
		return
	}
	e.Close()
	e.start(ctx, env, e.cfg)
}

// lastWords returns the last line of the log, shortened.
func (e *entrant) lastWords() string {
	lines := strings.Split(strings.TrimSpace(e.Log()), "\n")
	return fmt.Sprintf("%.200s", lines[len(lines)-1])
}
