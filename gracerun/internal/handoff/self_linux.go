package handoff

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"sync"
	"time"

	"github.com/cloudflare/tableflip"
	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/gracerun/internal/handoff/early"
	"github.com/gracerun/grace/listener"
)

// Self is this process as a generation of its service.
type Self struct {
	generation int
	legacy     *Legacy

	upg       *tableflip.Upgrader
	noUpg     error // why this process cannot upgrade
	in        *inheritance
	anchor    *anchorLine // nil where no other process keeps the pid
	pred      *Peer       // whose child this is, until the commit
	events    chan any
	closed    chan struct{}
	wg        sync.WaitGroup
	listening sync.Once // to the predecessor

	mu        sync.Mutex
	older     []*Peer       // all predecessors that may live, oldest first
	successor *Peer         // after the commit of the next generation
	exit      chan struct{} // closed, and made anew, when one of older has exited
}

// Legacy is what a predecessor hands over besides its children's channel.
type Legacy struct {
	Handles []listener.Handle // FDs[i] is the descriptor of Handles[i]
	FDs     []int
	Lock    *os.File  // the locked descriptor of the pid file; nil when it had none
	Asked   time.Time // when the upgrade was asked for
	From    int       // the predecessor's generation

	Daemon   bool            // the service was started as one
	Dir      string          // what the App's relative paths begin at; "" = not said
	RunDir   string          // the run directory, where the App does not say which; "" = not said
	Launched bool            // the predecessor is the launcher, which is no generation
	History  json.RawMessage // the Estate's; nil when there was none, or it was too long
	Manager  json.RawMessage // the Estate's
}

// Claim makes the hand-over the business of the App called name. The engine
// allows one in a process: a second App gets a Self that has no legacy and
// cannot upgrade.
func Claim(name string) (*Self, error) {
	s := &Self{generation: 1, events: make(chan any), closed: make(chan struct{}), exit: make(chan struct{})}
	if inherited == nil {
		s.claimEngine()
		return s, nil
	}
	if inherited.start.App != name && inherited.err == nil {
		s.noUpg = fmt.Errorf("%w: it belongs to the App %q of this process", errClaimed, inherited.start.App)
		s.tellPredecessor(message{Type: typeOther, App: name})
		return s, nil
	}
	select {
	case inherited.claimed <- struct{}{}:
	default:
		s.noUpg = fmt.Errorf("%w: another App called %q has it", errClaimed, name)
		return s, nil
	}
	s.in = inherited
	if s.in.abandoned != nil {
		s.in.abandoned.Stop()
	}
	s.generation = inherited.start.Generation
	if inherited.err != nil {
		return s, inherited.err
	}
	s.upg = inherited.upg
	s.holdOn(inherited.anchor)
	return s, s.receive()
}

var errClaimed = errors.New("the hand-over of this process is taken")

// claimEngine is for the first generation.
func (s *Self) claimEngine() {
	os.Unsetenv(early.Sentinel) // leaked by somebody else's tableflip: New would wait for ever
	upg, err := newEngine()
	if err != nil {
		s.noUpg = fmt.Errorf("%w: %w", errClaimed, err)
		return
	}
	s.upg = upg
	s.holdOn(firstLine)
	s.settle()
}

// settle says that this process is ready, which is the commit where there is a
// predecessor, and makes the engine fit for the next upgrade. In this order: an
// inherited file that is replaced by name stays open, one that is unused is
// closed by Ready.
func (s *Self) settle() error {
	err := s.upg.Ready()
	return errors.Join(err, s.idle())
}

// idle gives tableflip something of no use as its one file, so that the number of
// descriptors is the same before and after an upgrade that failed. (There may be
// no null device, in a chroot.)
func (s *Self) idle() error {
	nothing, err := newMemory("nothing")
	if err != nil {
		return err
	}
	defer nothing.Close()
	return s.upg.AddFile(engineFile, nothing)
}

