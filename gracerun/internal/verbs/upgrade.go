package verbs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/gracerun/grace/gracerun/internal/control"
	"github.com/gracerun/grace/gracerun/internal/daemon"
	"github.com/gracerun/grace/pidfile"
)

// reload means what HUP means: an upgrade, or that the configuration is reread.
func reload(c *call, ctx context.Context, _ []string) error {
	do := (*call).replace
	if c.Reloads {
		do = (*call).reread
	}
	if daemon.StartedBySystemd() { // it is ExecReload=
		return c.reloadUnit(ctx, do)
	}
	return c.change(ctx, do)
}

// reloadUnit does not fail because the unit is stopped meanwhile: systemd would take it for
// a failure of the unit. It tells all processes of that by SIGTERM, and so it ends one that
// takes too long, which fails the reload in any case.
func (c *call) reloadUnit(ctx context.Context, do func(*call, context.Context, *known) error) error {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	err := c.change(ctx, do)
	signal.Stop(term) // what is under way has arrived then
	if err != nil && (len(term) > 0 || exitCode(err) == exitNotRunning) {
		c.note("%v", err)
		return nil
	}
	return err
}

func upgrade(c *call, ctx context.Context, _ []string) error {
	return c.change(ctx, (*call).replace)
}

func restart(c *call, ctx context.Context, _ []string) error {
	if c.options.hard {
		if unit := unitOf(ctx, c.probe(ctx).owner()); unit != "" {
			return fmt.Errorf("systemd runs it, as its unit says, and would know nothing of the new one: use: systemctl restart %s", unit)
		}
		if err := stop(c, ctx, nil); err != nil {
			return err
		}
		return start(c, ctx, nil)
	}
	err := upgrade(c, ctx, nil)
	if exitCode(err) == exitNotRunning {
		return start(c, ctx, nil)
	}
	return err
}

func tryRestart(c *call, ctx context.Context, _ []string) error {
	err := upgrade(c, ctx, nil)
	if exitCode(err) == exitNotRunning && !c.asked { // it did not end in the upgrade
		c.say("not running")
		return nil
	}
	return err
}

// change lets the running service do something: by its control socket or, where nobody
// listens there, by HUP.
func (c *call) change(ctx context.Context, do func(*call, context.Context, *known) error) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	k, err := c.awaitStarted(ctx)
	if err != nil {
		return err
	}
	c.asked = true
	switch {
	case k.status != nil:
		return do(c, ctx, k)
	case k.silent():
		c.note("nobody listens on the control socket %s: using signals", c.Socket)
		return c.hangup(ctx)
	}
	return c.mute(k)
}

// awaitStarted waits for the end of a start. The error says that the service does not run
// then, or is about to end.
func (c *call) awaitStarted(ctx context.Context) (*known, error) {
	k, err := c.await(ctx, func(k *known) bool { return !k.begins() })
	if err == nil {
		err = c.gone(k)
	}
	return k, err
}

// mute says why a service that runs, and has a control socket, does not answer there.
func (c *call) mute(k *known) error {
	if k.hangs() {
		return fmt.Errorf("%s does not answer on its control socket: it may be stopped (then: kill -CONT), or hang (then: %s restart --hard)", k.who(), c.Name)
	}
	return k.control
}

// reread has the configuration reread.
func (c *call) reread(ctx context.Context, k *known) error {
	err := control.NewClient(c.Socket).Reload(ctx)
	switch {
	case err == nil:
		c.say("reloaded (%s)", k.who())
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("no longer waiting for the reload, which goes on: %w", context.Cause(ctx))
	}
	return c.failure(ctx, fmt.Errorf("reload failed: %w", err), "the service goes on with the configuration that it had")
}

// replace upgrades the service.
func (c *call) replace(ctx context.Context, k *known) error {
	client := control.NewClient(c.Socket)
	if !c.options.wait {
		err := client.AskUpgrade(ctx)
		if err != nil {
			return c.failure(ctx, err, "the service was not asked")
		}
		c.say("upgrade asked for (%s)", k.who())
		return nil
	}
	a := attempt{before: k.status.PID, began: time.Now()}
	e, err := client.Upgrade(ctx, func(e control.Event) {
		if e.Event == control.EventStarted {
			a.started = e.PID
		}
		c.showEvent(e)
	})
	failure, refusal := new(control.Failure), new(control.StatusError)
	switch {
	case err == nil:
		c.say("upgraded: %s took over in %s", newcomer(e), seconds(e.Took))
		return nil
	case errors.As(err, &failure):
		return c.upgradeFailed(ctx, failure.Stage, failure.PID, failure.Err.Error())
	case errors.As(err, &refusal):
		return fmt.Errorf("upgrade refused: %w", err)
	case ctx.Err() != nil:
		return fmt.Errorf("%w: the upgrade is given up, unless it was too late or somebody else asked for it, too; see: %s status", context.Cause(ctx), c.Name)
	}
	return c.settle(ctx, a, err)
}

// attempt is what is known of an upgrade without its result.
type attempt struct {
	before  int // who was asked
	began   time.Time
	started int // the new process; 0 = it was not said
}

