package handoff

import (
	"os"
	"syscall"
)

// useOpenStandardFiles puts the null device in the place of a standard file that
// the service has closed: tableflip passes all three on, and fails with "use of
// closed file".
func useOpenStandardFiles() {
	for _, f := range []**os.File{&os.Stdin, &os.Stdout, &os.Stderr} {
		if isOpen(*f) {
			continue
		}
		if null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0); err == nil {
			*f = null
		}
	}
}

func isOpen(f *os.File) bool {
	if f == nil {
		return false
	}
	var rc syscall.RawConn
	rc, err := f.SyscallConn()
	return err == nil && rc.Control(func(uintptr) {}) == nil
}
