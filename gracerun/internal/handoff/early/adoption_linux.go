package early

import "syscall"

// Between is the variable of a generation that the process between it and its
// predecessor has started. Its value names the channel: for any other it says nothing.
// (The parent would not do: it may be dead.)
const Between = "GRACERUN_BETWEEN"

// standBetween is the life of the process between two generations. A supervisor that
// is to take the next one for its own must become its parent, which the kernel makes
// of the nearest subreaper (or process 1) when the parent is gone. This process is
// that parent: the predecessor, which drains for long, ends it at the commit. Until
// then it passes on how the generation ended. Nothing of the user's runs in it.
//
// It returns where it cannot start another. Then it is the generation itself, as it
// would be without a supervisor.
func standBetween() {
	pid, err := startGeneration()
	if err != nil {
		return
	}
	ignoreSignals() // the generation has not inherited that
	syscall.Close(Ready)
	go leaveWithPredecessor()
	endAs(await(pid))
}

// startedBetween reports whether this process is what standBetween starts.
func startedBetween() bool {
	v, _ := syscall.Getenv(Between)
	return v == channelName()
}

// startGeneration starts this program anew, as the predecessor has started it.
func startGeneration() (pid int, err error) {
	args, err := arguments()
	if err != nil {
		return 0, err
	}
	var env []string
	for _, v := range syscall.Environ() {
		if !has(v, Between+"=") {
			env = append(env, v)
		}
	}
	attr := &syscall.ProcAttr{
		Env:   append(env, Between+"="+channelName()),
		Files: []uintptr{0, 1, 2, Ready, Names, Channel},
	}
	if has(args[0], "/") {
		if pid, err = syscall.ForkExec(args[0], args, attr); err == nil {
			return pid, nil
		}
	}
	return syscall.ForkExec("/proc/self/exe", args, attr)
}

// arguments are those of this process: package os has not been initialised.
func arguments() (args []string, err error) {
	fd, err := syscall.Open("/proc/self/cmdline", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer syscall.Close(fd)
	text, begin := slurp(fd), 0
	for i, c := range text {
		if c == 0 {
			args, begin = append(args, string(text[begin:i])), i+1
		}
	}
	if len(args) == 0 {
		return nil, syscall.EINVAL
	}
	return args, nil
}

// leaveWithPredecessor ends this process when the predecessor is dead: nobody is left
// who wants to know how the generation ended. A process has exited, at the latest,
// when the pipe on which tableflip holds the other end says so. (What is left in it
// is of no use to the generation, which writes a list of its own.)
func leaveWithPredecessor() {
	syscall.SetNonblock(Names, false)
	for readFull(Names, make([]byte, 1)) {
	}
	syscall.Exit(0)
}

// channelName is the number of its inode, which no other open socket has.
func channelName() string {
	var st syscall.Stat_t
	syscall.Fstat(Channel, &st)
	return decimal(st.Ino)
}

func decimal(n uint64) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return decimal(n/10) + string(rune('0'+n%10))
}
