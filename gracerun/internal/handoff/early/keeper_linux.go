package early

import (
	"syscall"
	"unsafe"
)

// Keep is the variable of a process that is to be a keeper: the parent of a program,
// which the service cannot be over generations. It learns the exit status, and while
// it is there nobody else gets the number of the program's group.
const Keep = "GRACERUN_KEEPER"

// Descriptors of a keeper.
const (
	KeepOrder  = 3 // a file: what to start
	KeepReport = 4 // a file: what became of it
	KeepBegun  = 5 // a pipe that is closed when that is known
	KeepFiles  = 6 // the first of the program's own
)

// A Keeping is the order of a keeper.
type Keeping struct {
	Program, Dir, Chroot string
	Args, Env            []string
	Files                string // of each file of the program a kind
	Setsid, Noctty       bool
	Credential           *syscall.Credential
}

// Kinds of files.
const (
	KeepNone = '-' // there is none
	KeepGive = 'g' // it is only the program's
	KeepHold = 'h' // a FIFO, of standard output or error: what is written waits in it
)

// keepMagic begins the order. The variable alone proves nothing.
const keepMagic = "GRUNKEEP"

// This process may be a keeper. Then it never leaves this call: no other package is
// initialised, and no goroutine of theirs started.
var _ = beKeeper()

func beKeeper() (no bool) {
	if v, _ := syscall.Getenv(Keep); v == "" {
		return false
	}
	magic := make([]byte, len(keepMagic))
	if n, err := syscall.Pread(KeepOrder, magic, 0); err != nil || n != len(magic) || string(magic) != keepMagic {
		return false
	}
	text := slurp(KeepOrder)
	var k Keeping
	if !k.decode(text[len(keepMagic):]) {
		syscall.Exit(2)
	}
	k.keep()
	return false
}

// slurp reads a file from its beginning.
func slurp(fd int) (text []byte) {
	chunk := make([]byte, 32<<10)
	for {
		n, err := syscall.Pread(fd, chunk, int64(len(text)))
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return text
		}
		text = append(text, chunk[:n]...)
	}
}

// keep starts the program, and stays until it is killed: its child, though ended, is
// not reaped before. Who supervises the program kills it then.
func (k *Keeping) keep() {
	files := make([]uintptr, len(k.Files))
	for i, kind := range k.Files {
		if files[i] = uintptr(KeepFiles + i); kind == KeepNone { // what is there is the Go runtime's own
			files[i] = ^uintptr(0)
		}
	}
	for fd := KeepOrder; fd < KeepFiles+len(k.Files); fd++ {
		syscall.CloseOnExec(fd)
	}
	pid, err := syscall.ForkExec(k.Program, k.Args, &syscall.ProcAttr{
		Dir: k.Dir, Env: k.Env, Files: files,
		Sys: &syscall.SysProcAttr{
			Chroot: k.Chroot, Credential: k.Credential, Setsid: k.Setsid, Setpgid: !k.Setsid, Noctty: k.Noctty,
		},
	})
	if err != nil {
		report(KeepFailed, int(errorNumber(err)))
		syscall.Exit(1)
	}
	ignoreSignals() // the program has not inherited that
	for i, kind := range k.Files {
		switch kind {
		case KeepHold:
			onlyRead(KeepFiles + i)
		case KeepGive:
			syscall.Close(KeepFiles + i)
		}
	}
	report(KeepStarted, pid) // from now on who else has its files is a process that it has started
	syscall.Close(KeepBegun)
	syscall.Chdir("/")
	report(KeepEnded, awaitChild(pid))
	for {
		syscall.Pause()
	}
}