func newcomer(e control.Event) string {
	text := fmt.Sprintf("generation %d (pid %d", e.Generation, e.PID)
	if e.Version != "" {
		text += ", version " + e.Version
	}
	return text + ")"
}

// showEvent is the progress of an upgrade. The last event is the result, and told as such.
func (c *call) showEvent(e control.Event) {
	switch e.Event {
	case control.EventWaiting:
		c.note("waiting for generation %d (pid %d) to end: no more may run at once", e.Generation, e.PID)
	case control.EventStarted:
		c.note("pid %d started", e.PID)
	case control.EventServing:
		c.note("%s serves", newcomer(e))
	case control.EventProbation:
		c.note("on probation: the old one still serves, too")
	}
}

func (c *call) upgradeFailed(ctx context.Context, stage string, pid int, why string) error {
	text := "upgrade failed"
	if stage != "" {
		text += " at " + stage
	}
	if pid != 0 {
		text += fmt.Sprintf(" (pid %d)", pid)
	}
	return c.failure(ctx, fmt.Errorf("%s: %s", text, why), "the service was not interrupted")
}

// failure is err and, for comfort, what has not changed; unless the service is about to end,
// which is why.
func (c *call) failure(ctx context.Context, err error, comfort string) error {
	k := c.probe(ctx)
	for limit := time.Now().Add(answerTimeout); k.running() && k.silent() && time.Now().Before(limit); k = c.probe(ctx) {
		wait(ctx, tick) // it did answer: this is the end of it
	}
	if gone := c.gone(k); gone != nil {
		return fmt.Errorf("%w\n%w", err, gone)
	}
	return fmt.Errorf("%w\n%s", err, comfort)
}

// settle finds out how an upgrade went whose answer broke off: by who owns the service. If
// that is neither who was asked nor who was started for this upgrade, it was another one's,
// and the owner is the one to ask.
func (c *call) settle(ctx context.Context, a attempt, broken error) error {
	for limit := time.Now().Add(answerTimeout); ; wait(ctx, tick) {
		k := c.probe(ctx)
		last := (*control.Upgrade)(nil)
		if k.status != nil {
			last = k.status.LastUpgrade
		}
		switch owner := k.owner(); {
		case !k.running():
			return c.ended()
		case owner != 0 && owner == a.started:
			c.say("upgraded: %s took over, and pid %d left before it could say so", k.who(), a.before)
			return nil
		case k.status != nil && owner != a.before:
			return c.replace(ctx, k)
		case last != nil && !last.OK && last.At.After(a.began):
			return c.upgradeFailed(ctx, last.Stage, last.PID, last.Error)
		case ctx.Err() != nil || time.Now().After(limit):
			return fmt.Errorf("%w; %s owns the service", broken, k.who())
		}
	}
}

func (c *call) ended() error {
	return &exit{exitNotRunning, fmt.Errorf("it has ended during the upgrade; its log says why; to start it: %s start", c.Name)}
}

// hangup asks by signal.
func (c *call) hangup(ctx context.Context) error {
	if c.Reloads && c.verb != "reload" && c.verb != "force-reload" {
		return fmt.Errorf("no upgrade without the control socket: HUP rereads the configuration of this service; use: %s restart --hard", c.Name)
	}
	pid, err := pidfile.Read(c.PIDFile) // whoever else has the lock may be about to start it, and HUP would kill him
	if pid == 0 {
		return fmt.Errorf("it cannot be told who owns the service, so nobody was sent HUP; use: %s restart --hard (%w)", c.Name, cmp.Or(err, errUnproved))
	}
	if caught, err := catches(pid, sigHangup); err == nil && !caught {
		return fmt.Errorf("pid %d does not handle HUP: is it just starting? see: %s status", pid, c.Name)
	}
	crew := newCrew(c.Service)
	defer crew.release()
	if err := crew.tell(pid, sigHangup); err != nil {
		return err
	}
	if c.Reloads || !c.options.wait {
		c.say("pid %d was sent HUP; its log has the result", pid)
		return nil
	}
	return c.awaitSuccessor(ctx, pid)
}

// awaitSuccessor waits until the pid file names another process.
func (c *call) awaitSuccessor(ctx context.Context, before int) error {
	ctx, cancel := c.boundedByReady(ctx, killMargin, "done")
	defer cancel()
	began := time.Now()
	for {
		pid, err := pidfile.Read(c.PIDFile)
		switch {
		case err == nil && pid == 0:
			return c.ended()
		case err == nil && pid != before:
			c.say("upgraded: pid %d took over in %s", pid, short(time.Since(began)))
			return nil
		case errors.Is(err, fs.ErrPermission):
			return err
		case ctx.Err() != nil:
			return fmt.Errorf("%w: pid %d owns the service still; its log says why, see also: %s status", context.Cause(ctx), before, c.Name)
		}
		c.progress.show(time.Now(), fmt.Sprintf("pid %d was sent HUP: waiting for its successor", before), "")
		wait(ctx, tick)
	}
}
