//go:build amd64 || arm64

package early

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

// An anchor catches signals without package os/signal, which needs package os, and
// learns what that would not say: whether the kernel has sent one. signalfd(2) is no
// way: it needs them blocked, and the threads of a Go program let through what would
// end it (blockableSig in package runtime). So the handler is a few instructions, in
// assembly: it notes the signal, and writes a byte into a pipe. One of the kernel's own is
// not noted: it comes from the terminal, and has gone to the whole group, which the
// service is in.

// CanAnchor says that there is a handler for this processor.
const CanAnchor = true

// signalPipe is set once. The handler writes to it, if it has room.
var signalPipe = openSignalPipe()

// caughtSet are the signals that came since it was last taken: a [signalSet]. The handler
// adds to it.
var caughtSet atomic.Uint64

type pipe struct{ read, write int32 }

func openSignalPipe() pipe {
	if role, _ := anchorRole(); role != roleAnchor {
		return pipe{-1, -1}
	}
	var p [2]int
	if err := syscall.Pipe2(p[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		return pipe{-1, -1}
	}
	return pipe{int32(p[0]), int32(p[1])}
}

// The addresses of the handler, and of what the kernel has it return to on amd64. Those
// of Go functions would be of others, that are called as Go calls.
var handlerAddress, returnAddress uintptr

// A sigaction is the kernel's.
type sigaction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

func (s *sigaction) set(sig syscall.Signal) error {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(s)), 0, unsafe.Sizeof(s.mask), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// catchSignals has them go to the pipe. A program that is executed has them by default.
func catchSignals(list []syscall.Signal) error {
	const (
		withInfo     = 0x4        // SA_SIGINFO
		onStack      = 0x08000000 // SA_ONSTACK: a goroutine's is too small
		restart      = 0x10000000 // SA_RESTART
		withRestorer = 0x04000000 // SA_RESTORER
	)
	if signalPipe.read < 0 {
		return syscall.EMFILE
	}
	for _, sig := range list {
		s := sigaction{handler: handlerAddress, flags: withInfo | onStack | restart, mask: ^uint64(0)}
		if returnAddress != 0 {
			s.flags, s.restorer = s.flags|withRestorer, returnAddress
		}
		if err := s.set(sig); err != nil {
			return err
		}
	}
	return nil
}

// caught returns the signals that came. The pipe is read first: what comes later is written
// to it once more. It is read once, for there may be no end of it.
func caught() signalSet {
	var b [4096]byte
	syscall.Read(int(signalPipe.read), b[:])
	return signalSet(caughtSet.Swap(0))
}

// A signalSet is the kernel's, whose first bit is signal 1.
type signalSet uint64

func (s signalSet) has(sig syscall.Signal) bool { return s&(1<<(sig-1)) != 0 }
func (s *signalSet) add(sig syscall.Signal)     { *s |= 1 << (sig - 1) }
func (s *signalSet) remove(sig syscall.Signal)  { *s &^= 1 << (sig - 1) }
