package early

import "syscall"

// Anchor is the variable of a service with a process that keeps its pid over all
// upgrades: the process that was started executes itself to be that, the anchor, and
// does nothing else; the anchor starts the first generation. The value is a role, and
// the number of a descriptor that proves it.
const Anchor = "GRACERUN_ANCHOR"

const (
	roleAnchor = 'a' // its order
	roleFirst  = 'g' // the line to the anchor
)

// What a generation says on the line to the anchor: Magic and one of these. The
// anchor keeps the build that it began with for ever, so that nothing of this may
// change: what it does not know it ignores.
const (
	AnchorComing = 'c' // the sender is a generation, and does not own the service yet
	AnchorMain   = 'm' // it does, and it catches signals
)

// anchorMagic begins the order.
const anchorMagic = "GRUNANCH"

// AnchorOrder is the content of the order's file: what the first generation is to be.
func AnchorOrder(program string, args []string) []byte {
	o := Order{Umask: -1, CoreLimit: -1, Program: program, Args: args}
	return append([]byte(anchorMagic), o.Encode()...)
}

// AnchorMarker is what the environment of an anchor says. It inherits the file.
func AnchorMarker(order int) string {
	return Anchor + "=" + string(rune(roleAnchor)) + decimal(uint64(order))
}

// This process may be an anchor. Then it never leaves this call.
var _ = beAnchor()

func beAnchor() (no bool) {
	if role, fd := anchorRole(); role == roleAnchor {
		if o, ok := readAnchorOrder(fd); ok {
			keepPID(o)
		}
	}
	return false
}

// anchorLine is set once.
var anchorLine = takeAnchorLine()

// AnchorLine is the first generation's end of the line to its anchor; -1 = it has none.
func AnchorLine() int { return anchorLine }

// takeAnchorLine hides the line from programs that the service starts.
func takeAnchorLine() int {
	role, fd := anchorRole()
	if role != roleFirst || !isLine(fd) {
		return -1
	}
	syscall.CloseOnExec(fd)
	syscall.Unsetenv(Anchor)
	return fd
}

// isLine is the proof, for a variable may leak: the other end of the pair was made by
// the parent of this process.
func isLine(fd int) bool {
	kind, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_TYPE)
	if err != nil || kind != syscall.SOCK_SEQPACKET {
		return false
	}
	peer, err := syscall.GetsockoptUcred(fd, syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	return err == nil && peer.Pid != 0 && int(peer.Pid) == syscall.Getppid()
}

func readAnchorOrder(fd int) (o Order, ok bool) {
	magic := make([]byte, len(anchorMagic))
	if n, err := syscall.Pread(fd, magic, 0); err != nil || n != len(magic) || string(magic) != anchorMagic {
		return o, false
	}
	text := slurp(fd)[len(magic):]
	syscall.Close(fd)
	return o, len(text) > numberSize && o.decode(text[numberSize:])
}

// anchorEnv is the environment with another value of the variable.
func anchorEnv(value string) []string {
	var env []string
	for _, v := range syscall.Environ() {
		if !has(v, Anchor+"=") {
			env = append(env, v)
		}
	}
	return append(env, Anchor+"="+value)
}

// anchorRole reads the variable: a letter, and a number.
func anchorRole() (role byte, fd int) {
	v, _ := syscall.Getenv(Anchor)
	if len(v) < 2 || len(v) > 8 {
		return 0, -1
	}
	for _, c := range v[1:] {
		if c < '0' || c > '9' {
			return 0, -1
		}
		fd = 10*fd + int(c-'0')
	}
	return v[0], fd
}

// fail ends this process: there is no service.
func fail(what string, err error) {
	syscall.Write(2, []byte("gracerun: the process that keeps the pid: "+what+": "+err.Error()+"\n"))
	syscall.Exit(1)
}
