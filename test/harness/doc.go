// Package harness runs a service as a black box: a real process that is
// replaced, signalled, stopped and killed, and looked at from outside.
//
//	binary, err := builder.Build("github.com/gracerun/grace/example/http")
//	s, err := harness.Start(harness.Config{
//		Binary: binary,
//		Args:   []string{"-addr", "127.0.0.1:0", "-rundir", harness.RunDir},
//	})
//	defer s.Close()
//	pid, err := s.Generation(ctx, 1) // it serves
//	pid, err = s.Upgrade(ctx)        // SIGHUP; generation 2 owns the service now
//	err = s.Stop(ctx)                // SIGTERM; every process of it is gone
//
// What belongs to a service is proved by /proc, never guessed from a name:
// every process that [Start] begins carries a variable of its own in the
// environment, which all its descendants inherit; one that overwrites it is in
// the private directory. Signals go through a handle of the process
// (pidfd_open(2)), so that they hit nobody else. [Service.Close] ends what is
// left, by pid, and says what that was: a leak.
//
// The package does not depend on package testing. It works on Linux; elsewhere
// Start returns an error that wraps [errors.ErrUnsupported].
package harness
