package handoff

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/gracerun/internal/handoff/early"
	"github.com/gracerun/grace/listener"
)

// Estate is what this generation leaves to the next.
type Estate struct {
	App     string
	Version string
	Since   time.Time // when this generation began to run
	Asked   time.Time // when the upgrade was asked for
	Handles []listener.Handle
	Conns   []syscall.Conn // Conns[i] is the descriptor of Handles[i]
	Lock    syscall.Conn   // nil when there is none

	Daemon  bool            // the service was started as one
	Dir     string          // what the App's relative paths begin at
	RunDir  string          // the run directory, where the App does not say which
	History json.RawMessage // the App's own; not handed on when it is too long
	Manager json.RawMessage // the App's own; what makes the first message too long is refused

	// Between starts the successor through a process of its own, which is gone when
	// Upgrade returns nil: then whoever adopts orphans here (a service manager, or any
	// other subreaper) is the successor's parent. The cost is one more start of the
	// program. An older build does not know it, and stays the child of this process.
	Between bool

	ready time.Duration // Limits.Ready; 0 = none

	null   *os.File // of Start: what replaces the daemon's output at the commit,
	silent []string // as these kinds of items
}

// Upgrade replaces this generation. It returns nil once the successor has
// committed, and from then on this process must take no new work. An error is a
// *Refusal, or says that this process cannot upgrade: nothing has changed, and
// nothing of the attempt is left. The end of ctx gives the attempt up, if it is
// not too late. estate is asked when the child is about to be started.
//
// One call at a time.
func (s *Self) Upgrade(ctx context.Context, l Limits, estate func() Estate, progress func(Progress)) error {
	if s.upg == nil {
		return &Refusal{Stage: StageStart, Err: s.noUpg}
	}
	if os.Getpid() == 1 {
		return &Refusal{Stage: StageStart, Err: errFirst}
	}
	if err := s.waitForRoom(ctx, l.Generations, progress); err != nil {
		return err
	}
	e := estate()
	e.ready = l.Ready
	b, err := s.conceive(e)
	if err != nil {
		return &Refusal{Stage: StageStart, Err: err}
	}
	a := b.attempt(l, progress)
	if err = a.run(ctx); err != nil && a.told {
		s.anchor.say(early.AnchorMain) // again: the child may have said so before it died
	}
	b.end(err == nil)
	return err
}

// errFirst refuses what would commit, and then end the new process with the old
// one (pid_namespaces(7)).
var errFirst = errors.New("this is process 1, and with its end the kernel ends all others of its container: replace the container")

// waitForRoom returns when one more generation may live. It asks the oldest to
// hurry.
func (s *Self) waitForRoom(ctx context.Context, most int, progress func(Progress)) error {
	for {
		exit := s.nextExit()
		older := s.Older()
		if most <= 0 || len(older)+2 <= most {
			return nil
		}
		oldest := older[0]
		oldest.Hurry()
		progress(Progress{Stage: StageWait, For: oldest})
		select {
		case <-exit:
		case <-ctx.Done():
			return &Refusal{Stage: StageWait, Err: fmt.Errorf("%d generations are alive, the oldest is generation %d (pid %d): %w",
				len(older)+1, oldest.Generation, oldest.PID, context.Cause(ctx))}
		}
	}
}

// packets are the start message and the descriptors, in the order in which the
// child reads them. The files are duplicates of what belongs to peers, which may
// exit, and be forgotten, before they are sent.
func (s *Self) packets(e Estate, nonce string, crash, me syscall.Conn) (packets []packet, dups []*os.File, err error) {
	var items []item
	var conns []syscall.Conn
	add := func(it item, c syscall.Conn) {
		items, conns = append(items, it), append(conns, c)
	}
	if e.Lock != nil {
		add(item{Kind: kindLock}, e.Lock)
	}
	add(item{Kind: kindProcess, Generation: s.generation, PID: os.Getpid(), Version: e.Version, Since: e.Since.UnixNano()}, me)
	if dups, err = s.addPeers(add); err != nil {
		return nil, dups, err
	}
	for i := range e.Handles {
		add(item{Kind: kindSocket, Socket: &e.Handles[i]}, e.Conns[i])
	}
	packets = append(packets, s.startPacket(e, nonce, crash, len(items)))
	for len(items) > 0 {
		n := min(len(items), maxItems)
		packets = append(packets, packet{message{Type: typeFiles, Items: items[:n]}, conns[:n]})
		items, conns = items[n:], conns[n:]
	}
	return packets, dups, nil
}

func (s *Self) startPacket(e Estate, nonce string, crash syscall.Conn, total int) packet {
	p := packet{message{
		Type: typeStart, Between: e.Between, Protocol: protocol, App: e.App, Nonce: nonce, Generation: s.generation + 1,
		Asked: e.Asked.UnixNano(), Ready: int64(e.ready), Total: total, Daemon: e.Daemon, Dir: e.Dir, RunDir: e.RunDir, History: e.History, Manager: e.Manager, Items: []item{{Kind: kindCrash}},
	}, []syscall.Conn{crash}}
	if s.anchor != nil {
		p.m.Items, p.conns = append(p.m.Items, item{Kind: kindAnchor}), append(p.conns, s.anchor)
	}
	for _, kind := range e.silent {
		p.m.Items, p.conns = append(p.m.Items, item{Kind: kind}), append(p.conns, e.null)
	}
	if _, err := encode(p.m); err != nil {
		p.m.History = nil // the one part of it that may be too long
	}
	return p
}

func (s *Self) addPeers(add func(item, syscall.Conn)) (dups []*os.File, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range alive(s.older) {
		proc, err := dup(p.proc)
		if err != nil {
			return dups, err
		}
		ch, err := dup(p.ch)
		dups = append(dups, proc, ch)
		if err != nil {
			return dups, err
		}
		add(item{Kind: kindProcess, Generation: p.Generation, PID: p.PID, Version: p.Version, Since: p.Since.UnixNano()}, proc)
		add(item{Kind: kindChannel, Generation: p.Generation}, ch)
	}
	return dups, nil
}

// dup returns a duplicate of c's descriptor.
func dup(c syscall.Conn) (*os.File, error) {
	var fd int
	err := listener.Control([]syscall.Conn{c}, func(fds []int) (err error) {
		fd, err = unix.FcntlInt(uintptr(fds[0]), unix.F_DUPFD_CLOEXEC, 0)
		return os.NewSyscallError("fcntl", err)
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "peer"), nil
}