// onlyRead opens a FIFO anew, so that who reads it sees the end when nobody else is left
// who could write. fd has one digit.
func onlyRead(fd int) {
	reader, err := syscall.Open("/proc/self/fd/"+string(rune('0'+fd)), syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err == nil {
		syscall.Dup3(reader, fd, syscall.O_CLOEXEC)
		syscall.Close(reader)
	}
}

// Steps that a keeper reports, as one Report each, at the end of the file.
const (
	KeepFailed  = 'x' // an error number
	KeepStarted = 's' // the pid
	KeepEnded   = 'e' // the wait status
)

func report(step byte, value int) { syscall.Write(KeepReport, Report{step, value}.encode()) }

// awaitChild leaves it a zombie, so that its pid stays its own.
func awaitChild(pid int) (status int) {
	info, errno := waitid(oneChild, pid, 0)
	for errno == syscall.EINTR {
		info, errno = waitid(oneChild, pid, 0)
	}
	const (
		exited = 1 // CLD_EXITED
		dumped = 3 // CLD_DUMPED
	)
	switch info.code {
	case exited:
		return int(info.status) << 8
	case dumped:
		return int(info.status) | 0x80
	}
	return int(info.status)
}

// ignoreSignals that end a whole service: a keeper outlives it, as its program does.
func ignoreSignals() {
	for _, sig := range []syscall.Signal{
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGPIPE,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU,
	} {
		handle(sig, ignoreAction)
	}
}

// What handle takes: SIG_DFL and SIG_IGN.
const (
	defaultAction = iota
	ignoreAction
)

func handle(sig syscall.Signal, action uintptr) {
	sigaction := [8]uintptr{action}
	const setSize = 8
	syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&sigaction)), 0, setSize, 0, 0)
}

const (
	keepSetsid = 1 << iota
	keepNoctty
	keepCredential
	keepNoSetGroups
)

// Encode returns the order as the file holds it: numbers of eight bytes each, and
// strings after their length.
func (k *Keeping) Encode() []byte {
	var flags uint64
	c := k.Credential
	set := func(on bool, flag uint64) {
		if on {
			flags |= flag
		}
	}
	set(k.Setsid, keepSetsid)
	set(k.Noctty, keepNoctty)
	set(c != nil, keepCredential)
	if c == nil {
		c = &syscall.Credential{}
	}
	set(c.NoSetGroups, keepNoSetGroups)
	b := []byte(keepMagic)
	for _, n := range []uint64{flags, uint64(c.Uid), uint64(c.Gid), uint64(len(c.Groups))} {
		b = appendNumber(b, n)
	}
	for _, g := range c.Groups {
		b = appendNumber(b, uint64(g))
	}
	for _, list := range [][]string{{k.Program, k.Dir, k.Chroot, k.Files}, k.Args, k.Env} {
		b = appendNumber(b, uint64(len(list)))
		for _, s := range list {
			b = append(appendNumber(b, uint64(len(s))), s...)
		}
	}
	return b
}

// decode reads what follows the magic.
func (k *Keeping) decode(b []byte) bool {
	d := decoder{rest: b, ok: true}
	flags := d.number()
	k.Setsid, k.Noctty = flags&keepSetsid != 0, flags&keepNoctty != 0
	c := &syscall.Credential{Uid: uint32(d.number()), Gid: uint32(d.number()), NoSetGroups: flags&keepNoSetGroups != 0}
	for n := d.number(); d.ok && n > 0; n-- {
		c.Groups = append(c.Groups, uint32(d.number()))
	}
	if flags&keepCredential != 0 {
		k.Credential = c
	}
	names := d.strings()
	k.Args, k.Env = d.strings(), d.strings()
	if !d.ok || len(names) != 4 || len(d.rest) != 0 {
		return false
	}
	k.Program, k.Dir, k.Chroot, k.Files = names[0], names[1], names[2], names[3]
	return true
}

// A decoder takes values from the front.
type decoder struct {
	rest []byte
	ok   bool
}

func (d *decoder) number() (n uint64) {
	if len(d.rest) < numberSize {
		d.ok = false
		return 0
	}
	n, d.rest = number(d.rest), d.rest[numberSize:]
	return n
}

func (d *decoder) strings() (list []string) {
	for n := d.number(); d.ok && n > 0; n-- {
		size := d.number()
		if size > uint64(len(d.rest)) {
			d.ok = false
			break
		}
		list, d.rest = append(list, string(d.rest[:size])), d.rest[size:]
	}
	return list
}
