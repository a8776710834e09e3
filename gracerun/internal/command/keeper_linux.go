package command

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/gracerun/internal/handoff/early"
)

// A keeper is the parent of a program where the kernel does not tell others how it
// ended, or where it has no FIFO to be known by. It is this very binary, and runs
// nothing of the service's; see early.Keeping. It holds a lock on its report while it
// lives, and is killed when the group has ended.
type keeper struct {
	pid    int      // 0: it is dead
	path   string   // of the report
	file   *os.File // the report
	handle *os.File // pidfd
	child  bool     // ours, to reap
	done   chan struct{}
}

// A keeperReport is what one has said so far.
type keeperReport struct {
	pid    int // of the program
	errno  syscall.Errno
	ended  bool
	status syscall.WaitStatus
}

// reportSize is more than a keeper says.
const reportSize = 8 * early.ReportSize

// keeperTime is how long a keeper has to start a program.
const keeperTime = 10 * time.Second

// startKeeper returns when the program has been started.
func startKeeper(p *program, files []*os.File, path string) (pid int, k *keeper, err error) {
	if err := p.canBeKept(); err != nil {
		return 0, nil, err
	}
	order, err := p.order(files)
	if err != nil {
		return 0, nil, err
	}
	defer order.Close()
	os.Remove(path)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return 0, nil, err
	}
	k = &keeper{path: path, file: file, child: true, done: make(chan struct{})}
	err = withFD(file, func(fd int) error {
		return errors.Join(os.NewSyscallError("flock", unix.Flock(fd, unix.LOCK_EX)), reserve(fd))
	})
	if err == nil {
		err = k.start(p.name, order, files)
	}
	if err == nil {
		pid, err = k.started(p.path)
	}
	if err != nil {
		k.end()
		return 0, nil, err
	}
	return pid, k, nil
}

// reserve has the disk take the whole report, where it can: who has started a program
// must be able to say so.
func reserve(fd int) error {
	err := unix.EINTR
	for err == unix.EINTR {
		err, _ = unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, 0, reportSize).(unix.Errno)
	}
	if err == 0 || err == unix.EOPNOTSUPP || err == unix.ENOSYS {
		return nil
	}
	return os.NewSyscallError("fallocate", err)
}

// canBeKept refuses what only the kernel's own way can do.
func (p *program) canBeKept() error {
	a := p.attr
	a.Chroot, a.Credential, a.Setsid, a.Setpgid, a.Noctty = "", nil, false, false, false
	if a.Ptrace || a.Setctty || a.Foreground || a.Cloneflags != 0 || a.Unshareflags != 0 || a.UseCgroupFD ||
		len(a.UidMappings)+len(a.GidMappings)+len(a.AmbientCaps) > 0 {
		return fmt.Errorf("its SysProcAttr needs Linux 6.15, and output that is the App's: %w", errors.ErrUnsupported)
	}
	if p.dir != "" && p.attr.Chroot == "" {
		if _, err := os.Stat(p.dir); err != nil {
			return err
		}
	}
	return nil
}

// order is a file without a name: the environment is nobody else's business.
func (p *program) order(files []*os.File) (*os.File, error) {
	k := early.Keeping{
		Program: p.path, Dir: p.dir, Chroot: p.attr.Chroot, Args: p.args, Env: p.env, Files: p.kinds(files),
		Setsid: p.attr.Setsid, Noctty: p.attr.Noctty, Credential: p.attr.Credential,
	}
	fd, err := unix.MemfdCreate("order", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "order")
	if _, err := f.Write(k.Encode()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// kinds tells apart what of the files is the user's, whose readers have a right to see
// the end of it, and whose writers that nobody reads.
func (p *program) kinds(files []*os.File) string {
	kinds := make([]byte, len(files))
	for i, f := range files {
		switch {
		case f == nil:
			kinds[i] = early.KeepNone
		case (i == 1 || i == 2) && p.outputs[i-1] == nil:
			kinds[i] = early.KeepHold
		default:
			kinds[i] = early.KeepGive
		}
	}
	return string(kinds)
}

func (k *keeper) start(name string, order *os.File, files []*os.File) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	begun, begin, err := os.Pipe()
	if err != nil {
		return err
	}
	defer begun.Close()
	defer begin.Close()
	handle, own := -1, "/proc/self/exe" // this very build, whatever is installed by now
	proc, err := os.StartProcess(own, []string{os.Args[0] + ": keeper of " + name}, &os.ProcAttr{
		Env:   append(slices.DeleteFunc(os.Environ(), isOurs), early.Keep+"=yes"), // it may need LD_LIBRARY_PATH
		Files: append([]*os.File{null, null, null, order, k.file, begin}, files...),
		// What a terminal sends to the service is not meant. And there is no keeper without a handle.
		Sys: &syscall.SysProcAttr{Setpgid: true, PidFD: &handle},
	})
	if err != nil {
		return fmt.Errorf("the process that keeps it: %w", err)
	}
	k.pid = proc.Pid
	proc.Release()
	unix.SetNonblock(handle, true)
	k.handle = os.NewFile(uintptr(handle), "pidfd")
	go k.watch()
	begin.Close()
	begun.SetReadDeadline(time.Now().Add(keeperTime))
	if _, err = begun.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
		return nil
	}
	return fmt.Errorf("the process that keeps it: %w", err)
}

