package verbs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gracerun/grace/gracerun/internal/control"
)

// tasks shows what there is to pause, to resume and to trigger.
func tasks(c *call, ctx context.Context, _ []string) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	c.known = c.probe(ctx)
	if err := c.answers(c.known); err != nil {
		return err
	}
	st := *c.known.status
	if c.options.names {
		for _, name := range names(st) {
			c.print(inLine(name) + "\n")
		}
		return nil
	}
	c.print(c.Name + ": " + tally(st) + "\n" + tables(st, time.Now()))
	return nil
}

// answers returns nil if the service has said how it is, which nothing else can tell.
func (c *call) answers(k *known) error {
	switch {
	case k.status != nil:
		return c.hasTasks(*k.status)
	case !k.running():
		return c.gone(k)
	case k.silent():
		return fmt.Errorf("tasks are seen and told only over the control socket, and %s", c.noSocket(k.control))
	}
	return c.mute(k)
}

// hasTasks: a list that is missing, and not empty, is of a build that knows of none.
func (c *call) hasTasks(st control.Status) error {
	if st.Tasks != nil || st.Commands != nil {
		return nil
	}
	return fmt.Errorf("the service that runs (version %s) is older than this program, and cannot be asked about tasks until an upgrade: %w", st.Version, errors.ErrUnsupported)
}

// names are those of tasks and commands, which share them.
func names(st control.Status) []string {
	var list []string
	for _, t := range st.Tasks {
		list = append(list, t.Name)
	}
	for _, c := range st.Commands {
		list = append(list, c.Name)
	}
	return list
}

// steering is a verb that does the same to each of several tasks and commands. One that
// fails keeps no other from it; a name that there is not does.
func steering(done string, do func(*control.Client, context.Context, string) error) func(*call, context.Context, []string) error {
	return func(c *call, ctx context.Context, args []string) error {
		ctx, stop := interruptible(ctx)
		defer stop()
		ctx, cancel := c.bounded(ctx)
		defer cancel()
		k, err := c.awaitStarted(ctx)
		if err != nil {
			return err
		}
		if err := c.answers(k); err != nil {
			return err
		}
		if err := c.checkNames(*k.status, args); err != nil {
			return err
		}
		var failures []error
		for _, name := range args {
			if err := c.steer(ctx, do, name); err != nil {
				failures = append(failures, err)
				continue
			}
			c.say("%s %s%s", done, inLine(name), c.goesOn(*k.status, name))
		}
		return errors.Join(failures...)
	}
}

func (c *call) steer(ctx context.Context, do func(*control.Client, context.Context, string) error, name string) error {
	err := do(control.NewClient(c.Socket), ctx, name)
	switch none := new(control.NoTaskError); {
	case errors.As(err, &none): // it has gone since its name was looked up
		return &exit{exitUsage, err}
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("%s %s: no longer waiting, and what was asked for may yet be done: %w", c.verb, name, context.Cause(ctx))
	case err != nil:
		return fmt.Errorf("%s %s: %w", c.verb, name, err)
	}
	return nil
}

// goesOn says what a pause does not end. Commands it does.
func (c *call) goesOn(st control.Status, name string) string {
	for _, t := range st.Tasks {
		if t.Name == name && t.Running > 0 && c.verb == "pause" {
			return ": what it has in hand is finished"
		}
	}
	return ""
}

// checkNames lets nothing be done by halves because of a slip.
func (c *call) checkNames(st control.Status, args []string) error {
	known := names(st)
	for _, name := range args {
		switch {
		case slices.Contains(known, name):
		case len(known) == 0:
			return c.usage("%s: the service has no tasks and no commands", c.verb)
		default:
			return c.usage("%s: there is no task or command %q%s; there are: %s", c.verb, name, didYouMean(name, known, ""), inLine(strings.Join(known, ", ")))
		}
	}
	return nil
}
