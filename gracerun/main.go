package gracerun

import (
	"cmp"
	"context"
	"flag"
	"io"
	"os"

	"github.com/gracerun/grace/gracerun/internal/daemon"
	"github.com/gracerun/grace/gracerun/internal/handoff"
	"github.com/gracerun/grace/gracerun/internal/systemd"
	"github.com/gracerun/grace/gracerun/internal/verbs"
)

// Main is the whole of a service's main function: it does what the first
// argument says, run being the default, and returns on success. Else it prints
// the reason on standard error and calls os.Exit.
//
// The arguments are flag.Args() when package flag has parsed the command line,
// else os.Args[1:]. In a process that was started for an upgrade, as a daemon, or
// below one that keeps the pid ([App.StablePID]), they are ignored, and the verb is
// run.
//
// The verbs are run, start, stop, restart, try-restart, reload, force-reload,
// upgrade, status, tasks, pause, resume, trigger, unit, install, uninstall,
// version, completion and help, and those of [App.Verb]; help says what each does.
func (a *App) Main() {
	args := os.Args[1:]
	if flag.Parsed() {
		args = flag.Args()
	}
	if code := a.Exec(context.Background(), args, os.Stdout, os.Stderr); code != 0 {
		os.Exit(code)
	}
}

// Exec is Main for tests and for services with a command line of their own. It
// returns the exit status, which is that of an LSB init script: 0 done, 1
// failed, 2 bad arguments, 3 not possible on this system, 4 not permitted, 5 the
// program is missing, 6 a fault in the App or its Daemon, 7 not running. The
// status verb has its own: 0 running, 1 dead with a pid file left, 2 locked by
// somebody unknown, 3 not running, 4 unknown, 150 upgrading, 151 draining, 152
// starting; with --ready it is 0 while new work is taken, else 1.
func (a *App) Exec(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	settled := handoff.AbsoluteName() // the name may be that of the program
	s := verbs.Service{Name: a.name(), Version: a.version(), Run: a.runVerb}
	if isStarted() {
		return s.Exec(ctx, []string{"run"}, stdout, stderr)
	}
	s.Unit = func(ctx context.Context, forking bool) (systemd.Params, error) { return a.unit(ctx, args, forking) }
	where, err := a.placeFor(args)
	s.PIDFile, s.Socket, s.Fault = where.pidFile, where.socket, cmp.Or(settled, err)
	s.ReadyTimeout = a.readyLimit()
	s.Probation = a.probationLimit()
	s.StopTimeout = a.stopLimit()
	s.Reloads = a.Hangup == HangupReload
	s.Start, s.Foreground, s.KeepPID = a.launcher(), daemon.Foreground, keepPID
	s.Verbs = a.work.verbs
	return s.Exec(ctx, args, stdout, stderr)
}

// placeFor is where a verb looks: what begins a service has its own place.
func (a *App) placeFor(args []string) (place, error) {
	switch {
	case len(args) == 0 || args[0] == "run":
		return a.place(workingDirectory())
	case args[0] == "start":
		return a.outside()
	}
	return a.found()
}
