//go:build !linux

package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// StartSystemd is for Linux.
func StartSystemd(context.Context, SystemdConfig) (*Systemd, error) {
	return nil, fmt.Errorf("harness: systemd runs on Linux: %w", errors.ErrUnsupported)
}

// UnitProcesses is for Linux.
func (s *Systemd) UnitProcesses(context.Context, string) ([]UnitProcess, error) {
	return nil, errNoProc
}

// Busy is for Linux.
func (s *Systemd) Busy() (idle func() error, err error) { return nil, errNoProc }

// Signal is for Linux.
func (UnitProcess) Signal(syscall.Signal) error { return errNoProc }

// Dial is for Linux.
func (s *Systemd) Dial(context.Context, string, string) (net.Conn, error) { return nil, errNoProc }
