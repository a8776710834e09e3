package listener

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
)

// identify notes which file a new unix socket has, and takes its removal over
// from package net, whose Close would delete the file the successor serves on.
func (e *entry) identify() error {
	if !hasFile(e.Network, e.Address) {
		return nil
	}
	dev, ino, err := fileID(e.Address)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return err
	}
	e.Path, e.Dev, e.Ino = e.Address, dev, ino
	if ln, ok := e.conn.(*net.UnixListener); ok {
		ln.SetUnlinkOnClose(false)
	}
	return nil
}

// unlink removes the socket file if it is this process's own, and nobody is to come
// back to it. While a socket is
// open the kernel holds on to its inode, so that no other file can have the
// number, even if this one was deleted. Of a socket that has been closed it takes
// a refused connection to be sure.
func (e *entry) unlink() error {
	if e.owner != self || e.Parked || e.Path == "" || !e.open() && stale(e.Network, e.Path) != nil {
		return nil
	}
	return e.removeFile()
}

// removeFile removes the entry's socket file, unless another one has its place.
func (e *entry) removeFile() error {
	if e.Path == "" {
		return nil
	}
	dev, ino, err := fileID(e.Path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (dev != e.Dev || ino != e.Ino) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Remove(e.Path)
}

// removeStale removes a socket file that nobody answers on. Two processes that
// start in the same instant can still take each other's file for a stale one,
// between bind and listen: to keep two starts apart is the business of a lock,
// as a pid file has.
func removeStale(network, path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("the file is not a socket")
	}
	if err := stale(network, path); err != nil {
		return err
	}
	return os.Remove(path)
}

// stale returns nil if nobody answers on a socket file. Only a refusal proves
// that: a full accept queue, a socket of another type and a lack of permission
// give other errors, and mean that somebody may be there.
func stale(network, path string) error {
	c, err := net.Dial(network, path)
	if err == nil {
		c.Close()
		return errors.New("another process answers there")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("another process may be there: %w", err)
	}
	return nil
}
