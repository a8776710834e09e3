package handoff

import (
	"os"
	"os/signal"
	"syscall"
	"unsafe"
)

// ignoreHUP has children born with SIGHUP ignored until restore is called.
func ignoreHUP() (restore func()) {
	if signal.Ignored(syscall.SIGHUP) {
		return func() {}
	}
	signal.Ignore(syscall.SIGHUP)
	return func() {
		// signal.Reset does not undo Ignore for this signal, and Notify goes
		// back to what it finds: so that is made the default first. (A struct
		// sigaction of zeros is SIG_DFL on every processor.)
		var action [4]uint64
		const maskSize = 8
		syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGHUP), uintptr(unsafe.Pointer(&action)), 0, maskSize, 0, 0)
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGHUP)
		signal.Stop(c)
	}
}
