package handoff

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/gracerun/internal/handoff/early"
)

// maxItems is how many descriptors go into one message: fewer than the kernel
// takes, so that the names of the longest unix paths fit into a frame.
const maxItems = 200

// A birth is what one attempt needs from the system, and leaves behind: the
// channel, the child's end with all that is queued in it, memory for the text of
// a crash.
type birth struct {
	s      *Self
	nonce  string
	ch     *channel
	theirs *os.File // kept, so that a queue nobody read can be emptied
	crash  *os.File
	me     *os.File
	dups   []*os.File // of the handles of older generations
	logs   []logMark  // of its standard error, and other output
	unseen bool       // nobody but us has its standard error
	daemon bool       // the service is one
	piped  bool       // and its standard error goes to a log that is no file
	late   []packet   // what did not fit into the queue: sent while the child reads

	messages chan message
	pid      int
	version  string
	child    *process // once it spoke
	asked    bool     // for a process between
	between  *process // between it and this process; nil = it is this one's child
}

type packet struct {
	m     message
	conns []syscall.Conn
}

// conceive fills the channel, so that the child finds everything there.
func (s *Self) conceive(e Estate) (*birth, error) {
	b := &birth{s: s, nonce: rand.Text(), messages: make(chan message)}
	if err := b.open(e); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *birth) open(e Estate) error {
	b.daemon, b.asked = e.Daemon, e.Between
	var err error
	if b.ch, b.theirs, err = newPair(); err != nil {
		return err
	}
	if b.crash, err = newMemory("crash"); err != nil {
		return err
	}
	fd, err := unix.PidfdOpen(os.Getpid(), unix.PIDFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("a handle of this process (Linux 5.10 or later has it): %w", os.NewSyscallError("pidfd_open", err))
	}
	b.me = os.NewFile(uintptr(fd), "pidfd")
	packets, dups, err := b.s.packets(e, b.nonce, b.crash, b.me)
	b.dups = dups
	if err != nil {
		return err
	}
	for i, p := range packets {
		err := b.ch.sendFiles(p.m, p.conns, false)
		if errors.Is(err, unix.EAGAIN) && i > 0 {
			b.late = packets[i:]
			return nil
		}
		if errors.Is(err, unix.ETOOMANYREFS) {
			return fmt.Errorf("%d descriptors on their way are too many: raise the limit of open files (ulimit -n): %w", len(e.Conns), err)
		}
		if err != nil {
			return fmt.Errorf("queue %s: %w", p.m.Type, err)
		}
	}
	return nil
}

func (b *birth) attempt(l Limits, progress func(Progress)) *attempt {
	return &attempt{
		start:    b.start,
		messages: b.messages,
		admit:    b.admit,
		flush:    b.flush,
		send:     b.ch.tell,
		kill:     b.kill,
		words:    b.words,
		survived: b.survived,
		progress: func(p Progress) {
			if p.PID != b.pid {
				b.pid = p.PID
				b.child, _ = openProcess(p.PID) // gone already: its exit follows
			}
			b.version = p.Version
			progress(p)
		},
		limits: l,
		nonce:  b.nonce,
	}
}

// admit sees that whoever follows this generation from outside can follow the next one.
func (b *birth) admit(hello message) error {
	if b.s.anchor != nil && !hello.Anchor || b.asked && hello.Parent == 0 {
		return errOldBuild
	}
	if !b.asked {
		return nil
	}
	var err error
	if b.between, err = openChild(hello.Parent); err == nil || errors.Is(err, unix.ESRCH) { // its exit follows
		return nil
	}
	return errNotAdopted
}

// Why a child is refused that would be nobody's when this process has ended.
var (
	errOldBuild   = errors.New("the new program is of an older build, which whoever follows this process (a service manager, or the process that keeps the pid) could not follow: stop the service and start it")
	errNotAdopted = errors.New("whoever follows this process cannot follow the new one, which is another's child: is it started by a script that does not exec it?")
)

// start has tableflip start the child. Its answer, whenever it comes, is the
// result: nil for the ready byte, else an error when the child is gone.
func (b *birth) start() <-chan error {
	result := make(chan error, 1)
	useOpenStandardFiles()
	useWorkingDirectory()
	b.logs = []logMark{markLog(os.Stderr)}
	b.piped = b.daemon && isPipe(os.Stderr)
	go b.listen()
	if err := b.s.upg.AddFile(engineFile, b.theirs); err != nil {
		result <- err
		return result
	}
	go b.sendLate()
	go func() { result <- b.s.upgrade() }()
	return result
}

func (b *birth) sendLate() {
	for _, p := range b.late {
		if b.ch.sendFiles(p.m, p.conns, true) != nil {
			return
		}
	}
}

// upgrade asks tableflip until it has noticed that this process is ready and
// that the relay let go of the parent: it may answer either right after the
// commit. Its errors have no names.
func (s *Self) upgrade() error {
	for {
		err := s.upg.Upgrade()
		if err == nil || err.Error() != "process is not ready yet" && err.Error() != "parent hasn't exited" {
			return err
		}
		runtime.Gosched()
	}
}

