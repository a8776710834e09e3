package handoff

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// A Peer is another generation of this service: an older one that drains, or
// the successor.
type Peer struct {
	Generation int
	PID        int
	Version    string
	Since      time.Time

	proc *process
	ch   *channel
}

// Done is closed when the process has exited.
func (p *Peer) Done() <-chan struct{} { return p.proc.exited() }

// Alive reports whether the process has not exited yet.
func (p *Peer) Alive() bool {
	return p.proc.alive()
}

// Kill ends the process at once (SIGKILL).
func (p *Peer) Kill() error { return p.proc.kill() }

// Hurry tells an older generation that somebody waits for it. It answers with
// [InHand].
func (p *Peer) Hurry() { p.ch.tell(message{Type: typeHurry}) }

// Stop tells the generation that the service stops: it must be done within the
// given time; 0 means no limit.
func (p *Peer) Stop(within time.Duration) {
	p.ch.tell(message{Type: typeStop, Within: int64(within)})
}

// Reopen tells an older generation to open its log files again.
func (p *Peer) Reopen() { p.ch.tell(message{Type: typeReopen}) }

// Work is how much of one kind of work is not done yet.
type Work struct {
	Name  string
	Count int       // 0 where Name says it, too: from a build that knows no more
	Since time.Time // when the oldest began; zero where that is not known
}

// maxWork is how much work is told of: so much fits into a message.
const maxWork = 200

// InHand tells what is not done yet: in answer to Hurry, or unasked. It reaches
// the newest generation, and leaves out what is too much for one message. until
// is the drain's deadline; the zero time means that there is none.
func (p *Peer) InHand(list []Work, until time.Time) {
	m := message{Type: typeInHand, Due: nanoseconds(until)}
	for _, w := range list[:min(len(list), maxWork)] {
		m.Names = append(m.Names, fmt.Sprintf("%s: %d", w.Name, w.Count))
		m.Work = append(m.Work, work{Name: w.Name, Count: w.Count, Since: nanoseconds(w.Since)})
	}
	p.ch.tell(m)
}

// inHand reads the message, also of a build that says names alone.
func inHand(m message) (list []Work) {
	for _, w := range m.Work {
		list = append(list, Work{Name: w.Name, Count: w.Count, Since: moment(w.Since)})
	}
	if len(list) > 0 {
		return list
	}
	for _, name := range m.Names {
		list = append(list, Work{Name: name})
	}
	return list
}

// nanoseconds is how a time travels: since 1970, or 0 for the zero time.
func nanoseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func moment(nanoseconds int64) time.Time {
	if nanoseconds == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanoseconds)
}

// Released tells the successor that the exclusive task called name is free, and
// when its next run is due; the zero time means that there is no such moment.
func (p *Peer) Released(name string, due time.Time) {
	p.ch.tell(message{Type: typeReleased, Name: name, Due: nanoseconds(due)})
}

// Leaving tells an older generation that this one exits because it is done, not
// because it failed.
func (p *Peer) Leaving() { p.ch.tell(message{Type: typeLeaving}) }

// Main tells a generation that the service manager, if there is one, has taken it
// for the main process of the service. Its predecessor does, and who has overtaken it.
func (p *Peer) Main() { p.ch.tell(message{Type: typeMain, Generation: p.Generation}) }

// Upgrade passes a request for an upgrade on to the generation that owns the
// service, or, with reload, one to reread its configuration, as an upgrade does,
// too. It answers with Upgraded and the same id.
func (p *Peer) Upgrade(id uint64, reload bool) {
	p.ch.tell(message{Type: typeUpgrade, ID: id, Reload: reload})
}

// Upgraded answers Upgrade; a nil refusal is success.
func (p *Peer) Upgraded(id uint64, r *Refusal) {
	m := message{Type: typeUpgraded, ID: id}
	if r != nil {
		m.PID, m.Stage, m.Error = r.PID, r.Stage, r.Err.Error()
	}
	p.ch.tell(m)
}

// Events that reach the App from other generations.
type (
	// Go: the predecessor lets go, or it is dead (Orphan): commit.
	Go struct{ Orphan bool }
	// Abort: the predecessor asks this generation to finish what it has and exit.
	Abort struct{ Reason string }
	// Exited: the process of Peer has ended. Leaving says that it was done;
	// only the successor says so.
	Exited struct {
		Peer    *Peer
		Leaving bool
	}
	// Main: the service manager follows that generation now. It is another than this
	// one if this one took over before its predecessor had heard of it, which does not
	// hear of it any more.
	Main struct{ Generation int }
	// Hurry: From waits for this generation.
	Hurry struct{ From *Peer }
	// InHand: what From still has in hand.
	InHand struct {
		From  *Peer
		Work  []Work
		Until time.Time // the deadline of its drain; zero where there is none
	}
	// Reopen: the log files are to be opened again.
	Reopen struct{}
	// Stop: the service stops, and this generation must be done within the
	// given time; 0 means no limit.
	Stop struct{ Within time.Duration }
	// Unanchored: the process that kept the pid is dead, and the supervisor that
	// watched it believes that the service is, too.
	Unanchored struct{}
	// Released: an exclusive task is free, and due next at Due; zero where
	// there is no such moment.
	Released struct {
		Name string
		Due  time.Time
	}
	// Upgrade: From was asked for an upgrade, and this generation owns the
	// service. Reload says that rereading the configuration will do.
	Upgrade struct {
		From   *Peer
		ID     uint64
		Reload bool
	}
	// Upgraded: the result of an upgrade passed on. A nil Refusal is success.
	Upgraded struct {
		ID      uint64
		Refusal *Refusal
	}
)

// alive returns those of peers that live, oldest first.
func alive(peers []*Peer) []*Peer {
	live := slices.DeleteFunc(slices.Clone(peers), func(p *Peer) bool { return !p.Alive() })
	slices.SortFunc(live, func(a, b *Peer) int { return cmp.Compare(a.Generation, b.Generation) })
	return live
}
