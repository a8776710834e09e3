package gracerun

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/gracerun/grace/gracerun/internal/handoff"
)

// Exit codes of Main and Exec, those of LSB init scripts.
const (
	exitOK            = 0
	exitFailed        = 1
	exitUsage         = 2
	exitUnimplemented = 3
)

// Main is the whole of a service's main function: it does what the first
// argument says, run being the default, and returns on success. Else it prints
// the reason on standard error and calls os.Exit.
//
// The arguments are flag.Args() when package flag has parsed the command line,
// else os.Args[1:]. In a process that was started for an upgrade they are
// ignored, and the verb is run.
func (a *App) Main() {
	args := os.Args[1:]
	if flag.Parsed() {
		args = flag.Args()
	}
	if code := a.Exec(context.Background(), args, os.Stdout, os.Stderr); code != exitOK {
		os.Exit(code)
	}
}

// Exec is Main for tests and for services with a command line of their own. It
// returns the exit code: 0 done, 1 failed, 2 bad arguments, 3 not implemented.
func (a *App) Exec(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	verb := "run"
	if len(args) > 0 && !handoff.Inherited() {
		verb = args[0]
	}
	switch verb {
	case "run":
		if len(args) > 1 && !handoff.Inherited() {
			fmt.Fprintf(stderr, "%s: run takes no arguments, not %q; flags go before it\n", a.name(), args[1:])
			return exitUsage
		}
		if err := a.Run(ctx); err != nil {
			fmt.Fprintf(stderr, "%s: %v\n", a.name(), err)
			return exitFailed
		}
		return exitOK
	case "version":
		fmt.Fprintf(stdout, "%s %s\n", a.name(), a.version())
		return exitOK
	case "help", "-h", "-help", "--help":
		fmt.Fprint(stdout, usage(a.name()))
		return exitOK
	case "start", "stop", "restart", "try-restart", "reload", "force-reload", "upgrade", "status":
		fmt.Fprintf(stderr, "%s: %s is not there yet: use run, and signals: HUP upgrades, TERM stops\n", a.name(), verb)
		return exitUnimplemented
	}
	fmt.Fprintf(stderr, "%s: no such verb: %q\n%s", a.name(), verb, usage(a.name()))
	return exitUsage
}

func usage(name string) string {
	return fmt.Sprintf(`usage: %s [flags] [verb]
  run      run in the foreground (the default); HUP upgrades, TERM and INT stop
  version  print the version
  help     print this
`, name)
}
