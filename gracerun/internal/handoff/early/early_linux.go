package early

import "syscall"

// handover is set once, by init.
var handover bool

// Handover reports whether a predecessor of ours started this process.
func Handover() bool { return handover }

// init acts only in a process that a predecessor, or the launcher of a daemon,
// started. The variables alone prove nothing: a command run by any program that
// uses tableflip inherits one of them, and in a fresh process descriptors 3 and 4
// are the Go runtime's own. The proof is the first packet in the channel, which
// can be read only once.
func init() {
	launch, _ := syscall.Getenv(Launch)
	child, _ := syscall.Getenv(Sentinel)
	if launch == "" && child == "" {
		return
	}
	if !isPipe(Ready, syscall.O_WRONLY) || !isPipe(Names, syscall.O_RDONLY) {
		return
	}
	started, asked := hasStart(Channel)
	if !started {
		return
	}
	if launch != "" && isStream(Reports) {
		between()
	}
	if child == "" {
		return
	}
	if asked && !startedBetween() {
		standBetween()
	}
	handover = true
	for _, fd := range []int{Ready, Names, Channel} {
		syscall.CloseOnExec(fd)
	}
	syscall.Unsetenv(Sentinel)
	syscall.Unsetenv(Between)
}

func isPipe(fd, mode int) bool {
	var st syscall.Stat_t
	if syscall.Fstat(fd, &st) != nil || st.Mode&syscall.S_IFMT != syscall.S_IFIFO {
		return false
	}
	flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFL, 0)
	return errno == 0 && int(flags)&syscall.O_ACCMODE == mode
}

func isStream(fd int) bool {
	kind, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_TYPE)
	return err == nil && kind == syscall.SOCK_STREAM
}

// hasStart looks at the first packet without taking it. asked says that it wants a
// process between the two generations.
func hasStart(fd int) (started, asked bool) {
	kind, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_TYPE)
	if err != nil || kind != syscall.SOCK_SEQPACKET {
		return false, false
	}
	const length = 4
	head := make([]byte, len(Magic)+length+len(StartPrefix)+len(AskBetween))
	n, _, err := syscall.Recvfrom(fd, head, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	if err != nil || n < len(Magic)+length || !has(string(head[:n]), Magic) {
		return false, false
	}
	body := string(head[len(Magic)+length : n])
	return has(body, StartPrefix), has(body, StartPrefix+AskBetween)
}
