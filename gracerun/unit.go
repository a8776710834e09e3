package gracerun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gracerun/grace/gracerun/internal/handoff"
	"github.com/gracerun/grace/gracerun/internal/systemd"
)

// storeMargin is how many descriptors a unit lets the fd store keep beyond the addresses
// that are known, for what Setup opens. A larger limit costs nothing.
const storeMargin = 16

// unit is what a unit for this service is made of. args is the verb with its own
// arguments; what comes before it on the command line is part of the service.
func (a *App) unit(ctx context.Context, args []string, forking bool) (systemd.Params, error) {
	if err := cmp.Or(handoff.AbsoluteName(), a.check()); err != nil {
		return systemd.Params{}, err
	}
	before, err := wordsBefore(os.Args[1:], args)
	if err != nil {
		return systemd.Params{}, err
	}
	version, _ := systemd.Version(ctx) // 0 without one: only what all of them have
	p := systemd.Params{
		Name: a.name(), Program: os.Args[0], Args: before, Version: version, Incomplete: a.Setup != nil,
		Ready: a.readyLimit(), Probation: a.probationLimit(), Drain: a.drainLimit(),
		StopDelay: a.delayLimit(), StablePID: a.StablePID,
		Cleanups: time.Duration(max(len(a.work.cleanups), 1))*cleanupTimeout + reserve,
		Rereads:  a.Hangup == HangupReload,
	}
	for _, ad := range a.work.addresses {
		if ad.network == networkSystemd {
			p.Named = append(p.Named, ad.address)
			continue
		}
		p.Sockets = append(p.Sockets, systemd.Address{Network: ad.network, Address: ad.address})
	}
	if forking {
		return p, a.unitOfStart(&p)
	}
	return p, a.unitOfRun(&p)
}

// reserve is for what comes after the cleanups.
const reserve = 2 * time.Second

// unitOfRun has systemd make the process as Daemon describes it, whose Output is the
// journal, whatever Daemon says.
func (a *App) unitOfRun(p *systemd.Params) error {
	d := a.Daemon
	if d.Chroot != "" {
		return &faultError{errors.New("Daemon.Chroot is for the start verb: use --type forking")}
	}
	where, err := a.placeIn(cmp.Or(d.Dir, "/"), systemDir(p.Name))
	p.RunDir, p.PIDFile = where.dir, where.pidFile
	p.Dir, p.User, p.Group, p.Env, p.Umask = d.Dir, d.User, d.Group, d.Env, max(d.Umask, 0)
	p.Store = len(p.Sockets) + storeMargin
	return err
}

// unitOfStart leaves all of that to the start verb. A directory that systemd makes would
// be root's again at each verb that it runs, if the service has another user.
func (a *App) unitOfStart(p *systemd.Params) error {
	p.Forking = true
	d := a.Daemon
	where, err := a.placeIn("/", systemDir(p.Name))
	p.PIDFile = filepath.Join("/", d.Chroot, where.pidFile)
	if d.Chroot == "" && d.User == "" && d.Group == "" {
		p.RunDir = where.dir
		if filepath.IsAbs(d.Output) {
			p.LogDir = filepath.Dir(d.Output)
		}
	}
	return err
}

// wordsBefore returns the words of a command line that come before the last ones, which
// are known.
func wordsBefore(words, last []string) ([]string, error) {
	n := len(words) - len(last)
	if n < 0 || !slices.Equal(words[n:], last) {
		return nil, fmt.Errorf("what comes before the verb is not known: the command line %q does not end with %q", words, last)
	}
	return words[:n:n], nil
}
