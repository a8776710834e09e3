// Package verbs is the command line of a service: what start, stop, restart, reload,
// status and the others do, say, and exit with.
//
// What is known of the service comes from three places. Its control socket says most, and
// the kernel says who answers there. The lock says whether it runs. The pid file is only an
// address: no process is signalled before it is shown to hold the lock, none is found by
// its name, and nothing is decided on the text of an error.
//
// The exit status is that of an LSB init script, see [Service.Exec].
package verbs

import (
	"context"
	"time"

	"github.com/gracerun/grace/gracerun/internal/systemd"
)

// Service is what the verbs are about: the service that this program is, which usually
// runs in another process.
type Service struct {
	Name, Version string

	PIDFile, Socket string // absolute, as this process sees them; Socket is the control socket
	Fault           error  // why these are not known: no verb can find the service then

	// How long a new process has to serve, and serves on probation, and how long a
	// service that stops may take; 0 = no limit.
	ReadyTimeout, Probation, StopTimeout time.Duration

	Reloads bool // the reload verb, and HUP, mean that the configuration is reread, in the same process

	// Run runs the service, in this process.
	Run func(ctx context.Context) error
	// KeepPID has this process keep its pid over all upgrades, and a child of it run
	// the service: then it does not return, but with an error.
	KeepPID func(ctx context.Context) error
	// Start runs it as a daemon and returns its pid when it is ready. The error is a
	// *[pidfile.LockedError] if the service runs already.
	Start func(ctx context.Context) (pid int, err error)
	// Foreground says why start must not leave the foreground; nil or "" = it may.
	Foreground func() (why string)

	// Unit returns what a systemd unit for the service is made of, which starts it by the
	// run verb or, forking, by start.
	Unit func(ctx context.Context, forking bool) (systemd.Params, error)

	Verbs []Verb // the user's own
}

// Verb is one that the user of the library adds.
type Verb struct {
	Name, Help string
	Run        func(ctx context.Context, args []string) error
}

// Reserved reports whether name cannot be the name of a user's verb.
func Reserved(name string) bool {
	_, found := find(name)
	return found || name == "" || name[0] == '-'
}
