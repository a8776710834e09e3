//go:build !unix

package verbs

import "syscall"

// Nothing is signalled here, because no lock proves anything: see package pidfile.
const (
	sigHangup   = syscall.SIGHUP
	sigContinue = syscall.SIGTERM
)

// signalNumber returns 0 for an unknown name.
func signalNumber(name string) syscall.Signal {
	switch name {
	case "SIGTERM":
		return syscall.SIGTERM
	case "SIGKILL":
		return syscall.SIGKILL
	}
	return 0
}

func signalName(sig syscall.Signal) string { return sig.String() }