// receive reads what the predecessor queued before it started this process.
func (s *Self) receive() error {
	start := s.in.start
	s.legacy = &Legacy{
		Handles: make([]listener.Handle, 0, start.Total),
		FDs:     make([]int, 0, start.Total),
		Asked:   time.Unix(0, start.Asked),
		From:    start.Generation - 1,
		Daemon:  start.Daemon, Dir: start.Dir, RunDir: start.RunDir, Launched: start.Generation == 1,
		History: start.History, Manager: start.Manager,
	}
	peers := map[int]*Peer{}
	err := s.receiveFiles(start.Total, peers)
	if s.pred = peers[s.legacy.From]; s.legacy.Launched {
		delete(peers, s.legacy.From)
	}
	for _, number := range slices.Sorted(maps.Keys(peers)) {
		p := peers[number]
		if p.proc == nil || p.ch == nil {
			p.close()
			err = errors.Join(err, fmt.Errorf("generation %d came without a handle or a channel", number))
			continue
		}
		s.older = append(s.older, p)
	}
	if err != nil {
		return err
	}
	if s.pred == nil {
		return errors.New("the predecessor's handle did not come")
	}
	return nil
}

func (s *Self) receiveFiles(total int, peers map[int]*Peer) error {
	for got := 0; got < total; {
		m, fds, err := s.in.ch.recv()
		if err != nil {
			return fmt.Errorf("receive descriptors: %w", err)
		}
		if m.Type == typeAbort {
			return errors.New("the predecessor gave the upgrade up: " + m.Error)
		}
		got += len(fds)
		for i, it := range m.Items {
			if err := s.accept(it, fds[i], peers); err != nil {
				closeFDs(fds[i+1:])
				return err
			}
		}
	}
	return nil
}

// accept takes fd over.
func (s *Self) accept(it item, fd int, peers map[int]*Peer) error {
	file := func() *os.File { return os.NewFile(uintptr(fd), it.Kind) }
	peer := func() *Peer {
		p := peers[it.Generation]
		if p == nil {
			p = &Peer{Generation: it.Generation}
			peers[it.Generation] = p
		}
		return p
	}
	switch it.Kind {
	case kindSocket:
		if it.Socket == nil {
			unix.Close(fd)
			return errors.New("a socket came without its address")
		}
		s.legacy.Handles = append(s.legacy.Handles, *it.Socket)
		s.legacy.FDs = append(s.legacy.FDs, fd)
	case kindLock:
		s.legacy.Lock = file()
	case kindProcess:
		p := peer()
		p.PID, p.Version, p.Since, p.proc = it.PID, it.Version, time.Unix(0, it.Since), newProcess(file())
		if it.Generation == s.legacy.From {
			p.ch = s.in.ch
		}
	case kindChannel:
		ch, err := newChannel(file())
		if err != nil {
			return fmt.Errorf("channel to generation %d: %w", it.Generation, err)
		}
		peer().ch = ch
	default:
		unix.Close(fd) // a newer build knows what it is
	}
	return nil
}

// awaitVerdict reads what the predecessor says until the commit.
func (s *Self) awaitVerdict() {
	var verdict any
	hear := func(m message) (more bool) {
		switch m.Type {
		case typeGo:
			verdict = Go{}
		case typeAbort:
			verdict = Abort{Reason: m.Error}
		}
		return verdict == nil
	}
	heard := make(chan struct{})
	s.wg.Go(func() {
		defer close(heard)
		s.pred.ch.read(hear)
	})
	select {
	case <-heard:
	case <-s.pred.Done():
		// What it said before it died counts.
		s.pred.ch.stopReading()
		<-heard
		if verdict == nil {
			s.pred.ch.readQueued(func(m message) { hear(m) })
		}
	case <-s.closed:
		s.pred.ch.stopReading()
		return
	}
	if verdict == nil { // it died, or closed its end
		verdict = Go{Orphan: true}
	}
	s.emit(verdict)
}

// emit gives ev to who reads Events, or drops it once nobody does.
func (s *Self) emit(ev any) {
	select {
	case s.events <- ev:
	case <-s.closed:
	}
}

// Events are what other generations say and do: Go, Abort, Exited ...
func (s *Self) Events() <-chan any { return s.events }

// HUP reports whether a HUP came before the App listened for it, and leaves the
// signal to the App.
func (s *Self) HUP() bool {
	if s.in == nil {
		s.anchor.say(early.AnchorMain) // from now on it can have one
		return false
	}
	signal.Stop(s.in.hup)
	return len(s.in.hup) > 0
}

// Stage tells the predecessor what the start is busy with, and begins to listen
// to it.
func (s *Self) Stage(stage string) {
	s.tellPredecessor(message{Type: typeStage, Stage: stage})
	s.listen()
}

// Serving tells the predecessor that this generation serves. The answer comes as
// an event: Go or Abort.
func (s *Self) Serving(version string) {
	s.tellPredecessor(message{Type: typeServing, Version: version})
	s.listen()
}

