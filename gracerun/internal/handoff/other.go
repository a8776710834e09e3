//go:build !linux

package handoff

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/gracerun/grace/listener"
)

// errNoHandoff is the answer of a system without SCM_RIGHTS over SOCK_SEQPACKET
// and without handles for processes: the service runs and drains there, it
// cannot be replaced in place.
var errNoHandoff = fmt.Errorf("an upgrade in place needs Linux, this is %s: %w", runtime.GOOS, errors.ErrUnsupported)

var errNoDaemon = fmt.Errorf("a daemon that starts itself needs Linux, this is %s: use run, under a supervisor: %w", runtime.GOOS, errors.ErrUnsupported)

// Self is this process as a generation of its service: the only one.
type Self struct{}

// Legacy is what a predecessor hands over.
type Legacy struct {
	Handles []listener.Handle
	FDs     []int
	Lock    *os.File
	Asked   time.Time
	From    int

	Daemon, Launched bool
	Dir, RunDir      string
	History, Manager json.RawMessage
}

// Estate is what a generation leaves to the next.
type Estate struct {
	App     string
	Version string
	Since   time.Time
	Asked   time.Time
	Handles []listener.Handle
	Conns   []syscall.Conn
	Lock    syscall.Conn
	Daemon  bool
	Dir     string
	RunDir  string
	History json.RawMessage
	Manager json.RawMessage
	Between bool
}

// AbsoluteName does nothing: nobody starts this program again.
func AbsoluteName() error { return nil }

// Claim returns a Self that cannot upgrade.
func Claim(string) (*Self, error) { return &Self{}, nil }

// Upgrade fails with [errors.ErrUnsupported].
func (*Self) Upgrade(context.Context, Limits, func() Estate, func(Progress)) error {
	return &Refusal{Stage: StageStart, Err: errNoHandoff}
}

// Start fails with [errors.ErrUnsupported].
func Start(context.Context, Launch, Limits, Estate, func(Progress)) (pid int, err error) {
	return 0, &Refusal{Stage: StageStart, Err: errNoDaemon}
}

func (*Self) Number() int          { return 1 }
func (*Self) Legacy() *Legacy      { return nil }
func (*Self) Events() <-chan any   { return nil }
func (*Self) HUP() bool            { return false }
func (*Self) Stage(string)         {}
func (*Self) Serving(string)       {}
func (*Self) Failed(string, error) {}
func (*Self) Commit(own func())    { own() }
func (*Self) Older() []*Peer       { return nil }
func (*Self) Successor() *Peer     { return nil }
func (*Self) Close()               {}

type process struct{ done chan struct{} }

func (*process) kill() error               { return errNoHandoff }
func (*process) alive() bool               { return false }
func (p *process) exited() <-chan struct{} { return p.done }

type channel struct{}

func (*channel) tell(message) {}

// Inherited reports whether a predecessor started this process.
func Inherited() bool { return false }

// BecomeAnchor does nothing: where there are no upgrades the pid is stable.
func BecomeAnchor() error { return nil }

// Anchored reports that nobody else keeps the pid.
func Anchored() (pid int, ok bool) { return 0, false }
