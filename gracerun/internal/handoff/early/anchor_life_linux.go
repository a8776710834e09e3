//go:build amd64 || arm64

package early

import "syscall"

// An anchor is the process with the one pid that a supervisor knows. It passes
// signals on to the generation that owns the service, buries who dies, and ends as
// the service does. Everything happens in its one loop, so that each death is looked
// at after all that was said before it.
type anchor struct {
	line int // to all generations: the end of file says that none has it

	main      *generation
	listens   bool // there was a main that catches HUP, which would end one that does not
	all       []*generation
	held      signalSet // to be passed on
	told      signalSet // what main was told to stop with
	lineEnded bool
	childless bool
	limit     int64 // when those that are left are ended, in ns of the monotonic clock; 0 = they are not
}

// A generation is one that spoke on the line, or the first.
type generation struct {
	pid, fd   int  // fd is a handle (pidfd_open(2)); -1 once it has ended
	wasMain   bool // at some time
	status    syscall.WaitStatus
	hasStatus bool // else somebody else has buried it
}

func (g *generation) ended() bool { return g.fd < 0 }

// passed are the signals for the service. A manager's watchdog sends ABRT: whose
// goroutines are to be seen is the service. TSTP, TTIN and TTOU stop the anchor itself,
// as the terminal does with the rest of its group.
var passed = [...]syscall.Signal{
	syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2,
	syscall.SIGTERM, syscall.SIGCONT, syscall.SIGWINCH, syscall.SIGABRT,
}

// lastGrace is the time, in ns, for what is left of a service whose main has died and
// which no generation takes over: for one that was only just started to say that it is
// coming; for older ones to finish, since while they live no new service can begin; and
// for a child of a library, which may have the line by fork(2), to be found out.
const lastGrace = 3e9

// keepPID is the life of the anchor.
func keepPID(o Order) {
	if err := catchSignals(append(passed[:], syscall.SIGCHLD)); err != nil {
		fail("catching signals", err)
	}
	if syscall.Getpid() != 1 {
		if err := adoptOrphans(); err != nil {
			fail("prctl", err)
		}
	}
	a := &anchor{}
	a.start(o)
	for !a.over() {
		a.wait()
		a.listen()
		a.bury()
		a.hear()
		a.pass()
	}
	a.leave()
}

// start starts the first generation. What this process has inherited, sockets of a
// service manager too, is the generation's under the same numbers, and closed here.
func (a *anchor) start(o Order) {
	p, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err == nil {
		err = syscall.SetsockoptInt(p[0], syscall.SOL_SOCKET, syscall.SO_PASSCRED, 1)
	}
	if err == nil {
		err = setCloseOnExec(p[1], false)
	}
	if err != nil {
		fail("socketpair", err)
	}
	a.line = p[0]
	pid, err := syscall.ForkExec(o.Program, o.Args, &syscall.ProcAttr{
		Env:   anchorEnv(string(rune(roleFirst)) + decimal(uint64(p[1]))),
		Files: []uintptr{0, 1, 2},
	})
	if err != nil {
		fail("starting "+o.Program, err)
	}
	closeInherited()
	syscall.Chdir("/")
	a.main = a.generation(pid)
	a.main.wasMain = true
}

// closeInherited closes what is not close-on-exec: all of ours is, and the runtime's.
func closeInherited() {
	const most = 4096
	for fd := 3; fd < most; fd++ {
		if flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0); errno == 0 && flags&syscall.FD_CLOEXEC == 0 {
			syscall.Close(fd)
		}
	}
}

// generation finds or adds a living one.
func (a *anchor) generation(pid int) *generation {
	for _, g := range a.all {
		if g.pid == pid && !g.ended() {
			return g
		}
	}
	g := &generation{pid: pid, fd: openPidFD(pid)}
	a.all = append(a.all, g)
	return g
}

