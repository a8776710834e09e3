//go:build !linux

package command

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

// errNoSupervisor is the answer of a system without handles of processes, where no
// program could outlive the service and be known again.
var errNoSupervisor = fmt.Errorf("commands need Linux, this is %s: %w", runtime.GOOS, errors.ErrUnsupported)

func supported() error { return errNoSupervisor }

// Left returns none.
func Left(Options) []Status { return nil }

// A Supervisor has nothing to do here: [Spec.Check] refuses every program.
type Supervisor struct{}

// New returns one.
func New(Options, []Spec) *Supervisor { return &Supervisor{} }

// Run returns an error.
func (s *Supervisor) Run(context.Context, context.Context, func() bool) error { return errNoSupervisor }

// Begun reports false.
func (s *Supervisor) Begun() bool { return false }

// Close does nothing.
func (s *Supervisor) Close() {}

// Status returns none.
func (s *Supervisor) Status() []Status { return nil }

// Names returns none.
func (s *Supervisor) Names() []string { return nil }

// Reopen does nothing.
func (s *Supervisor) Reopen() error { return nil }

// Look does nothing.
func (s *Supervisor) Look() {}

// Pause returns an error.
func (s *Supervisor) Pause(string) error { return errNoSupervisor }

// Resume returns an error.
func (s *Supervisor) Resume(string) error { return errNoSupervisor }

// Trigger returns an error.
func (s *Supervisor) Trigger(string) error { return errNoSupervisor }
