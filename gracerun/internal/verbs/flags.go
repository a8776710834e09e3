package verbs

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// options are the flags of all verbs.
type options struct {
	json, names bool
	wait, hard  bool
	ready       bool
	stablePID   bool
	timeout     timeout
	schedule    schedule
	detach      bool
	unit        unitOptions
}

// flagSet has the flags of v, to be parsed into o.
func (o *options) flagSet(v verb) *flag.FlagSet {
	fs := flag.NewFlagSet(v.name, flag.ContinueOnError)
	for _, name := range v.flags {
		switch name {
		case "json":
			fs.BoolVar(&o.json, name, false, "print one JSON object")
		case "names":
			fs.BoolVar(&o.names, name, false, "print only their names, one a line")
		case "stable-pid":
			fs.BoolVar(&o.stablePID, name, false, "keep this pid over all upgrades, for supervisors that follow it")
		case "wait":
			fs.BoolVar(&o.wait, name, true, "wait for the result")
		case "hard":
			fs.BoolVar(&o.hard, name, false, "stop, then start")
		case "ready":
			fs.BoolVar(&o.ready, name, false, "exit 0 if it takes new work, else 1")
		case "timeout":
			fs.Var(&o.timeout, name, "give up after this `time`, as 90s or 5m; 0 = never")
			if v.name == "stop" {
				fs.Lookup(name).Usage = "the same as --schedule TERM/`time`/KILL/5, with a time as 90s or 5m; 0 = never"
			}
		case "schedule":
			fs.Var(&o.schedule, name, "`signals` and seconds to wait, as TERM/30/KILL/5; forever = repeat the rest")
		case "detach":
			fs.BoolVar(&o.detach, name, false, "also below a service manager, as with Type=forking")
		default:
			o.unit.flag(fs, name)
		}
	}
	return fs
}

var errHelp = errors.New("help is asked for")

// parse reads the flags of v, which may come before and after its arguments, and returns
// those. It is not the flag package's work: that names a flag otherwise than help does.
func (c *call) parse(v verb, args []string) ([]string, error) {
	fs := c.options.flagSet(v)
	var rest []string
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if !strings.HasPrefix(arg, "-") {
			rest = append(rest, arg)
			continue
		}
		name, value, given := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
		f := fs.Lookup(name)
		switch {
		case name == "h" || name == "help":
			return nil, errHelp
		case f == nil:
			return nil, c.usage("%s: unknown flag %s%s", v.name, arg, didYouMean(name, flagNames(fs), "--"))
		case given:
		case isSwitch(f):
			value = "true"
		case len(args) == 0:
			return nil, c.usage("%s: --%s needs a value", v.name, name)
		default:
			value, args = args[0], args[1:]
		}
		if err := f.Value.Set(value); err != nil {
			return nil, c.usage("%s: --%s=%s: %w", v.name, name, value, err)
		}
	}
	return rest, c.checkArgs(v, rest)
}

func isSwitch(f *flag.Flag) bool {
	b, ok := f.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

func flagNames(fs *flag.FlagSet) []string {
	var names []string
	fs.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	return names
}

func (c *call) checkArgs(v verb, args []string) error {
	switch {
	case v.names && len(args) == 0:
		return c.usage("%s: the name of a task or command is missing; to see them: %s tasks", v.name, c.Name)
	case v.names || len(args) == 0:
	case v.args == nil:
		return c.usage("%s takes no arguments, not %q; the service's own flags go before it", v.name, args)
	case len(args) > 1:
		return c.usage("%s takes one argument, not %q", v.name, args)
	case len(v.args) > 0 && !slices.Contains(v.args, args[0]):
		return c.usage("%s: %q is none of %s", v.name, args[0], strings.Join(v.args, ", "))
	}
	return nil
}

// timeout is a flag: Go's notation, or seconds.
type timeout struct {
	given bool
	limit time.Duration // 0 = none
}

func (t *timeout) String() string { return "" }

func (t *timeout) Set(text string) error {
	limit, err := parseSeconds(text)
	if err != nil {
		return err
	}
	*t = timeout{true, limit}
	return nil
}

// parseSeconds reads a time in Go's notation, or a number of seconds.
func parseSeconds(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if n, nerr := strconv.ParseUint(text, 10, 31); nerr == nil {
		d, err = time.Duration(n)*time.Second, nil
	}
	if err != nil || d < 0 {
		return 0, errors.New("not a time: use 30, 90s or 5m")
	}
	return d, nil
}

// boundedByReady is ctx with the time that a new process has to serve, and a margin. Where
// --timeout is given, ctx has its limit already.
func (c *call) boundedByReady(ctx context.Context, margin time.Duration, what string) (context.Context, context.CancelFunc) {
	if c.ReadyTimeout <= 0 || c.options.timeout.given {
		return context.WithCancel(ctx)
	}
	d := c.ReadyTimeout + c.Probation + margin
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("not %s within %v", what, d))
}

// bounded is ctx with the limit of --timeout, if there is one.
func (c *call) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if d := c.options.timeout.limit; d > 0 {
		return context.WithTimeoutCause(ctx, d, fmt.Errorf("not done within %v", d))
	}
	return context.WithCancel(ctx)
}
