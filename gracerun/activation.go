package gracerun

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/gracerun/grace/gracerun/internal/handoff"
	"github.com/gracerun/grace/gracerun/internal/systemd"
	"github.com/gracerun/grace/listener"
)

// networkSystemd is that of a socket which a service manager opens, and the address is
// its name there.
const networkSystemd = "systemd"

// environment is the one of the process, for two Apps that begin at once: what the
// manager passed is for one of them.
var environment sync.Mutex

// readManager takes what a service manager said to the process pid, which is this one,
// out of the environment: no command is to inherit it, nor the next generation, which
// has it from its predecessor. What cannot be read is an error, and the rest counts all
// the same. The descriptors are the caller's.
func readManager(pid int) (systemd.Manager, systemd.Sockets, error) {
	if handoff.Inherited() {
		return systemd.Manager{}, nil, nil
	}
	environment.Lock()
	defer environment.Unlock()
	m, err := systemd.ReadManager(os.Getenv, pid)
	passed, perr := systemd.ReadSockets(os.Getenv, pid)
	for _, name := range systemd.Variables() {
		os.Unsetenv(name)
	}
	return m, passed, errors.Join(err, perr)
}

// askManager comes before this process starts another one.
func (l *life) askManager() {
	var err error
	l.manager, l.passed, err = l.world.manager()
	l.app.misunderstood(err)
}

func (a *App) misunderstood(err error) {
	if err != nil {
		a.logger().Warn("what the service manager says is not all understood", "service", a.name(), "error", err)
	}
}

// launcher is the start verb. It may launch again, and the manager says it once.
func (a *App) launcher() func(context.Context) (pid int, err error) {
	passed := sync.OnceValue(func() systemd.Sockets {
		_, passed, err := readManager(os.Getpid()) // who is told more stays in the foreground
		a.misunderstood(err)
		return passed
	})
	return func(ctx context.Context) (int, error) { return a.launch(ctx, passed()) }
}

// inheritPassed takes what the manager passed to the first generation. It may have
// kept a unix socket whose file is gone, with a run directory say: nobody finds that
// one, and the service opens another.
func (l *life) inheritPassed() (handles []listener.Handle, fds []int) {
	l.passed = slices.DeleteFunc(l.passed, func(s systemd.Socket) bool {
		h := s.Handle()
		if !h.Parked || !strings.HasPrefix(h.Network, "unix") || !filepath.IsAbs(h.Address) {
			return false
		}
		_, err := os.Lstat(h.Address)
		lost := errors.Is(err, fs.ErrNotExist)
		if lost {
			os.NewFile(uintptr(s.FD()), h.Address).Close()
			l.parking.dropped = append(l.parking.dropped, h)
		}
		return lost
	})
	return handlesOf(l.passed)
}

func handlesOf(passed systemd.Sockets) (handles []listener.Handle, fds []int) {
	for _, s := range passed {
		handles, fds = append(handles, s.Handle()), append(fds, s.FD())
	}
	return handles, fds
}

// activate puts the sockets that were passed in the place of the addresses that they are
// for. A server may so get several for one: IPv4 and IPv6, or all those of a name.
func (r *registry) activate(passed systemd.Sockets) error {
	if slices.ContainsFunc(passed, func(s systemd.Socket) bool { return s.Name == acceptedName && s.Network == "" }) {
		return errAccepted
	}
	var list []*address
	for _, ad := range r.addresses {
		found, err := ad.among(passed)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			list = append(list, ad)
		}
		for _, s := range found {
			one := *ad
			one.network, one.address, one.ended = s.Network, s.Address, make(chan struct{})
			list = append(list, &one)
		}
	}
	r.addresses = list
	return nil
}

// acceptedName is what systemd calls the connection that it passes to an instance of a
// socket unit with Accept=yes (sd_listen_fds(3)).
const acceptedName = "connection"

var errAccepted = errors.New("the service manager passed one connection instead of its socket: Accept=no in the socket unit, and one service for all (without @ in its name)")

// among returns the sockets that are for the address: none is an error only where there
// is no other way to it.
func (ad *address) among(passed systemd.Sockets) (systemd.Sockets, error) {
	if ad.network != networkSystemd {
		return passed.Match(ad.network, ad.address), nil
	}
	passed = slices.DeleteFunc(slices.Clone(passed), func(s systemd.Socket) bool { return s.Stored }) // the service's own
	named := passed.Named(ad.address)
	found := slices.DeleteFunc(slices.Clone(named), func(s systemd.Socket) bool { return !slices.Contains(ad.takes, s.Network) })
	switch {
	case len(found) > 0:
		return found, nil
	case len(named) > 0:
		return nil, fmt.Errorf("%v: the socket of this name is a %s one (Serve is for streams, ServePacket for packets)", ad, named[0].Network)
	case len(passed) > 0:
		return nil, fmt.Errorf("%v: no socket of this name was passed, but %s: FileDescriptorName= of a socket unit gives the name", ad, describePassed(passed))
	}
	return nil, fmt.Errorf("%v: no service manager passed sockets to this process: start it by a socket unit, or try systemd-socket-activate(1)", ad)
}

func describePassed(passed systemd.Sockets) string {
	list := each(passed, func(s systemd.Socket) string {
		if s.Network == "" {
			return strconv.Quote(s.Name) + " (nothing to serve)"
		}
		return fmt.Sprintf("%q (%s %s)", s.Name, s.Network, s.Address)
	})
	return strings.Join(list, ", ")
}
