package handoff

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"github.com/cloudflare/tableflip"
	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/gracerun/internal/handoff/early"
)

// engineFile is the name of our one file in tableflip's list.
const engineFile = "gracerun"

// inherited is what a predecessor left in this process: nil in the first
// generation.
var inherited = inherit()

// An inheritance is the child's side of an upgrade, up to the commit.
type inheritance struct {
	err       error // why it cannot be used
	start     message
	ch        *channel
	upg       *tableflip.Upgrader
	anchor    *anchorLine    // nil where there is none
	hup       chan os.Signal // a HUP that came before the App listened
	abandoned *time.Timer    // see endIfAbandoned; nil = there is no limit
	release   func()         // ends the relay: tableflip then allows the next upgrade
	output    []replacement  // of standard descriptors, at the commit
	claimed   chan struct{}  // holds one token: the first App of the right name takes it
}

// inherit runs before main, so that a HUP does not kill a child that is busy
// with code of its own before it calls Run.
func inherit() *inheritance {
	if !early.Handover() {
		return nil
	}
	hup := make(chan os.Signal, 1)
	caught := make(chan struct{})
	go func() { // beside the rest: each signal costs two changes of thread
		signal.Notify(hup, syscall.SIGHUP)
		close(caught)
	}()
	in := &inheritance{hup: hup, claimed: make(chan struct{}, 1), release: func() {}}
	in.err = in.open()
	<-caught
	return in
}

func (in *inheritance) open() error {
	if err := closeOnExec(early.Ready); err != nil {
		return err
	}
	fd, err := unix.FcntlInt(early.Channel, unix.F_DUPFD_CLOEXEC, early.Channel)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	if in.ch, err = newChannel(os.NewFile(uintptr(fd), "channel")); err != nil {
		return err
	}
	var fds []int
	if in.start, fds, err = in.ch.recv(); err != nil {
		return fmt.Errorf("first message: %w", err)
	}
	for i, it := range in.start.Items {
		in.accept(it.Kind, fds[i])
	}
	in.endIfAbandoned(time.Duration(in.start.Ready))
	in.sayHello()
	if in.start.Daemon {
		// Its output may be a pipe that the predecessor reads. Caught, the
		// signal of a broken one is an error of the write, no more.
		signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	}
	if in.release, err = relay(); err != nil {
		return err
	}
	os.Setenv(early.Sentinel, "yes") // for tableflip's eyes, and as long as it looks
	in.upg, err = newEngine()
	os.Unsetenv(early.Sentinel)
	return err
}

func (in *inheritance) sayHello() {
	hello := message{
		Type: typeHello, Protocol: protocol, Nonce: in.start.Nonce, Generation: in.start.Generation,
		Anchor: in.anchor != nil, PID: os.Getpid(),
	}
	if in.start.Between {
		hello.Parent = os.Getppid()
	}
	in.ch.tell(hello)
}

// accept takes fd over, which came with the start message.
func (in *inheritance) accept(kind string, fd int) {
	switch kind {
	case kindCrash:
		// Into a memfd, never a pipe: it outlives the reader, and a dead
		// reader kills nobody with SIGPIPE.
		f := os.NewFile(uintptr(fd), kind)
		debug.SetCrashOutput(f, debug.CrashOptions{})
		f.Close() // it has its own duplicate
	case kindAnchor:
		in.anchor = newAnchorLine(fd)
		in.anchor.say(early.AnchorComing)
	case kindOutput:
		in.output = append(in.output, replacement{syscall.Stdout, fd, inode(syscall.Stdout)})
	case kindErrorOutput:
		in.output = append(in.output, replacement{syscall.Stderr, fd, inode(syscall.Stderr)})
	default:
		unix.Close(fd)
	}
}

// A replacement is what takes the place of a standard descriptor, unless that
// is no longer what it was.
type replacement struct {
	place, fd int
	inode     uint64
}

// useOutput ends the time in which the launcher of a daemon keeps its output.
func (in *inheritance) useOutput() {
	for _, r := range in.output {
		if inode(r.place) == r.inode { // else the service has a log there
			unix.Dup3(r.fd, r.place, 0)
		}
		unix.Close(r.fd)
	}
}

// inode is that of an open file. All memory files are on one device.
func inode(fd int) uint64 {
	var st unix.Stat_t
	unix.Fstat(fd, &st)
	return st.Ino
}

// closeOnExec covers every descriptor from first on: also those that a library
// outside Go's control opened in the predecessor.
func closeOnExec(first uint) error {
	err := unix.CloseRange(first, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	// Linux before 5.11.
	entries, derr := os.ReadDir("/proc/self/fd")
	if derr != nil {
		return errors.Join(os.NewSyscallError("close_range", err), derr)
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= int(first) {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// relay puts a pipe of our own in the place of the one on which tableflip reads
// its list of files and then waits for its parent to be gone. So the child needs
// nothing more from a predecessor that dies now, and release lets the next
// upgrade begin while the predecessor still drains: tableflip refuses one with
// "parent hasn't exited".
func relay() (release func(), err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var list bytes.Buffer
	if err := gob.NewEncoder(&list).Encode([][]string{{"fd", engineFile, ""}}); err != nil {
		return nil, err
	}
	if _, err := w.Write(list.Bytes()); err != nil {
		return nil, err
	}
	rc, err := r.SyscallConn()
	if err != nil {
		return nil, err
	}
	var dupErr error
	err = rc.Control(func(fd uintptr) { dupErr = unix.Dup3(int(fd), early.Names, unix.O_CLOEXEC) })
	if err = errors.Join(err, os.NewSyscallError("dup3", dupErr)); err != nil {
		w.Close()
		return nil, err
	}
	return func() { w.Close() }, nil
}

// newEngine sets tableflip's time-out out of reach: it would kill a child that
// was already told that it is ready, so that our own timers decide.
func newEngine() (*tableflip.Upgrader, error) {
	if engineDir == "" { // deleted before the process began
		engineDir = "."
	}
	return tableflip.New(tableflip.Options{UpgradeTimeout: math.MaxInt64 * time.Nanosecond})
}

// Inherited reports whether a predecessor started this process.
func Inherited() bool { return inherited != nil }