// listen begins to listen to the predecessor. A start that has no Setup does so
// only when it serves: threads for it would take their time from the sockets.
func (s *Self) listen() {
	if s.pred != nil {
		s.listening.Do(func() { s.wg.Go(s.awaitVerdict) })
	}
}

// Failed tells the predecessor why this generation does not start. It works also
// for an App that did not claim the hand-over: its failure ends the process.
func (s *Self) Failed(stage string, err error) {
	s.tellPredecessor(message{Type: typeFailed, Stage: stage, Error: err.Error()})
}

func (s *Self) tellPredecessor(m message) {
	if inherited != nil && inherited.ch != nil {
		inherited.ch.tell(m)
	}
}

// Commit takes the service over. After it the process is its owner, and the next
// upgrade may begin although the predecessors still drain. own is called when the
// service is ours, and before the predecessor hears of it and says so.
func (s *Self) Commit(own func()) {
	if s.in == nil {
		own()
		return
	}
	s.in.useOutput()
	// The one error it can have is a predecessor that is dead: then the
	// service is ours all the same.
	s.settle()
	s.anchor.say(early.AnchorMain) // not before: until then the predecessor may serve on
	own()
	s.in.release()
	s.in.ch.tell(message{Type: typeCommitted})
	if s.legacy.Launched {
		s.pred.close()
	}
	s.mu.Lock()
	older := slices.Clone(s.older) // the dead ones, too: they are buried
	s.mu.Unlock()
	for _, p := range older {
		s.wg.Go(func() { s.follow(p) })
	}
}

// follow turns what an older generation says into events, until it has exited
// and its last words are heard. Once there is a successor, they are for that one.
func (s *Self) follow(p *Peer) {
	hear := func(m message) bool {
		if ev := event(p, m); ev != nil {
			s.emit(ev)
		}
		return true
	}
	heard := make(chan struct{})
	s.wg.Go(func() {
		defer close(heard)
		p.ch.read(hear)
	})
	select {
	case <-p.Done():
		p.ch.stopReading()
		<-heard
		if s.Successor() == nil {
			p.ch.readQueued(func(m message) { hear(m) })
		}
		s.bury(p)
		s.emit(Exited{Peer: p})
	case <-s.closed:
		p.ch.stopReading()
	}
}

// bury forgets an older generation that has exited.
func (s *Self) bury(p *Peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.close()
	s.older = slices.DeleteFunc(s.older, func(o *Peer) bool { return o == p })
	close(s.exit)
	s.exit = make(chan struct{})
}

func event(p *Peer, m message) any {
	switch m.Type {
	case typeHurry:
		return Hurry{From: p}
	case typeInHand:
		return InHand{From: p, Work: inHand(m), Until: moment(m.Due)}
	case typeReopen:
		return Reopen{}
	case typeStop, typeAbort:
		return Stop{Within: time.Duration(m.Within)}
	case typeMain:
		return Main{Generation: m.Generation}
	case typeReleased:
		return Released{Name: m.Name, Due: moment(m.Due)}
	case typeUpgrade:
		return Upgrade{From: p, ID: m.ID, Reload: m.Reload}
	case typeUpgraded:
		ev := Upgraded{ID: m.ID}
		if m.Error != "" {
			ev.Refusal = &Refusal{PID: m.PID, Stage: m.Stage, Err: errors.New(m.Error)}
		}
		return ev
	}
	return nil
}

// Number is that of this generation; the first is 1.
func (s *Self) Number() int { return s.generation }

// Legacy is what the predecessor left; nil in the first generation.
func (s *Self) Legacy() *Legacy { return s.legacy }

// Older returns the predecessors that live, oldest first.
func (s *Self) Older() []*Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return alive(s.older)
}

// nextExit is closed when the next of the predecessors has exited.
func (s *Self) nextExit() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exit
}

// Successor returns the generation that took over from this one, or nil.
func (s *Self) Successor() *Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.successor
}

// Close ends what this process started for the hand-over and closes its
// descriptors. It changes nothing for other generations. No upgrade may be under
// way: the engine would kill the child.
func (s *Self) Close() {
	close(s.closed)
	s.anchor.stopReading()
	if s.upg != nil {
		s.upg.Stop()
		<-s.upg.Exit()
	}
	s.wg.Wait()
	peers := s.older
	if s.pred != nil && s.legacy.Launched {
		peers = append(peers, s.pred)
	}
	if s.successor != nil {
		peers = append(peers, s.successor)
	}
	for _, p := range peers {
		p.close()
	}
	s.anchor.close()
}
