package early

import "syscall"

// between is the life of the process between the launcher and the daemon. It is
// the leader of its session, and the daemon is not, so that no terminal that the
// daemon opens can ever become its controlling one. It stays until the daemon has
// taken over, to say how it ended if it does not. Nothing of the user's runs in
// it: it never returns.
func between() {
	syscall.CloseOnExec(Reports)
	order, ok := readOrder(Reports)
	if !ok {
		give(Report{StepOrder, int(syscall.EINVAL)})
		syscall.Exit(1)
	}
	failed, errno := order.obey()
	if errno != 0 {
		give(Report{failed, int(errno)})
		syscall.Exit(1)
	}
	pid, err := order.exec()
	if err != nil {
		give(Report{StepExec, int(errorNumber(err))})
		syscall.Exit(1)
	}
	give(Report{StepStarted, pid})
	go leaveWithLauncher()
	give(Report{StepEnded, int(await(pid))})
	syscall.Exit(0)
}

// obey changes this process. What belongs to a thread is the daemon's, too: this
// one, which init keeps, starts it.
func (o Order) obey() (failed byte, errno syscall.Errno) {
	if o.Umask >= 0 {
		syscall.Umask(o.Umask)
	}
	if o.CoreLimit >= 0 {
		if err := limitCore(uint64(o.CoreLimit)); err != nil {
			return StepCoreLimit, errorNumber(err)
		}
	}
	if o.Dir != "" {
		if err := syscall.Chdir(o.Dir); err != nil {
			return StepDir, errorNumber(err)
		}
	}
	if o.NoNewPrivs {
		const setNoNewPrivs = 38
		if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, setNoNewPrivs, 1, 0, 0, 0, 0); errno != 0 {
			return StepNoNewPrivs, errno
		}
	}
	if o.Dropped {
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETUID, 0, 0, 0); errno == 0 {
			return StepPrivileges, syscall.EPERM
		}
	}
	return 0, 0
}

// limitCore raises the hard limit only where it must: it needs a privilege.
func limitCore(size uint64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &limit); err != nil {
		return err
	}
	limit.Cur, limit.Max = size, max(limit.Max, size)
	return syscall.Setrlimit(syscall.RLIMIT_CORE, &limit)
}

// exec starts the daemon as a child that a predecessor has started.
func (o Order) exec() (pid int, err error) {
	var env []string
	for _, v := range syscall.Environ() {
		if !has(v, Launch+"=") {
			env = append(env, v)
		}
	}
	return syscall.ForkExec(o.Program, o.Args, &syscall.ProcAttr{
		Env:   append(env, Sentinel+"=yes"),
		Files: []uintptr{0, 1, 2, Ready, Names, Channel},
	})
}

// leaveWithLauncher ends this process when the launcher closes its end, because
// the daemon has taken over, or is dead: then the daemon carries on alone.
func leaveWithLauncher() {
	readFull(Reports, make([]byte, 1))
	syscall.Exit(0)
}

func give(r Report) { syscall.Write(Reports, r.encode()) }

func errorNumber(err error) syscall.Errno {
	errno, _ := err.(syscall.Errno)
	return errno
}

func has(s, prefix string) bool { return len(s) >= len(prefix) && s[:len(prefix)] == prefix }
