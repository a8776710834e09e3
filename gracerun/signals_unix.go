//go:build unix

package gracerun

import (
	"os"
	"os/signal"
	"syscall"
)

func notifyReopen(c chan<- os.Signal) { signal.Notify(c, syscall.SIGUSR1) }

// ignoreTerminal is for a daemon: no terminal stops it.
func ignoreTerminal() { signal.Ignore(syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU) }
