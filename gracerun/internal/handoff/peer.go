package handoff

import (
	"cmp"
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

// InHand answers Hurry with the names of the work that is not done yet.
func (p *Peer) InHand(names []string) { p.ch.tell(message{Type: typeInHand, Names: names}) }

// Released tells the successor that the exclusive task called name is free, and
// when its next run is due; the zero time means that there is no such moment.
func (p *Peer) Released(name string, due time.Time) {
	m := message{Type: typeReleased, Name: name}
	if !due.IsZero() {
		m.Due = due.UnixNano()
	}
	p.ch.tell(m)
}

// Leaving tells an older generation that this one exits because it is done, not
// because it failed.
func (p *Peer) Leaving() { p.ch.tell(message{Type: typeLeaving}) }

// Upgrade passes a request for an upgrade on to the generation that owns the
// service. It answers with Upgraded and the same id.
func (p *Peer) Upgrade(id uint64) { p.ch.tell(message{Type: typeUpgrade, ID: id}) }

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
	// Hurry: From waits for this generation.
	Hurry struct{ From *Peer }
	// InHand: what From still has in hand.
	InHand struct {
		From  *Peer
		Names []string
	}
	// Stop: the service stops, and this generation must be done within the
	// given time; 0 means no limit.
	Stop struct{ Within time.Duration }
	// Released: an exclusive task is free, and due next at Due; zero where
	// there is no such moment.
	Released struct {
		Name string
		Due  time.Time
	}
	// Upgrade: From was asked for an upgrade, and this generation owns the service.
	Upgrade struct {
		From *Peer
		ID   uint64
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
