package listener

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"syscall"
)

// A conn is what an entry holds: an *os.File, or one of package net's sockets.
type conn interface {
	syscall.Conn
	io.Closer
}

// An owner is the process that may remove a socket's file.
type owner int

const (
	self        owner = iota // opened here, or inherited and committed
	predecessor              // inherited; the predecessor may yet carry on
	successor                // handed over
)

// An entry is one descriptor of a Set.
type entry struct {
	Handle
	conn    conn
	err     error // why what was inherited is a file, and no socket
	owner   owner
	offered bool // part of the last Handles
}

// name returns the name under which nothing else may be added.
func (e *entry) name() string {
	if e.Name != "" {
		return e.Name
	}
	return e.Network + ":" + e.Address
}

// is reports whether the entry is the socket configured as network and address.
func (e *entry) is(network, address string) bool {
	return e.Name == "" && e.Network == network && e.Address == address
}

// open reports whether nobody, a server with its listener say, has closed the
// entry's descriptor.
func (e *entry) open() bool {
	raw, err := e.conn.SyscallConn()
	return err == nil && raw.Control(func(uintptr) {}) == nil
}

// close closes the descriptor, and before that removes its socket file.
func (e *entry) close() error {
	uerr := e.unlink()
	err := e.conn.Close()
	if errors.Is(err, net.ErrClosed) || errors.Is(err, fs.ErrClosed) {
		err = nil
	}
	return errors.Join(uerr, err)
}

// bound returns the address a socket really has.
func bound(c conn) net.Addr {
	if ln, ok := c.(net.Listener); ok {
		return ln.Addr()
	}
	return c.(net.PacketConn).LocalAddr()
}
