//go:build !unix

package main

import "syscall"

// signalNumber knows one: no program is supervised here.
func signalNumber(name string) syscall.Signal {
	if name == "SIGTERM" {
		return syscall.SIGTERM
	}
	return 0
}
