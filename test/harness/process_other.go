//go:build !linux

package harness

import (
	"context"
	"errors"
	"fmt"
	"syscall"
)

var errNoProc = fmt.Errorf("harness needs the /proc of Linux: %w", errors.ErrUnsupported)

func adoptOrphans() error { return errNoProc }

func keepOwn() error { return errNoProc }

func ownGroup() *syscall.SysProcAttr { return nil }

func begun(int) uint64 { return 0 }

// ReservePort is for Linux.
func ReservePort(func(func())) (string, error) { return "", errNoProc }

// Processes is for Linux.
func (s *Service) Processes() ([]Process, error) { return nil, errNoProc }

// Signal is for Linux.
func (s *Service) Signal(int, syscall.Signal) error { return errNoProc }

// SignalGroup is for Linux.
func (s *Service) SignalGroup(syscall.Signal) error { return errNoProc }

// Exited is for Linux.
func (s *Service) Exited(context.Context, int) error { return errNoProc }

// Dump is for Linux.
func (s *Service) Dump(context.Context) string { return s.Log() }

// Status is for Linux.
func (s *Service) Status(int) (ws syscall.WaitStatus, ok bool) { return ws, false }

// Environ is for Linux.
func Environ(int) ([]string, error) { return nil, errNoProc }

// OpenFDs is for Linux.
func OpenFDs(int) (FDs, error) { return nil, errNoProc }

// Listening is for Linux.
func Listening(int) ([]string, error) { return nil, errNoProc }