// watch reaps a keeper. It may outlive Run, as that of the program.
func (k *keeper) watch() {
	defer close(k.done)
	defer k.handle.Close()
	awaitEnd(k.handle)
	for {
		if _, err := unix.Wait4(k.pid, nil, 0, nil); err != unix.EINTR {
			return
		}
	}
}

// started returns the pid of the program, or why there is none.
func (k *keeper) started(path string) (int, error) {
	switch r := k.report(); {
	case r.errno != 0:
		return 0, &fs.PathError{Op: "fork/exec", Path: path, Err: r.errno}
	case r.pid == 0:
		return 0, errors.New("the process that keeps it ended before it began")
	default:
		return r.pid, nil
	}
}

// report reads what the keeper has said so far.
func (k *keeper) report() (r keeperReport) {
	text, _ := io.ReadAll(io.NewSectionReader(k.file, 0, reportSize))
	for ; len(text) >= early.ReportSize; text = text[early.ReportSize:] {
		switch said := early.DecodeReport(text); said.Step {
		case early.KeepFailed:
			r.errno = syscall.Errno(said.Value)
		case early.KeepStarted:
			r.pid = said.Value
		case early.KeepEnded:
			r.ended, r.status = true, syscall.WaitStatus(said.Value)
		}
	}
	return r
}

// openReport opens that of the process's keeper, also if somebody has deleted it.
func openReport(path string, p process) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if !errors.Is(err, fs.ErrNotExist) {
		return file, err
	}
	st, serr := readStat(p.pid)
	own := fmt.Sprintf("/proc/%d/fd/%d", st.parent, early.KeepReport)
	to, _ := os.Readlink(own)
	if serr != nil || st.begin != p.begin || filepath.Base(to) != filepath.Base(path)+" (deleted)" {
		return nil, err
	}
	return os.OpenFile(own, os.O_RDWR, 0)
}

// findKeeper finds the one that another supervisor has started for the process, if it
// knows that, and waits until it has started the program.
func findKeeper(path string, p process) (*keeper, keeperReport, error) {
	file, err := openReport(path, p)
	if err != nil {
		return nil, keeperReport{}, err
	}
	k := &keeper{path: path, file: file}
	for limit := time.Now().Add(keeperTime); ; time.Sleep(time.Millisecond) {
		lives := k.isLocked() // before the report is read: what has died says no more
		r := k.report()
		if r.pid != 0 && lives {
			if st, err := readStat(r.pid); err == nil {
				k.adopt(st)
			}
		}
		if r.pid != 0 || !lives || time.Now().After(limit) {
			return k, r, nil
		}
	}
}

// isLocked reports whether a keeper holds its lock.
func (k *keeper) isLocked() bool {
	return withFD(k.file, func(fd int) error {
		err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			unix.Flock(fd, unix.LOCK_UN)
		}
		return err
	}) != nil
}

// adopt makes the parent of the program k's process.
func (k *keeper) adopt(program procStat) {
	fd, err := unix.PidfdOpen(program.parent, unix.PIDFD_NONBLOCK)
	if err != nil {
		return
	}
	k.pid, k.handle = program.parent, os.NewFile(uintptr(fd), "pidfd")
	if !k.isParent(program.pid) { // it died just now
		k.handle.Close()
		k.pid, k.handle = 0, nil
	}
}

// isParent reports whether the pid cannot be another's than the program's.
func (k *keeper) isParent(pid int) bool {
	if k == nil || k.pid == 0 {
		return false
	}
	st, err := readStat(pid)
	return err == nil && st.parent == k.pid
}

// end kills it: there is no more to learn.
func (k *keeper) end() {
	if k == nil {
		return
	}
	if k.handle != nil {
		withFD(k.handle, func(fd int) error { return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) })
		if k.child {
			<-k.done
		}
	}
	os.Remove(k.path)
	k.close()
}

// close gives it up to a successor.
func (k *keeper) close() {
	if k == nil {
		return
	}
	if k.handle != nil && !k.child {
		k.handle.Close()
	}
	k.file.Close()
}
