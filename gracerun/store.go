package gracerun

import (
	"errors"
	"io/fs"
	"net"
	"slices"
	"syscall"

	"github.com/gracerun/grace/gracerun/internal/systemd"
	"github.com/gracerun/grace/listener"
)

// parking is what the manager keeps for the next start (the fd store of systemd), as it
// was when this generation became the owner. The clients of a service that was killed, or
// that restarts, wait in the queues of its sockets.
type parking struct {
	handles []listener.Handle // open
	conns   []syscall.Conn
	dropped []listener.Handle // of no use any more
}

// ownSockets ends the hand-over for the sockets.
func (l *life) ownSockets() {
	for _, h := range l.sockets.Unused() {
		switch {
		case h.Keep:
			l.log.Warn("nobody serves a socket that the service manager passed: its clients wait for nothing",
				"name", h.Label, "network", h.Network, "address", h.Address)
		case h.Parked:
			l.parking.dropped = append(l.parking.dropped, h)
		}
	}
	if err := l.sockets.CloseUnused(); err != nil {
		l.log.Error("closing dropped sockets", "error", err)
	}
	if l.manager.StoreMax > 0 { // now: to ask later could change what an upgrade hands over
		l.parking.handles, l.parking.conns = l.sockets.Handles()
	}
}

// store has the manager keep what it does not keep yet, and nothing else. What a socket
// unit passed it has anyway. n is that of the owner. It waits for a manager that is slow.
func (l *life) store(n *systemd.Notifier) error {
	if l.manager.StoreMax <= 0 {
		return nil
	}
	p := &l.parking
	removed := each(p.dropped, systemd.StoreName)
	p.dropped = nil
	for _, name := range removed {
		if err := n.Remove(name); err != nil {
			return err
		}
	}
	room := l.manager.StoreMax
	for i, h := range p.handles {
		if h.Keep {
			continue
		}
		if room--; room < 0 {
			l.log.Warn("the service manager does not keep all sockets over a restart: raise FileDescriptorStoreMax= of the unit",
				"limit", l.manager.StoreMax)
			return nil
		}
		name := systemd.StoreName(h)
		if h.Parked && !slices.Contains(removed, name) { // else one of several of the name went
			continue
		}
		switch err := n.Store(name, p.conns[i]); {
		case err == nil:
			l.sockets.Park(h)
		case errors.Is(err, systemd.ErrName):
			l.log.Warn("the service manager cannot keep a descriptor over a restart", "error", err)
			room++
		case !errors.Is(err, net.ErrClosed) && !errors.Is(err, fs.ErrClosed): // of what is closed nobody needs it
			return err
		}
	}
	return nil
}
