package listener

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// A Handle says what a descriptor is on its way to another process. It either
// has a Name, or a Network and an Address. Its JSON form is part of the protocol
// between different builds of a service: fields may be added, none changed.
type Handle struct {
	// Name is the name given to Set.Add; empty for a socket of Set.Listen.
	Name string `json:"name,omitempty"`

	// Network and Address are as configured, not as bound: ":0" keeps its port
	// from one generation to the next. A unix path is absolute.
	Network string `json:"network,omitempty"`
	Address string `json:"address,omitempty"`

	// Path, Dev and Ino identify the file of a unix socket. Path is empty if
	// there is none, or if it is not the service's own to remove.
	Path string `json:"path,omitempty"`
	Dev  uint64 `json:"dev,omitempty"`
	Ino  uint64 `json:"ino,omitempty"`

	// Label is what somebody else, who opened the socket, calls it. The Set
	// carries it on, and does not look at it.
	Label string `json:"label,omitempty"`

	// Keep says that the socket is not the service's to close: it stays in the
	// Set, and goes to each successor, although nobody asks for it. Its backlog,
	// too, is left as it is.
	Keep bool `json:"keep,omitempty"`

	// Parked says that somebody else, a service manager, has a duplicate, with
	// which the service goes on when it starts again: see Set.Park.
	Parked bool `json:"parked,omitempty"`
}

// Handles returns everything that is open in the Set, in order of registration,
// for a successor: the i-th Handle belongs to the i-th connection. Nothing is
// duplicated; pass the connections to [Control] to have their descriptors.
// What was inherited but not asked for is not among them, unless it is to be kept.
//
// The last call decides what a following [Set.Release] gives away.
func (s *Set) Handles() ([]Handle, []syscall.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var handles []Handle
	var conns []syscall.Conn
	for _, e := range s.entries {
		e.offered = e.open()
		if e.offered {
			handles = append(handles, e.Handle)
			conns = append(conns, e.conn)
		}
	}
	for _, e := range s.inherited {
		if e.Keep {
			handles, conns = append(handles, e.Handle), append(conns, e.conn)
		}
	}
	return handles, conns
}

// Unused returns what was inherited and nobody has asked for, in the predecessor's
// order: what [Set.CloseUnused] is about to close, and what it keeps.
func (s *Set) Unused() []Handle {
	s.mu.Lock()
	defer s.mu.Unlock()
	var handles []Handle
	for _, e := range s.inherited {
		handles = append(handles, e.Handle)
	}
	return handles
}

// Park notes that somebody else has a duplicate of what h describes, as
// [Set.Handles] returned it, and gives it back when the service starts again. From
// then on [Set.Close] and [Set.Unlink] leave the file of a unix socket: clients wait
// for the next start instead of being refused.
func (s *Set) Park(h Handle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		if e.Name == h.Name && e.Network == h.Network && e.Address == h.Address {
			e.Parked = true
		}
	}
}

// Control calls f with the descriptors of all conns, in their order, and returns
// its error. It keeps each of them open until f returns: a server that closes its
// listener meanwhile waits. f must not keep the numbers, nor close one of the
// conns. If one is closed already, f is not called and Control returns an error,
// for a socket one that wraps [net.ErrClosed]; a fresh call of [Set.Handles] no
// longer has it.
//
// The conns may be any connections and files, not only those of a Set.
func Control(conns []syscall.Conn, f func(fds []int) error) error {
	return control(conns, make([]int, 0, len(conns)), f)
}

// control nests one RawConn.Control per conn: only inside the call is the number
// sure to be this descriptor's, and not that of a file opened since.
func control(conns []syscall.Conn, fds []int, f func([]int) error) error {
	if len(conns) == 0 {
		return f(fds)
	}
	raw, err := conns[0].SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	err = raw.Control(func(fd uintptr) {
		ferr = control(conns[1:], append(fds, int(fd)), f)
	})
	if err != nil {
		return err
	}
	return ferr
}

// Inherit returns a Set that holds what a predecessor handed over: fds[i] is
// described by handles[i], as [Set.Handles] returned them there. The descriptors
// belong to the Set from here on and are set close-on-exec. Set the ListenConfig
// before the first Listen. Inherit panics if the lengths differ.
//
// A Handle may also describe a descriptor from elsewhere, as a service manager's
// socket activation: leave Path empty, so that its file is never removed, and set
// Keep.
func Inherit(handles []Handle, fds []int) *Set {
	if len(handles) != len(fds) {
		panic(fmt.Sprintf("listener: %d handles for %d descriptors", len(handles), len(fds)))
	}
	return &Set{inherited: adoptAll(handles, fds)}
}

// CloseUnused makes this process the owner of what it inherited. Call it once
// the successor has committed, or the predecessor has died: nothing can make the
// predecessor carry on then.
//
// It closes every inherited descriptor that nobody has asked for, unless it is to be
// kept, and removes the files of unix sockets among them, parked or not. For each adopted unix
// listener it calls listen(2) again, since SO_PEERCRED shows a client the
// process that called it last. All of it is done even when some of it fails;
// the errors are joined. A second call finds nothing left to do.
func (s *Set) CloseUnused() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	var kept []*entry
	for _, e := range s.inherited {
		e.owner = self
		if e.Keep {
			kept = append(kept, e)
			continue
		}
		e.Parked = false
		errs = append(errs, e.close())
	}
	for _, e := range s.removed {
		errs = append(errs, e.removeFile())
	}
	s.inherited, s.removed = kept, nil
	for _, e := range s.entries {
		if e.owner != predecessor {
			continue
		}
		e.owner = self
		if ln, ok := e.conn.(*net.UnixListener); ok && !e.Keep && e.open() {
			errs = append(errs, relisten(ln))
		}
	}
	return errors.Join(errs...)
}

// Release is the predecessor's side of the commit: what the last [Set.Handles]
// returned belongs to the successor, and [Set.Close] leaves the files of those
// unix sockets alone. What was opened after that call remains this process's
// own. Nothing is closed.
func (s *Set) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		if e.offered {
			e.owner = successor
		}
	}
}
