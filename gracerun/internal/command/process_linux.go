package command

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A process is a program that was started, the leader of its group, seen by its
// parent or by somebody who has adopted it.
type process struct {
	pid    int
	begin  uint64
	handle *os.File // pidfd; nil: it was gone when it was looked for
	child  bool     // ours, to reap
	keeper *keeper  // its parent, where it has one
	fifos  [2]inode // which prove that a group without a handle is its own

	done chan struct{} // closed when it has ended, and exit is known as well as it can be
	exit exit
}

// An exit is how a program ended.
type exit struct {
	known  bool
	status syscall.WaitStatus
}

// String is what os.ProcessState says.
func (e exit) String() string {
	switch w := e.status; {
	case !e.known:
		return "unknown"
	case w.Signaled() && w.CoreDump():
		return fmt.Sprintf("signal: %v (core dumped)", w.Signal())
	case w.Signaled():
		return fmt.Sprintf("signal: %v", w.Signal())
	default:
		return fmt.Sprintf("exit status %d", w.ExitStatus())
	}
}

// newProcess takes the handle over, and watches.
func newProcess(p process) *process {
	p.done = make(chan struct{})
	if p.handle == nil {
		close(p.done)
	} else {
		go p.watch()
	}
	return &p
}

// openProcess returns a handle of the process that has the pid, if it is the one
// that began then: the pid may be another's by now.
func openProcess(pid int, begin uint64) (*os.File, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	handle := os.NewFile(uintptr(fd), "pidfd")
	if st, err := readStat(pid); err != nil || st.begin != begin {
		handle.Close()
		if isShortage(err) {
			return nil, err
		}
		return nil, os.NewSyscallError("pidfd_open", unix.ESRCH)
	}
	return handle, nil
}

// watch ends when the process has ended, or its handle is closed. A child is
// reaped even then: this goroutine may outlive Run, in a generation that drains.
func (p *process) watch() {
	defer close(p.done)
	if !awaitEnd(p.handle) {
		return
	}
	if p.child {
		p.exit = p.reap()
	}
	// Its parent, if that is not we, is about to reap it, or never does.
	pause, open := time.Millisecond, true
	for limit := time.Now().Add(exitPatience); open && !p.exit.known && time.Now().Before(limit); pause = min(2*pause, 50*time.Millisecond) {
		if p.exit, open = p.askExit(); !p.exit.known {
			time.Sleep(pause)
		}
	}
}

// exitPatience is longer than the slowest init that was seen needs to look for
// orphans, every 2 s.
const exitPatience = 4 * time.Second

// awaitEnd reports false if the handle was closed first.
func awaitEnd(handle *os.File) (ended bool) {
	rc, err := handle.SyscallConn()
	if err != nil {
		return false
	}
	rc.Read(func(fd uintptr) bool {
		ended = hasEnded(int(fd))
		return ended
	})
	return ended
}

func hasEnded(handle int) bool {
	n, _ := unix.Poll([]unix.PollFd{{Fd: int32(handle), Events: unix.POLLIN}}, 0)
	return n > 0
}

// reap is for its parent.
func (p *process) reap() exit {
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(p.pid, &status, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil: // somebody waits for any child
			return exit{}
		default:
			return exit{true, syscall.WaitStatus(status)}
		}
	}
}

// askExit asks the keeper, or else the kernel. It reports whether the handle is open.
func (p *process) askExit() (e exit, open bool) {
	if p.keeper != nil {
		if r := p.keeper.report(); r.ended {
			return exit{true, r.status}, true
		}
	}
	if e = p.unreaped(); e.known {
		return e, true
	}
	err := withFD(p.handle, func(fd int) error {
		info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
		if err := unix.IoctlPidfdInfo(fd, &info); err == nil && info.Mask&unix.PIDFD_INFO_EXIT != 0 {
			e = exit{true, syscall.WaitStatus(info.Exit_code)}
		}
		return nil
	})
	return e, err == nil
}

