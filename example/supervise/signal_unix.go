//go:build unix

package main

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// signalNumber is 0 where there is no such signal.
func signalNumber(name string) syscall.Signal { return unix.SignalNum(name) }
