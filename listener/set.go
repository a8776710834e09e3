// Package listener keeps sockets, and other descriptors, that outlive the
// process which opened them.
//
// A [Set] opens listeners like package net does, and knows everything that is
// to be handed to a successor process. [Set.Handles] exports it; how the
// descriptors travel (SCM_RIGHTS, say) is the caller's choice. In the successor
// [Inherit] builds a Set from what arrived, and the same calls of [Set.Listen]
// with the same addresses then return the inherited sockets instead of new
// ones: their accept queues, options and port numbers stay, and no connection
// is refused or reset in between.
//
// A process goes through these steps:
//
//	predecessor                      successor
//	-----------                      ---------
//	set.Listen(...)
//	handles, conns := set.Handles()
//	listener.Control(conns, send)
//	                                 set := listener.Inherit(handles, fds)
//	                                 set.Listen(...)
//	                                 both accept from the same queues now
//	                                 set.CloseUnused() // committed: the owner
//	set.Release()                                      // from now on
//	set.Close()
//
// If the successor fails, it closes its Set and the predecessor carries on:
// until CloseUnused nothing it shares with the predecessor has changed. Of a
// process that never hands over only [Set.Listen] and [Set.Close] are needed.
//
// [Track] is independent of all this: it counts the connections of a listener.
package listener

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"slices"
	"strings"
	"sync"
)

// A Set knows the descriptors a process hands to its successor: sockets opened
// with [Set.Listen] and [Set.ListenPacket] and whatever [Set.Add] was given.
// The zero value is an empty Set, ready to use. All methods may be called
// concurrently. A Set must not be copied after first use.
type Set struct {
	// ListenConfig opens new sockets; nil means the zero net.ListenConfig. Set
	// it before the first Listen. Its keep-alive settings apply to the
	// connections of inherited listeners too. Its Control function does not
	// run for an inherited socket, which carries the options that were set
	// when it was opened.
	ListenConfig *net.ListenConfig

	mu        sync.Mutex
	entries   []*entry // in use, in order of registration; may have been closed by a server
	inherited []*entry // not asked for yet, in the predecessor's order
	removed   []*entry // gone from here; CloseUnused removes their files
	closed    bool
}

// Socket describes a socket of a [Set], for people to read.
type Socket struct {
	Network string `json:"network"` // as configured, "tcp"
	Address string `json:"address"` // as configured, ":0"; a unix path is absolute
	Bound   string `json:"bound"`   // the real address, "[::]:41523"
}

// Listen returns a listener on a stream socket: the inherited one if the
// predecessor had one under the same network and address, else a new one.
//
// The network is "tcp", "tcp4", "tcp6", "unix" or "unixpacket". A unix address
// is a path, made absolute, or on Linux an abstract name that begins with "@".
// An address may be in use only once in a Set, except with port 0: then each
// call has a port of its own, and the successor's calls get these ports in the
// order in which they were opened.
//
// An inherited socket with another name is returned as well if it is bound to
// exactly the address that the arguments resolve to ("localhost:80", then
// "127.0.0.1:80"). If an inherited socket that nobody asked for is merely in
// the way (":80", then "127.0.0.1:80"), the error says so; it wraps
// [syscall.EADDRINUSE] as does any other use of a taken address.
//
// A unix socket file that nobody answers on is replaced. The file is not
// removed when the listener is closed, but by [Set.Close] and [Set.Remove].
//
// The listener is a *net.TCPListener or *net.UnixListener, or embeds the former
// where ListenConfig changes the keep-alive of an inherited one's connections.
// It may be closed directly; the Set then no longer counts it among its own.
// Errors are of type [*net.OpError]; after [Set.Close] they wrap [net.ErrClosed].
func (s *Set) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	c, adopted, err := s.socket(ctx, network, address, streamNetworks)
	if err != nil {
		return nil, err
	}
	if ln, ok := c.(*net.TCPListener); ok && adopted {
		return keepAlive(ln, s.config()), nil
	}
	return c.(net.Listener), nil
}

// ListenPacket is [Set.Listen] for datagram sockets: network is "udp", "udp4",
// "udp6" or "unixgram". The result is the *net.UDPConn or *net.UnixConn itself.
// While predecessor and successor both have the socket open, the kernel gives
// each datagram to whichever of them reads first.
func (s *Set) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	c, _, err := s.socket(ctx, network, address, packetNetworks)
	if err != nil {
		return nil, err
	}
	return c.(net.PacketConn), nil
}

// config returns the ListenConfig to use.
func (s *Set) config() *net.ListenConfig {
	if s.ListenConfig == nil {
		return new(net.ListenConfig)
	}
	return s.ListenConfig
}

// Remove closes what the Set has under the name, and no successor gets it. The
// name is the one given to [Set.Add] or, for a socket, "network:address" as
// given to [Set.Listen]; with port 0 it means all of that address. The file of
// a unix socket is removed if this process owns it (see [Set.Close]), else by
// [Set.CloseUnused]. If there is no such name the error is a [*fs.PathError]
// that wraps [fs.ErrNotExist].
func (s *Set) Remove(name string) error {
	network, address, _ := strings.Cut(name, ":")
	if abs, err := absolute(network, address); err == nil {
		address = abs
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*entry
	pick := func(e *entry) bool {
		hit := e.is(network, address) || e.Name == name && name != ""
		if hit {
			found = append(found, e)
		}
		return hit
	}
	s.entries = slices.DeleteFunc(s.entries, pick)
	s.inherited = slices.DeleteFunc(s.inherited, pick)
	if found == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	var errs []error
	for _, e := range found {
		if e.owner == predecessor {
			s.removed = append(s.removed, e)
		}
		e.Parked = false
		errs = append(errs, e.close())
	}
	return errors.Join(errs...)
}

// Close closes everything in the Set, the listeners it returned included, and
// the Set for further use. Before that it removes the files of the unix sockets
// that this process owns and that still are the ones it knows, by device and
// inode number; somebody else's file in their place stays.
//
// A process owns the files of the sockets it opened. Those it inherited become
// its own with [Set.CloseUnused], and those it handed over stop being its own
// with [Set.Release]. So Close is right for the last process of a service, for
// one with a live successor, and for a successor that failed: there is no
// choice to make at the call.
//
// Servers may have closed their listeners already. A second Close does nothing
// and returns nil.
func (s *Set) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	var errs []error
	for _, e := range slices.Concat(s.entries, s.inherited) {
		errs = append(errs, e.close())
	}
	s.entries, s.inherited, s.removed = nil, nil, nil
	return errors.Join(errs...)
}

// Unlink removes the files that [Set.Close] would remove, and closes nothing. A
// process whose servers close their listeners long before it calls Close, to
// drain, calls Unlink first: then there is no file on which nobody answers.
func (s *Set) Unlink() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, e := range s.entries {
		errs = append(errs, e.unlink())
	}
	return errors.Join(errs...)
}

// Sockets returns the open sockets in the order in which Listen and ListenPacket
// returned them.
func (s *Set) Sockets() []Socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Socket
	for _, e := range s.entries {
		if e.Name == "" && e.open() {
			list = append(list, Socket{e.Network, e.Address, bound(e.conn).String()})
		}
	}
	return list
}
