//go:build unix

package verbs

import (
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	sigHangup   = syscall.SIGHUP
	sigContinue = syscall.SIGCONT
)

// signalNumber returns 0 for an unknown name.
func signalNumber(name string) syscall.Signal { return unix.SignalNum(name) }

func signalName(sig syscall.Signal) string { return unix.SignalName(sig) }
