//go:build !unix

package gracerun

import (
	"os"
	"syscall"
)

func caughtSignals() []os.Signal { return []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM} }

func isReopen(os.Signal) bool { return false }

func ignoreTerminal() {}