// unreaped is the exit while nobody has reaped the process, which may take its parent
// long: not every container has a first process that cares.
func (p *process) unreaped() exit {
	st, err := readStat(p.pid)
	if err != nil || !st.gone() || st.begin != p.begin || st.status == 0 && !st.isOpen() {
		return exit{}
	}
	return exit{true, syscall.WaitStatus(st.status)}
}

// kernelTells reports whether the kernel gives the exit status of a process whose
// parent we are not, and signals a group by the handle of its leader. Only the end of
// a process could show the first: one would have to be started for that, and a thread
// of ours that ended would take along what has it as its parent (PR_SET_PDEATHSIG).
// So the version decides.
func kernelTells() bool {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_PID}
	if unix.IoctlPidfdInfo(fd, &info) != nil || unix.PidfdSendSignal(fd, 0, nil, unix.PIDFD_SIGNAL_PROCESS_GROUP) == unix.EINVAL {
		return false // or somebody filters system calls
	}
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return false
	}
	var major, minor int
	fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor)
	return major > 6 || major == 6 && minor >= 15
}

// running reports whether the program itself has not ended.
func (p *process) running() bool { return isOpen(p.done) }

// lives reports whether it is there, also while watch has not learnt of its end.
func (p *process) lives() (yes bool) {
	if p.handle != nil {
		withFD(p.handle, func(fd int) error { yes = !hasEnded(fd); return nil })
	}
	return yes
}

// signal signals the whole group, and nobody else: the number of a group whose
// processes are all gone can be another's. ESRCH means that none is left.
func (p *process) signal(sig unix.Signal) error {
	if p.handle != nil {
		err := withFD(p.handle, func(fd int) error {
			return unix.PidfdSendSignal(fd, sig, nil, unix.PIDFD_SIGNAL_PROCESS_GROUP)
		})
		if !errors.Is(err, unix.EINVAL) { // Linux before 6.9
			return os.NewSyscallError("pidfd_send_signal", err)
		}
		// While the keeper lives, or we do not wait, the leader's pid is its own.
		if p.keeper.isParent(p.pid) || p.running() {
			return os.NewSyscallError("kill", unix.Kill(-p.pid, sig))
		}
	}
	for range p.members() {
		return os.NewSyscallError("kill", unix.Kill(-p.pid, sig))
	}
	return os.NewSyscallError("kill", unix.ESRCH)
}

// vacant reports whether the whole group has ended. Who starts another one and ends is
// seen by nobody, and so is that one: they are killed.
func (p *process) vacant() bool {
	if p.left() {
		return false
	}
	p.signal(unix.SIGKILL)
	return !p.left()
}

// left reports whether any process of the group is seen that has not ended.
func (p *process) left() bool {
	if err := p.signal(0); errors.Is(err, unix.ESRCH) {
		return false
	}
	for range p.members() {
		return true
	}
	return false
}

// members are the processes of the group that have not ended. Where no handle says
// whose the number is, they must have the program's output.
func (p *process) members() []procStat {
	var list []procStat
	for st := range allProcesses() {
		if st.group != p.pid || st.gone() {
			continue
		}
		if p.handle == nil {
			if ours, _ := st.has(p.fifos); !ours {
				continue
			}
		}
		list = append(list, st)
	}
	return list
}

// release is for the end of the whole group.
func (p *process) release() {
	p.keeper.end()
	p.close()
}

// close gives the process up to a successor. A child is still reaped.
func (p *process) close() {
	switch {
	case p.handle == nil:
	case p.child:
		go func() { // with watch, in a generation that drains
			<-p.done
			p.handle.Close()
		}()
	default:
		p.handle.Close()
	}
	p.keeper.close()
}

// withFD calls f with the descriptor.
func withFD(file *os.File, f func(fd int) error) error {
	rc, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	return errors.Join(rc.Control(func(fd uintptr) { ferr = f(int(fd)) }), ferr)
}
