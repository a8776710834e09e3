//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package load

import (
	"errors"
	"fmt"
	"net"
	"runtime"
)

// readable cannot look without taking.
func readable(net.Conn) (bool, error) {
	return false, fmt.Errorf("load: looking at an idle connection on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
