package early

import (
	"syscall"
	"unsafe"
)

// A siginfo is the kernel's, of a child that has ended. 64-bit systems have a gap in it.
type siginfo struct {
	signo, errno, code int32
	_                  [0]uintptr
	pid, uid, status   int32
	_                  [104]byte
}

// Which children waitid waits for.
const (
	allChildren = 0 // P_ALL
	oneChild    = 1 // P_PID
)

// waitid looks at a child that has ended, and leaves it a zombie.
func waitid(which, pid, flags int) (info siginfo, errno syscall.Errno) {
	const leave = 0x01000000 // WNOWAIT
	_, _, errno = syscall.Syscall6(syscall.SYS_WAITID, uintptr(which), uintptr(pid), uintptr(unsafe.Pointer(&info)), uintptr(syscall.WEXITED|leave|flags), 0, 0)
	return info, errno
}

func await(pid int) (status syscall.WaitStatus) {
	for {
		if _, err := syscall.Wait4(pid, &status, 0, nil); err != syscall.EINTR {
			return status
		}
	}
}

// endAs ends this process as another has ended. The kernel lets no signal end process
// 1, which so exits as a shell does.
func endAs(status syscall.WaitStatus) {
	if !status.Signaled() {
		syscall.Exit(status.ExitStatus())
	}
	if syscall.Getpid() != 1 {
		dieOf(status.Signal())
	}
	syscall.Exit(128 + int(status.Signal()))
}

// dieOf ends this process by a signal, and leaves no core: the other one had its own.
func dieOf(sig syscall.Signal) {
	const (
		setDumpable = 4 // of prctl(2): a limit of no bytes is not for a program that takes core dumps
		unblock     = 1 // SIG_UNBLOCK
		setSize     = 8
	)
	syscall.RawSyscall6(syscall.SYS_PRCTL, setDumpable, 0, 0, 0, 0, 0)
	limitCore(0)
	handle(sig, defaultAction)
	set := uint64(1) << (sig - 1)
	syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, unblock, uintptr(unsafe.Pointer(&set)), 0, setSize, 0, 0)
	syscall.Kill(syscall.Getpid(), sig)
}
