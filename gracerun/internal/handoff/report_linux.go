package handoff

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/gracerun/internal/handoff/early"
	"github.com/gracerun/grace/listener"
)

// An exitError says that a program ended which may have said why.
type exitError string

func (e exitError) Error() string { return string(e) }

// watch gives the process between its order, and returns nil when the daemon has
// taken over, else why it is gone.
func (d *delivery) watch() error {
	d.reports.Write(d.order()) // one that does not read it does not report, either
	for {
		if d.awaitReady(d.reports) {
			return nil
		}
		buf := make([]byte, early.ReportSize)
		if _, err := io.ReadFull(d.reports, buf); err != nil {
			return d.unreported()
		}
		r := early.DecodeReport(buf)
		if r.Step != early.StepStarted {
			return d.failure(r)
		}
		p, err := openProcess(r.Value)
		if err == nil { // else it is gone already: the next report says so
			d.mu.Lock()
			d.daemon = p
			d.mu.Unlock()
		}
	}
}

func (d *delivery) order() []byte {
	return early.Order{
		Umask: d.Umask, CoreLimit: d.CoreLimit, NoNewPrivs: d.NoNewPrivs,
		Dropped: d.Credential != nil && d.Credential.UID != 0,
		Dir:     d.Dir, Program: d.Program, Args: d.Args,
	}.Encode()
}

// awaitReady waits for the ready byte, or until other has something to read.
func (d *delivery) awaitReady(other syscall.Conn) (ready bool) {
	listener.Control([]syscall.Conn{d.ready, other}, func(fds []int) error {
		p := []unix.PollFd{{Fd: int32(fds[0]), Events: unix.POLLIN}, {Fd: int32(fds[1]), Events: unix.POLLIN}}
		for p[0].Revents|p[1].Revents == 0 {
			if _, err := unix.Poll(p, -1); err != nil && !errors.Is(err, unix.EINTR) {
				return err
			}
		}
		// Both may be true: it took over, and ended. The byte was the first,
		// which one look at the two does not tell.
		unix.Poll(p[:1], 0)
		ready = p[0].Revents&unix.POLLIN != 0
		return nil
	})
	return ready
}

// unreported is the end of the process between before the daemon's.
func (d *delivery) unreported() error {
	daemon := d.reported()
	if daemon == nil {
		state, err := d.between.Wait()
		if err != nil {
			return err
		}
		return exitError(fmt.Sprintf("the program ended with %v before it was a daemon", state))
	}
	if d.awaitReady(daemon) {
		return nil
	}
	<-daemon.exited()
	return exitError("the daemon ended; its exit status is not known")
}

func (d *delivery) reported() *process {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.daemon
}

// failure is the reason in a report.
func (d *delivery) failure(r early.Report) error {
	errno := syscall.Errno(r.Value)
	switch r.Step {
	case early.StepEnded:
		return exitError("the daemon ended with " + statusText(syscall.WaitStatus(r.Value)))
	case early.StepCoreLimit:
		return fmt.Errorf("limit core dumps to %d bytes: %w", d.CoreLimit, os.NewSyscallError("setrlimit", errno))
	case early.StepDir:
		return &fs.PathError{Op: "chdir", Path: d.Dir, Err: errno}
	case early.StepNoNewPrivs:
		return os.NewSyscallError("prctl", errno)
	case early.StepPrivileges:
		return errors.New("the privileges that were dropped can be regained: setuid(0) succeeded")
	case early.StepExec:
		return &fs.PathError{Op: "fork/exec", Path: d.Program, Err: errno}
	}
	return fmt.Errorf("the start of the daemon failed at step %q: %w", r.Step, errno)
}

// statusText is what the os package says of a process of its own.
func statusText(status syscall.WaitStatus) string {
	if !status.Signaled() {
		return fmt.Sprintf("exit status %d", status.ExitStatus())
	}
	text := "signal: " + status.Signal().String()
	if status.CoreDump() {
		text += " (core dumped)"
	}
	return text
}

// words are the reason of a daemon that is gone. Where it never was one, the
// error says all.
func (d *delivery) words(err error) error {
	if exit := exitError(""); errors.As(err, &exit) {
		return d.birth.words(exit)
	}
	return err
}
