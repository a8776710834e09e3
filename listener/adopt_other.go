//go:build !linux

package listener

import "os"

// An adopter makes sockets of descriptors.
type adopter struct{}

// socket returns the socket that fd is, and closes fd. If there is an error fd
// is open.
func (*adopter) socket(network string, fd int) (conn, error) {
	f := os.NewFile(uintptr(fd), network)
	c, err := fromFile(network, f)
	if err != nil {
		return nil, err
	}
	f.Close()
	return c, nil
}

func (*adopter) close() {}
