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
	"syscall"
	"time"

	"github.com/cloudflare/tableflip"
	"golang.org/x/sys/unix"
)

// Descriptors of a child that tableflip started (0 to 2 are the standard ones).
const (
	fdReady   = 3 // write end: one byte is the commit
	fdNames   = 4 // read end: the names of the files; its EOF says that the parent is gone
	fdChannel = 5 // the only file we give it
)

// sentinel is what tableflip puts into a child's environment.
const sentinel = "TABLEFLIP_HAS_PARENT_7DIU3"

// engineFile is the name of our one file in tableflip's list.
const engineFile = "gracerun"

// inherited is what a predecessor left in this process: nil in the first
// generation. It is set once, by init.
var inherited *inheritance

// An inheritance is the child's side of an upgrade, up to the commit.
type inheritance struct {
	err     error // why it cannot be used
	start   message
	ch      *channel
	upg     *tableflip.Upgrader
	hup     chan os.Signal // a HUP that came before the App listened
	release func()         // ends the relay: tableflip then allows the next upgrade
	claimed chan struct{}  // holds one token: the first App of the right name takes it
}

// init acts only in a process that a predecessor started, which its first packet
// proves (see marked), and before any other code of the service: a HUP must not
// kill the child, and no command that the service starts may inherit a
// descriptor or a variable of the hand-over.
func init() {
	if os.Getenv(sentinel) == "" || !marked() {
		return
	}
	hup := make(chan os.Signal, 1)
	caught := make(chan struct{})
	go func() { // beside the rest: the first Notify takes a thread and its time
		signal.Notify(hup, syscall.SIGHUP)
		close(caught)
	}()
	inherited = &inheritance{hup: hup, claimed: make(chan struct{}, 1), release: func() {}}
	inherited.err = inherited.open()
	os.Unsetenv(sentinel)
	<-caught
}

// marked reports whether this process was started by a predecessor of ours. The
// variable alone proves nothing: a command run by any program that uses
// tableflip inherits it, and in a fresh process descriptors 3 and 4 are the Go
// runtime's own. The proof is the first packet in the channel, which can be read
// only once.
func marked() bool {
	if !isPipe(fdReady, unix.O_WRONLY) || !isPipe(fdNames, unix.O_RDONLY) {
		return false
	}
	kind, err := unix.GetsockoptInt(fdChannel, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_SEQPACKET {
		return false
	}
	head := make([]byte, frameHeader+len(startPrefix))
	n, _, err := unix.Recvfrom(fdChannel, head, unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return err == nil && n == len(head) && string(head[:len(frameMagic)]) == frameMagic && string(head[frameHeader:]) == startPrefix
}

func isPipe(fd, mode int) bool {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return false
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_ACCMODE == mode
}

func (in *inheritance) open() error {
	if err := closeOnExec(fdReady); err != nil {
		return err
	}
	fd, err := unix.FcntlInt(fdChannel, unix.F_DUPFD_CLOEXEC, fdChannel)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	if in.ch, err = newChannel(os.NewFile(uintptr(fd), "channel")); err != nil {
		return err
	}
	var files []*os.File
	if in.start, files, err = in.ch.recv(); err != nil {
		return fmt.Errorf("first message: %w", err)
	}
	defer closeAll(files)
	in.ch.tell(message{Type: typeHello, Protocol: protocol, Nonce: in.start.Nonce, Generation: in.start.Generation, PID: os.Getpid()})
	for i, it := range in.start.Items {
		if it.Kind == kindCrash {
			// Into a memfd, never a pipe: it outlives the reader, and a dead
			// reader kills nobody with SIGPIPE.
			debug.SetCrashOutput(files[i], debug.CrashOptions{})
		}
	}
	if in.release, err = relay(); err != nil {
		return err
	}
	in.upg, err = newEngine()
	return err
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
		var fd int
		if n, _ := fmt.Sscan(e.Name(), &fd); n == 1 && fd >= int(first) {
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
	err = rc.Control(func(fd uintptr) { dupErr = unix.Dup3(int(fd), fdNames, unix.O_CLOEXEC) })
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