// listen reads what the child says until it is gone; after the commit the
// successor's events come the same way.
func (b *birth) listen() {
	defer close(b.messages)
	b.ch.read(func(m message) bool {
		b.messages <- m
		return true
	})
}

// flush returns what a child that is gone had still said.
func (b *birth) flush() (rest []message) {
	b.ch.stopReading()
	for m := range b.messages {
		rest = append(rest, m)
	}
	b.ch.readQueued(func(m message) { rest = append(rest, m) })
	return rest
}

func (b *birth) kill(pid int) error {
	if b.child != nil {
		err := b.child.kill()
		if b.between != nil {
			b.between.kill() // it may be stopped, and not notice
		}
		return err
	}
	if !b.sweep() && pid == 0 {
		return errors.New("no process has its channel")
	}
	return nil
}

// survived is asked when the engine's child has ended: a process between, which the
// generation may have survived. It returns what tells of its end then, else nil.
func (b *birth) survived() <-chan struct{} {
	if b.between == nil || b.child == nil || !b.child.alive() {
		return nil
	}
	return b.child.exited()
}

// sweep ends every process that has the channel where tableflip put it: a child
// that never spoke, which may be no program of ours at all, and what such a
// child has started. It reports whether there was one.
func (b *birth) sweep() (found bool) {
	for range 100 { // each round may find what the one before it just started
		pids, err := b.findChildren()
		if err != nil || len(pids) == 0 {
			break
		}
		for _, pid := range pids {
			if p, err := openProcess(pid); err == nil {
				p.kill()
				<-p.done
				p.close()
			}
		}
		found = true
	}
	return found
}

func (b *birth) findChildren() ([]int, error) {
	var st unix.Stat_t
	rc, err := b.theirs.SyscallConn()
	if err != nil {
		return nil, err
	}
	rc.Control(func(fd uintptr) { err = unix.Fstat(int(fd), &st) })
	if err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	socket := fmt.Sprintf("socket:[%d]", st.Ino)
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range procs {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		link, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, early.Channel))
		if link == socket {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// end makes the child the successor, or removes what is left of it.
func (b *birth) end(committed bool) {
	if committed {
		b.part()
		b.succeed()
		b.ch = nil // it is the successor's
	} else {
		b.sweep() // a script may be gone and what it started not
	}
	b.close()
	if committed {
		return
	}
	b.s.idle()
	// tableflip leaves three descriptors of a failed attempt, and the time-out
	// it armed, to the garbage collector.
	runtime.GC()
}

// partTime is what a process may need to die.
const partTime = time.Second

// part ends the process between: then the successor has the parent that it is to
// have.
func (b *birth) part() {
	if b.between == nil {
		return
	}
	b.between.kill()
	select {
	case <-b.between.exited():
	case <-time.After(partTime):
	}
}

func (b *birth) succeed() {
	p := &Peer{Generation: b.s.generation + 1, PID: b.pid, Version: b.version, Since: time.Now(), proc: b.child, ch: b.ch}
	if p.proc == nil { // it died at once
		p.proc = &process{done: make(chan struct{})}
		close(p.proc.done)
	}
	s := b.s
	s.mu.Lock()
	s.successor = p
	for _, o := range s.older {
		o.ch.stopReading() // from now on the successor does
	}
	s.mu.Unlock()
	s.wg.Go(func() { s.followSuccessor(p, b.messages) })
}

// followSuccessor turns what the successor says into events, until it has
// exited.
func (s *Self) followSuccessor(p *Peer, messages <-chan message) {
	leaving := false
	hear := func(m message) {
		if m.Type == typeLeaving {
			leaving = true
		} else if ev := event(p, m); ev != nil {
			s.emit(ev)
		}
	}
	s.wg.Go(func() { // ends the reading, and with it the messages
		select {
		case <-p.Done():
		case <-s.closed:
		}
		p.ch.stopReading()
	})
	for m := range messages {
		hear(m)
	}
	select { // its end of the channel is closed a moment before it has exited
	case <-p.Done():
		p.ch.readQueued(hear) // what it said last
		s.emit(Exited{Peer: p, Leaving: leaving})
		s.hearNewest(p.ch, hear)
	case <-s.closed:
	}
}

// hearNewest reads on after the successor has exited: its end of the channel has
// been handed on.
func (s *Self) hearNewest(ch *channel, hear func(message)) {
	ch.startReading()
	s.wg.Go(func() {
		<-s.closed
		ch.stopReading()
	})
	ch.read(func(m message) bool {
		hear(m)
		return true
	})
}

func (b *birth) close() {
	if b.theirs != nil {
		rc, err := b.theirs.SyscallConn()
		if err == nil && b.ch != nil { // else what is queued there is the successor's
			rc.Control(func(fd uintptr) { discard(int(fd), nil) })
		}
		b.theirs.Close()
	}
	closeAll(append(b.dups, b.crash, b.me))
	if b.between != nil {
		b.between.close()
	}
	if b.ch != nil {
		b.ch.close()
		if b.child != nil {
			b.child.close()
		}
	}
}

// newMemory returns memory in the shape of a file that is appended to.
func newMemory(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, unix.O_APPEND); err != nil {
		f.Close()
		return nil, os.NewSyscallError("fcntl", err)
	}
	return f, nil
}
