package gracerun

import (
	"cmp"
	"os"
	"slices"
	"time"
)

// Status is what an App knows of its service at one moment.
type Status struct {
	Name       string    `json:"name"`
	Version    string    `json:"version"`
	PID        int       `json:"pid"`
	Generation int       `json:"generation"`
	State      State     `json:"state"`
	Since      time.Time `json:"since"` // when Run was called in this process

	Sockets     []Socket      `json:"sockets"`      // in the order of registration
	Generations []Generation  `json:"generations"`  // those alive, oldest first, this one included
	InHand      []InHand      `json:"in_hand"`      // work that is not finished, in the order of registration
	LastUpgrade UpgradeResult `json:"last_upgrade"` // the zero value: there was none
}

// Socket is one address that the service listens on.
type Socket struct {
	Network string `json:"network"`
	Address string `json:"address"` // as registered, ":0"
	Bound   string `json:"bound"`   // as it is, "[::]:41523"
}

// Generation is one process of the service, as the one that was asked sees it:
// an older one drains, a successor is ready.
type Generation struct {
	Number  int       `json:"number"`
	PID     int       `json:"pid"`
	Version string    `json:"version"`
	State   State     `json:"state"`
	Since   time.Time `json:"since"` // when it began to run; of a successor, when it took over
}

// InHand says how much of one kind of work is not finished: connections with a
// request, for a server; runs, for a task.
type InHand struct {
	Name  string    `json:"name"`
	Count int       `json:"count"`
	Since time.Time `json:"since,omitzero"` // when the oldest began; zero where that is not known
}

// UpgradeResult is how an upgrade ended.
type UpgradeResult struct {
	From  int           `json:"from"` // generations
	To    int           `json:"to"`
	PID   int           `json:"pid"`             // of the new process; 0 if it never spoke
	Took  time.Duration `json:"took"`            // nanoseconds, from the request to the commit, or to the failure
	At    time.Time     `json:"at"`              // when it ended
	Stage string        `json:"stage,omitempty"` // where it failed; "" = it did not
	Error string        `json:"error,omitempty"`
}

// Status returns the App's state. It can be called at any time; before Run it
// shows what is known without it.
func (a *App) Status() Status {
	l := a.running()
	if l == nil {
		return Status{Name: a.name(), Version: a.version(), PID: os.Getpid()}
	}
	return l.status()
}

func (l *life) status() Status {
	l.mu.Lock()
	s := Status{
		Name: l.name, Version: l.version, PID: os.Getpid(), Generation: l.self.Number(),
		State: l.state, Since: l.since, LastUpgrade: l.lastUpgrade,
	}
	l.mu.Unlock()
	for _, sock := range l.sockets.Sockets() {
		s.Sockets = append(s.Sockets, Socket(sock))
	}
	s.InHand = l.inHand()
	s.Generations = append(s.Generations, Generation{Number: s.Generation, PID: s.PID, Version: s.Version, State: s.State, Since: s.Since})
	for _, p := range l.self.Older() {
		s.Generations = append(s.Generations, Generation{Number: p.Generation, PID: p.PID, Version: p.Version, State: StateDraining, Since: p.Since})
	}
	if p := l.self.Successor(); p != nil && p.Alive() {
		s.Generations = append(s.Generations, Generation{Number: p.Generation, PID: p.PID, Version: p.Version, State: StateReady, Since: p.Since})
	}
	slices.SortFunc(s.Generations, func(a, b Generation) int { return cmp.Compare(a.Number, b.Number) })
	return s
}

// inHand lists the work that is not finished: first the servers', then the
// tasks'.
func (l *life) inHand() []InHand {
	var list []InHand
	if l.serving() {
		for _, s := range l.work.servers {
			if n := s.inHand(); n > 0 {
				list = append(list, InHand{Name: l.nameOf(s), Count: n})
			}
		}
	}
	return append(list, l.jobs.inHand()...)
}
