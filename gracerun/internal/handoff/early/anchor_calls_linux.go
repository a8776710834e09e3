//go:build amd64 || arm64

package early

import (
	"syscall"
	"unsafe"
)

// What package syscall does not have. The numbers of these two are the same on all
// processors.
const (
	sysPidfdSendSignal = 424
	sysPidfdOpen       = 434
)

// openPidFD returns -1 for a process that is gone.
func openPidFD(pid int) int {
	fd, _, errno := syscall.Syscall(sysPidfdOpen, uintptr(pid), 0, 0)
	if errno != 0 {
		return -1
	}
	return int(fd)
}

func sendSignal(fd int, sig syscall.Signal) {
	syscall.Syscall6(sysPidfdSendSignal, uintptr(fd), uintptr(sig), 0, 0, 0, 0)
}

// hasEnded also is true of a zombie.
func hasEnded(fd int) bool {
	fds := []pollFD{{fd: int32(fd), events: pollIn}}
	return poll(fds, 0) > 0
}

const pollIn = 1

// A pollFD is struct pollfd.
type pollFD struct {
	fd              int32
	events, revents int16
}

// poll waits for ns nanoseconds; negative = without a limit.
func poll(fds []pollFD, ns int64) (n int) {
	var limit *syscall.Timespec
	if ns >= 0 {
		t := syscall.NsecToTimespec(ns)
		limit = &t
	}
	r, _, errno := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&fds[0])), uintptr(len(fds)), uintptr(unsafe.Pointer(limit)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(r)
}

// now is the monotonic clock, in ns.
func now() int64 {
	const monotonic = 1
	var t syscall.Timespec
	syscall.Syscall(syscall.SYS_CLOCK_GETTIME, monotonic, uintptr(unsafe.Pointer(&t)), 0)
	return t.Nano()
}

// deadChild returns a child that has died, and leaves it a zombie; 0 = there is none.
func deadChild() (pid int, err error) {
	info, errno := waitid(allChildren, 0, syscall.WNOHANG)
	if errno != 0 {
		return 0, errno
	}
	return int(info.pid), nil
}

// isChild reports whether a process, which may be a zombie, is a child of this one.
func isChild(pid int) bool {
	_, errno := waitid(oneChild, pid, syscall.WNOHANG)
	return errno == 0
}

// receive reads one packet, with the pid of its sender; "" is the end.
func receive(fd int) (text string, pid int, err error) {
	var b [64]byte
	oob := make([]byte, syscall.CmsgSpace(syscall.SizeofUcred))
	n, oobn, _, _, err := syscall.Recvmsg(fd, b[:], oob, syscall.MSG_DONTWAIT|syscall.MSG_CMSG_CLOEXEC)
	if err != nil {
		return "", 0, err
	}
	msgs, err := syscall.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return string(b[:n]), 0, nil
	}
	for i := range msgs {
		if cred, err := syscall.ParseUnixCredentials(&msgs[i]); err == nil {
			pid = int(cred.Pid)
		}
	}
	return string(b[:n]), pid, nil
}

func setCloseOnExec(fd int, on bool) error {
	flags := 0
	if on {
		flags = syscall.FD_CLOEXEC
	}
	_, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_SETFD, uintptr(flags))
	if errno != 0 {
		return errno
	}
	return nil
}

func adoptOrphans() error {
	const setChildSubreaper = 36
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, setChildSubreaper, 1, 0, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
