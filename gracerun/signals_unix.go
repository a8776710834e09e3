//go:build unix

package gracerun

import (
	"os"
	"os/signal"
	"syscall"
)

// caughtSignals are those that a running App catches.
func caughtSignals() []os.Signal {
	return []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR1}
}

// isReopen reports whether a signal asks for the log files to be opened again.
func isReopen(sig os.Signal) bool { return sig == syscall.SIGUSR1 }

// ignoreTerminal is for a daemon: no terminal stops it.
func ignoreTerminal() { signal.Ignore(syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU) }