// bury reaps all children that have died. What one has said before is heard first. Each
// generation descends from the anchor, and each orphan becomes its child: when there is
// no child, there will be none.
func (a *anchor) bury() {
	for {
		pid, err := deadChild()
		if pid <= 0 {
			a.childless = err == syscall.ECHILD
			break
		}
		a.hear()
		var status syscall.WaitStatus
		if got, _ := syscall.Wait4(pid, &status, syscall.WNOHANG, nil); got != pid {
			break
		}
		for _, g := range a.all {
			if g.pid == pid && !g.hasStatus {
				g.status, g.hasStatus = status, true
				g.end()
			}
		}
	}
	a.forget()
}

func (g *generation) end() {
	if !g.ended() {
		syscall.Close(g.fd)
		g.fd = -1
	}
}

// forget drops those that have ended but for main, whose end is that of the service.
// One that is no child, because its parent lives, is known by its handle alone.
func (a *anchor) forget() {
	var left []*generation
	for _, g := range a.all {
		if !g.ended() && hasEnded(g.fd) && !isChild(g.pid) {
			g.end()
		}
		if !g.ended() || g == a.main {
			left = append(left, g)
		}
	}
	a.all = left
}

// hear reads what generations say. The kernel proves who they are.
func (a *anchor) hear() {
	for !a.lineEnded {
		text, pid, err := receive(a.line)
		if err != nil {
			return
		}
		a.lineEnded = text == ""
		if pid == 0 || len(text) <= len(Magic) || text[:len(Magic)] != Magic {
			continue
		}
		switch text[len(Magic)] {
		case AnchorComing:
			a.generation(pid)
		case AnchorMain:
			if g := a.generation(pid); g != a.main {
				a.main = g
				a.held |= a.told // the one before could not pass it on, or it comes twice
			}
			a.main.wasMain, a.listens = true, true
		}
	}
}

// listen notes the signals that came.
func (a *anchor) listen() {
	came := caught()
	for _, sig := range passed {
		if came.has(sig) {
			a.held.add(sig)
		}
	}
}

// pass passes signals on, or keeps them until there is somebody.
func (a *anchor) pass() {
	for _, sig := range passed {
		if !a.held.has(sig) || sig == syscall.SIGHUP && !a.listens {
			continue
		}
		stops := sig == syscall.SIGTERM || sig == syscall.SIGINT
		if !a.main.ended() {
			sendSignal(a.main.fd, sig)
			a.held.remove(sig)
			if stops {
				a.told.add(sig)
			}
			continue
		}
		if !stops {
			continue
		}
		for _, g := range a.all { // nobody owns the service: whoever is about to must not
			if !g.ended() {
				sendSignal(g.fd, sig)
				a.held.remove(sig)
			}
		}
	}
}

// over reports whether the service has ended.
func (a *anchor) over() bool {
	live, coming := false, false
	for _, g := range a.all {
		live = live || !g.ended()
		coming = coming || !g.ended() && !g.wasMain
	}
	if !a.main.ended() || coming {
		a.limit = 0
		return false
	}
	if !live && (a.lineEnded || a.childless) {
		return true
	}
	switch t := now(); {
	case a.limit == 0:
		a.limit = t + lastGrace
		return false
	case t < a.limit:
		return false
	}
	for _, g := range a.all {
		if !g.ended() {
			sendSignal(g.fd, syscall.SIGKILL)
		}
	}
	return !live
}

// wait waits until something has happened, or limit has passed.
func (a *anchor) wait() {
	fds := []pollFD{{fd: int32(signalPipe.read), events: pollIn}}
	if !a.lineEnded {
		fds = append(fds, pollFD{fd: int32(a.line), events: pollIn})
	}
	for _, g := range a.all {
		if !g.ended() {
			fds = append(fds, pollFD{fd: int32(g.fd), events: pollIn})
		}
	}
	if a.limit == 0 {
		poll(fds, -1)
		return
	}
	const least = 50e6 // while those that were killed die
	poll(fds, max(a.limit-now(), least))
}

// leave ends this process as main has ended.
func (a *anchor) leave() {
	if !a.main.hasStatus {
		syscall.Exit(1)
	}
	endAs(a.main.status)
}
