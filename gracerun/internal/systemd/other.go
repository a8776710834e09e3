//go:build !linux

package systemd

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"time"
)

var errNoSystemd = fmt.Errorf("systemd's protocols need Linux, this is %s: %w", runtime.GOOS, errors.ErrUnsupported)

func datagram(string, string, []syscall.Conn) error { return errNoSystemd }

func (*Notifier) barrier(context.Context) error { return errNoSystemd }

// monotonic has no reader here.
func monotonic() (time.Duration, error) { return 0, nil }

// ReadSockets returns none.
func ReadSockets(func(string) string, int) (Sockets, error) { return nil, nil }

// Adopted returns false.
func Adopted(int) bool { return false }
