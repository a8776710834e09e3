//go:build !linux && !darwin && !freebsd

package control

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
)

// rawPeer knows nobody here, so that nobody is let in.
func rawPeer(syscall.RawConn) (peer, error) {
	return peer{}, fmt.Errorf("%s does not tell whose process is at the other end of a socket: %w", runtime.GOOS, errors.ErrUnsupported)
}
