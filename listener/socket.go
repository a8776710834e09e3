package listener

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

var (
	streamNetworks = []string{"tcp", "tcp4", "tcp6", "unix", "unixpacket"}
	packetNetworks = []string{"udp", "udp4", "udp6", "unixgram"}
)

// socket returns the Set's socket for an address, and whether it was inherited.
// The Set stays locked throughout: of two calls for one address only the second
// shall fail.
func (s *Set) socket(ctx context.Context, network, address string, networks []string) (conn, bool, error) {
	if !slices.Contains(networks, network) {
		err := fmt.Errorf("%w: want one of %s", net.UnknownNetworkError(network), strings.Join(networks, ", "))
		return nil, false, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	address, err := absolute(network, address)
	if err != nil {
		return nil, false, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, false, &net.OpError{Op: "listen", Net: network, Err: net.ErrClosed}
	}
	same := func(e *entry) bool { return e.is(network, address) }
	if i := slices.IndexFunc(s.inherited, same); i >= 0 {
		c, err := s.take(i, network, address)
		return c, true, err
	}
	// A server may close its listener and listen again.
	s.entries = slices.DeleteFunc(s.entries, func(e *entry) bool { return same(e) && !e.open() })
	if slices.ContainsFunc(s.entries, same) && !anyPort(network, address) {
		err := fmt.Errorf("%s is in this Set already: %w", address, syscall.EADDRINUSE)
		return nil, false, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	c, err := s.open(ctx, network, address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return s.addressInUse(ctx, network, address, err)
	}
	return c, false, err
}

// hasFile reports whether the address is the path of a file.
func hasFile(network, address string) bool {
	return strings.HasPrefix(network, "unix") && !strings.HasPrefix(address, "@")
}

// absolute makes the path of a unix socket absolute: the name has to mean the
// same after a change of directory, and in the next generation.
func absolute(network, address string) (string, error) {
	switch {
	case !hasFile(network, address):
		return address, nil
	case address == "":
		return "", &net.AddrError{Err: "missing path"}
	}
	return filepath.Abs(address)
}

// anyPort reports whether the kernel chooses the port.
func anyPort(network, address string) bool {
	if strings.HasPrefix(network, "unix") {
		return false
	}
	_, port, err := net.SplitHostPort(address)
	return address == "" || err == nil && (port == "" || port == "0")
}

// open opens a new socket and registers it.
func (s *Set) open(ctx context.Context, network, address string) (conn, error) {
	c, err := listen(ctx, s.config(), network, address)
	if err != nil {
		return nil, err
	}
	e := &entry{Handle: Handle{Network: network, Address: address}, conn: c}
	if err := e.identify(); err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: errors.Join(err, c.Close())}
	}
	s.entries = append(s.entries, e)
	return c, nil
}

// take registers the i-th inherited socket under the name it has now.
func (s *Set) take(i int, network, address string) (conn, error) {
	e := s.inherited[i]
	if e.err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: e.err}
	}
	e.Network, e.Address = network, address
	s.entries = append(s.entries, e)
	s.inherited = slices.Delete(s.inherited, i, i+1)
	return e.conn, nil
}

// listen opens a new socket.
func listen(ctx context.Context, lc *net.ListenConfig, network, address string) (conn, error) {
	if isPacket(network) {
		c, err := lc.ListenPacket(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return c.(conn), nil
	}
	ln, err := lc.Listen(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return ln.(conn), nil
}

// fromFile returns a socket with a duplicate of f's descriptor, which stays
// non-blocking.
func fromFile(network string, f *os.File) (conn, error) {
	if isPacket(network) {
		c, err := net.FilePacketConn(f)
		if err != nil {
			return nil, err
		}
		return c.(conn), nil
	}
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	return ln.(conn), nil
}

func isPacket(network string) bool {
	return strings.HasPrefix(network, "udp") || network == "unixgram"
}
