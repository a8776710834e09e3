package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A stream leads from standard descriptors to a logging service: by a pipe, at whose
// other end is the forwarder.
type stream struct {
	order order
	fds   []int

	// pipe waits for the commit, because until then the launcher has its memory
	// in the place of the descriptors. Else it is nil.
	pipe *os.File
}

// open starts a forwarder, unless one that a predecessor started is there.
func (s *stream) open() error {
	if s.pipe != nil || s.isOpen() {
		return nil
	}
	w, err := startForwarder(s.order)
	if err != nil {
		return fmt.Errorf("%s: %w", s.order.Output, err)
	}
	if slices.ContainsFunc(s.fds, isMemory) {
		s.pipe = w
		return nil
	}
	defer w.Close()
	return put(w, s.fds...)
}

// isOpen reports whether the descriptors are one pipe to a forwarder that lives and
// sends to our output.
func (s *stream) isOpen() bool {
	var first, st unix.Stat_t
	for _, fd := range s.fds {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil || flags&unix.O_ACCMODE != unix.O_WRONLY || unix.Fstat(fd, &st) != nil {
			return false
		}
		if first.Ino == 0 {
			first = st
		}
		if st.Mode != unix.S_IFIFO|pipeMode(s.order.Output) || st.Dev != first.Dev || st.Ino != first.Ino {
			return false
		}
	}
	p := []unix.PollFd{{Fd: int32(s.fds[0])}}
	unix.Poll(p, 0) // interrupted, it has nothing to report
	return p[0].Revents&unix.POLLERR == 0
}

// pipeMode says to the next generation, whose outputs may be others, where a pipe
// leads: the right to execute it means nothing else.
func pipeMode(output string) uint32 {
	if output == Journal {
		return 0o610
	}
	return 0o601
}

// begin puts the pipe in its place, and sends what is in the launcher's memory.
func (s *stream) begin() error {
	if s.pipe == nil {
		return nil
	}
	w := s.pipe
	defer w.Close()
	s.pipe = nil
	fds := slices.DeleteFunc(slices.Clone(s.fds), func(fd int) bool { return !isMemory(fd) }) // else the service has put something there
	if len(fds) == 0 {
		return nil
	}
	fd, err := unix.FcntlInt(uintptr(fds[0]), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	memory := os.NewFile(uintptr(fd), "memory")
	defer memory.Close()
	size := int64(math.MaxInt64)
	if !slices.Contains(s.fds, 2) && isMemory(2) { // it is one memory: it goes where errors go
		size = 0
	}
	text := io.NewSectionReader(memory, 0, size)
	_, before := io.Copy(w, text)
	err = put(w, fds...)
	_, after := io.Copy(w, text) // what was written meanwhile
	return errors.Join(before, err, after)
}

// isMemory reports whether fd is the launcher's memory for the output of the first
// generation: a file without a name that can be read, which no log can.
func isMemory(fd int) bool {
	var st unix.Stat_t
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_ACCMODE == unix.O_RDWR &&
		unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink == 0
}

// startTime is how long a forwarder has to answer.
const startTime = 10 * time.Second

// startForwarder returns the pipe on which it reads lines. The end must block: its
// users do not know that it is a pipe.
func startForwarder(o order) (w *os.File, err error) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	r, w := os.NewFile(uintptr(ends[0]), "|0"), os.NewFile(uintptr(ends[1]), "|1")
	defer r.Close()
	err = os.NewSyscallError("fchmod", unix.Fchmod(ends[1], pipeMode(o.Output)))
	if err == nil {
		err = o.start(r)
	}
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("the process that forwards lines: %w", err)
	}
	return w, nil
}

// start starts the process between, and waits until the forwarder has answered.
func (o order) start(r *os.File) error {
	ours, theirs, err := o.socket()
	if err != nil {
		return err
	}
	defer ours.Close()
	defer theirs.Close()
	null, err := openNull()
	if err != nil {
		return err
	}
	defer null.Close()
	program := "/proc/self/exe" // this very build, whatever is installed by now
	if _, err := os.Lstat(program); err != nil {
		program = os.Args[0]
	}
	between, err := os.StartProcess(program, []string{program}, &os.ProcAttr{
		Dir: "/", Files: []*os.File{r, null, null, theirs}, Sys: &syscall.SysProcAttr{Setsid: true},
		Env: append([]string{forwarderVariable + "=" + partBetween}, os.Environ()...), // packages of the service may want their variables
	})
	if err != nil {
		return err
	}
	theirs.Close()
	err = awaitAnswer(ours)
	if err != nil {
		unix.Kill(-between.Pid, unix.SIGKILL) // both are in its group
	}
	between.Wait()
	return err
}

// socket returns a pair of sockets: what comes out of theirs is the order.
func (o order) socket() (ours, theirs *os.File, err error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, nil, err
	}
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	err = errors.Join(unix.SetNonblock(p[0], true), unix.Send(p[0], append([]byte(orderMagic), text...), 0))
	ours, theirs = os.NewFile(uintptr(p[0]), "order"), os.NewFile(uintptr(p[1]), "order")
	if err != nil {
		ours.Close()
		theirs.Close()
	}
	return ours, theirs, err
}

func awaitAnswer(ours *os.File) error {
	if err := ours.SetReadDeadline(time.Now().Add(startTime)); err != nil {
		return err
	}
	text := make([]byte, maxOrder)
	n, err := ours.Read(text)
	switch answer := string(text[:n]); {
	case err == io.EOF:
		return errors.New("it ended before it began")
	case err != nil:
		return err
	case answer != forwarding:
		return errors.New(answer)
	}
	return nil
}

// openNull opens the null device, or memory where a chroot has none.
func openNull() (*os.File, error) {
	f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err == nil {
		return f, nil
	}
	fd, merr := unix.MemfdCreate("null", unix.MFD_CLOEXEC)
	if merr != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "null"), nil
}
