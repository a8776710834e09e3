//go:build !linux

package daemon

import (
	"errors"
	"fmt"
	"runtime"
)

// errNoDaemon is the answer of a system on which no process is started in the
// background, because none could be replaced there.
var errNoDaemon = fmt.Errorf("a daemon needs Linux, this is %s: %w", runtime.GOOS, errors.ErrUnsupported)

// Resolve returns an error.
func (c Config) Resolve() (*Plan, error) { return nil, errNoDaemon }

// Prepare returns an error.
func (p *Plan) Prepare() error { return errNoDaemon }

// Close does nothing.
func (p *Plan) Close() {}

// Outside returns path.
func (p *Plan) Outside(path string) string { return path }

// Logs does not exist here.
type Logs struct{}

// OpenLogs returns an error.
func OpenLogs(output, errorOutput, name string) (*Logs, error) { return nil, errNoDaemon }

// Reopen returns an error.
func (l *Logs) Reopen() error { return errNoDaemon }

// Commit returns an error.
func (l *Logs) Commit() error { return errNoDaemon }
