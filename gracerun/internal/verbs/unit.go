package verbs

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gracerun/grace/gracerun/internal/systemd"
)

// unitOptions are the flags of unit, install and uninstall.
type unitOptions struct {
	socket, activated bool
	kind              kind
	watchdog          interval
	program           path

	now, force bool
	dir        path
}

// flag adds one of them.
func (o *unitOptions) flag(fs *flag.FlagSet, name string) {
	switch name {
	case "socket":
		fs.BoolVar(&o.socket, name, false, "print the socket unit instead, see --activated")
	case "activated":
		fs.BoolVar(&o.activated, name, false, "systemd opens the sockets, by a socket unit")
	case "type":
		fs.Var(&o.kind, name, "`how` systemd follows it: notify (the default), notify-reload or forking")
	case "watchdog":
		fs.Var(&o.watchdog, name, "systemd restarts a service that gives no sign of life for this `time`")
	case "program":
		fs.Var(&o.program, name, "the absolute `path` of the program where the unit is used")
	case "now":
		fs.BoolVar(&o.now, name, false, "start it, too")
	case "force":
		fs.BoolVar(&o.force, name, false, "also if a unit there is not by install, or was changed")
	case "dir":
		fs.Var(&o.dir, name, "the `directory` of the units, for another system: systemd here is not told")
	}
}

// unit prints the service unit, or its socket unit.
func unit(c *call, ctx context.Context, _ []string) error {
	if err := c.checkUnit(); err != nil {
		return err
	}
	p, err := c.params(ctx)
	if err != nil {
		return err
	}
	if c.options.unit.socket {
		text, err := c.socketUnit(p)
		c.print(text)
		return err
	}
	c.print(systemd.Unit(p))
	return nil
}

// checkUnit returns what does not go together in the command.
func (c *call) checkUnit() error {
	switch o := c.options.unit; {
	case o.kind == forking && o.watchdog > 0:
		return c.usage("%s: --watchdog needs a service that notifies systemd: not --type forking", c.verb)
	case o.kind == forking && (o.activated || o.socket):
		return c.usage("%s: systemd gives its sockets to a service that stays its child: not --type forking", c.verb)
	case o.now && o.dir != "":
		return c.usage("%s: --now starts it here, and --dir is for another system", c.verb)
	}
	return nil
}

// params is what the units are made of.
func (c *call) params(ctx context.Context) (systemd.Params, error) {
	if !isUnitName(c.Name) {
		return systemd.Params{}, fmt.Errorf("the name %q cannot be that of a unit: it has letters, digits and :-_.@", c.Name)
	}
	o := c.options.unit
	p, err := c.Unit(ctx, o.kind == forking)
	if err != nil {
		return systemd.Params{}, err
	}
	p.Activated, p.NotifyReload, p.Watchdog = o.activated, o.kind == notifyReload, time.Duration(o.watchdog)
	p.Program = cmp.Or(string(o.program), p.Program)
	if !filepath.IsAbs(p.Program) {
		return systemd.Params{}, fmt.Errorf("where the program is, %s, must be an absolute path: use --program", p.Program)
	}
	for _, word := range p.Args {
		c.warnOfRelative(word, cmp.Or(p.Dir, "/"))
	}
	return p, nil
}

// isUnitName reports whether systemd takes name for the first part of a unit's
// (systemd.unit(5)).
func isUnitName(name string) bool {
	const longest = 255 - len(".service")
	strange := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(":-_.@", r))
	}
	return name != "" && len(name) <= longest && !strings.ContainsFunc(name, strange)
}

// warnOfRelative says of a word of the command line that it is a file here, and not
// where the service begins.
func (c *call) warnOfRelative(word, dir string) {
	name := word
	if _, value, given := strings.Cut(word, "="); given {
		name = value
	}
	if name == "" || filepath.IsAbs(name) {
		return
	}
	here, err := os.Stat(name)
	if there, terr := os.Stat(filepath.Join(dir, name)); err == nil && (terr != nil || !os.SameFile(here, there)) {
		c.note("the service begins in %s, where %s is something else: write the path from / on", dir, name)
	}
}

// socketUnit leaves out what needs a socket unit of its own.
func (c *call) socketUnit(p systemd.Params) (string, error) {
	text, err := systemd.SocketUnit(p, "")
	if err != nil {
		return "", fmt.Errorf("no socket unit: %w", err)
	}
	for _, name := range p.Named {
		c.note("the address of %q is for a socket unit of its own to say, with FileDescriptorName=%s and Service=%s.service", name, name, p.Name)
	}
	if p.Incomplete {
		c.note("if Setup registers more addresses, they are not in the socket unit, and the service opens them")
	}
	return text, nil
}

// kind is a flag: the Type= of a unit.
type kind string

const (
	notify       kind = "notify"
	notifyReload kind = "notify-reload"
	forking      kind = "forking"
)

func (k *kind) String() string { return "" }

func (k *kind) Set(text string) error {
	switch *k = kind(text); *k {
	case notify, notifyReload, forking:
		return nil
	}
	return errors.New("not one of notify, notify-reload, forking")
}

// interval is a flag: a time that is not 0.
type interval time.Duration

func (i *interval) String() string { return "" }

func (i *interval) Set(text string) error {
	d, err := parseSeconds(text)
	if err == nil && d < time.Second {
		err = errors.New("less than a second")
	}
	*i = interval(d)
	return err
}

// path is a flag: an absolute path.
type path string

func (p *path) String() string { return "" }

func (p *path) Set(text string) error {
	if !filepath.IsAbs(text) {
		return errors.New("not an absolute path")
	}
	*p = path(filepath.Clean(text))
	return nil
}
