package gracerun

import (
	"os"
	"slices"
	"time"

	"github.com/gracerun/grace/gracerun/internal/handoff"
)

// Status is what an App knows of its service at one moment. Its JSON is what the
// status verb prints with --json, and what the control socket answers.
type Status struct {
	Name       string
	Version    string
	PID        int
	Generation int
	State      State
	Since      time.Time // when Run was called in this process
	Deadline   time.Time // of the drain; zero when there is none
	TakesUntil time.Time // when a service that stops begins to drain, see StopDelay; zero otherwise

	Sockets     []Socket        // in the order of registration
	Generations []Generation    // those alive, oldest first, this one included
	InHand      []InHand        // work that is not finished, in the order of registration
	Tasks       []TaskStatus    // in the order of registration
	Commands    []CommandStatus // in the order of registration
	LastUpgrade UpgradeResult   // the zero value: there was none
	Upgrades    []UpgradeResult // the last ones, by this generation and those before it, oldest first; at most 10

	PIDFile       string // "" where there is none
	ControlSocket string // "" where there is none

	failed int // upgrades, in this process
}

// Socket is one address that the service listens on.
type Socket struct {
	Network string
	Address string // as registered, ":0"
	Bound   string // as it is, "[::]:41523"
}

// Generation is one process of the service, as the one that was asked sees it:
// an older one drains, a successor is starting, also while it is on probation,
// or ready.
type Generation struct {
	Number  int
	PID     int
	Version string
	State   State
	Since   time.Time // when it began to run; of a successor, when it took over
	InHand  []InHand  // as it last said, at most a moment ago; nil for a successor

	Deadline time.Time // of its drain; zero where there is none
}

// A report is what an older generation said that it still has in hand, and until
// when.
type report struct {
	work  []InHand
	until time.Time
}

// InHand says how much of one kind of work is not finished: connections with a
// request, for a server; runs, for a task.
type InHand struct {
	Name  string
	Count int
	Since time.Time // when the oldest began; zero where that is not known
}

// TaskStatus is one registered task, as the process that was asked sees it: what
// older generations still have in hand is in Generations.
type TaskStatus struct {
	Name     string
	Kind     string        // "go", "loop", "every", "cron" or "work"
	Schedule string        // of every and cron: "10s", "0 4 * * *"
	Timeout  time.Duration // of each run; 0 = only the drain's deadline

	// State is "running" (a run is going on), "waiting" (for its time, or for an
	// item), "retrying" (after an error), "paused", "older" (an older generation
	// still has it) or "done".
	State   string
	Paused  bool      // also while a last run goes on
	Running int       // runs that are going on
	Since   time.Time // when the oldest of them began; zero where there is none
	Due     time.Time // of the next run; zero where that is not known

	Runs      int           // that ended, in this process
	Failed    int           // of these, with an error
	Requeued  int           // of these, with Requeue
	LastRun   time.Time     // when the last one ended; zero where there was none
	LastTook  time.Duration // of the last one
	LastError string        // of the last one; "" = it had none
}

// CommandStatus is one program of [App.Supervise].
type CommandStatus struct {
	Name string

	// State is "starting" (not ready yet), "running", "stopping", "waiting" (for its
	// turn, or for the next start after a failure), "paused", "done" (it ended, and
	// is not started again), "failed" (it was given up) or "older" (an older
	// generation still has it).
	State    string
	PID      int           // 0 = it does not run
	Since    time.Time     // when it was started; of one that does not run, when it got into its state
	Due      time.Time     // of the next start, where it waits for one
	Restarts int           // after it had ended by itself, or had failed
	LastExit string        // "exit status 1", "signal: killed", "unknown"; "" = it never ended
	Error    string        // why it could not be started, or was given up
	CPU      time.Duration // processor time of its group
	Memory   int64         // resident bytes of its group
	Output   []string      // its last lines, oldest first
}

// UpgradeResult is how an upgrade ended.
type UpgradeResult struct {
	From  int // generations
	To    int
	PID   int           // of the new process; 0 if it never spoke
	Took  time.Duration // from the request to the commit, or to the failure
	At    time.Time     // when it ended
	Stage string        // where it failed; "" = it did not
	Error string
}

// maxUpgrades is how many results are kept, and handed on.
const maxUpgrades = 10

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
		State: l.state, Since: l.since, Deadline: l.deadline, TakesUntil: l.takesEnd, Upgrades: slices.Clone(l.history),
		PIDFile: l.pidFile(), ControlSocket: l.control.address(),
		failed: l.failed,
	}
	l.mu.Unlock()
	if n := len(s.Upgrades); n > 0 {
		s.LastUpgrade = s.Upgrades[n-1]
	}
	for _, sock := range l.sockets.Sockets() {
		s.Sockets = append(s.Sockets, Socket(sock))
	}
	s.InHand = l.inHand()
	s.Tasks = l.taskStatus()
	s.Commands = l.commandStatus()
	s.Generations = l.alive(s)
	return s
}

// alive lists the generations, self being this one's own status.
func (l *life) alive(self Status) []Generation {
	var list []Generation
	for _, p := range l.self.Older() {
		said := l.lastSaid(p)
		list = append(list, Generation{Number: p.Generation, PID: p.PID, Version: p.Version, State: StateDraining, Since: p.Since, InHand: said.work, Deadline: said.until})
	}
	list = append(list, Generation{Number: self.Generation, PID: self.PID, Version: self.Version, State: self.State, Since: self.Since, InHand: self.InHand, Deadline: self.Deadline})
	if p := l.self.Successor(); p != nil && p.Alive() {
		list = append(list, Generation{Number: p.Generation, PID: p.PID, Version: p.Version, State: StateReady, Since: p.Since})
	} else if child := l.newborn(); self.State == StateUpgrading && child.PID != 0 {
		list = append(list, Generation{Number: self.Generation + 1, PID: child.PID, Version: child.Version, State: StateStarting})
	}
	return list
}

// taskStatus is that of the tasks that were begun.
func (l *life) taskStatus() []TaskStatus {
	if !l.serving() {
		return nil
	}
	going := map[string]InHand{}
	for _, h := range l.jobs.inHand() {
		going[h.Name] = h
	}
	var list []TaskStatus
	for _, t := range l.work.tasks {
		if t.kind != kindCommands {
			list = append(list, t.status(going[t.name]))
		}
	}
	return list
}

func (t *task) status(going InHand) TaskStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := TaskStatus{
		Name: t.name, Kind: t.kind, Schedule: t.plan.text, Timeout: t.timeout,
		Paused: t.paused, Running: going.Count, Since: going.Since, Due: t.due,
		Runs: t.tally.runs, Failed: t.tally.failed, Requeued: t.tally.requeued,
		LastRun: t.tally.last, LastTook: t.tally.took, LastError: t.tally.err,
	}
	switch {
	case s.Running > 0:
		s.State = "running"
	case t.ended:
		s.State = "done"
	case t.waits:
		s.State = "older"
	case t.paused:
		s.State = "paused"
	case t.retrying > 0:
		s.State = "retrying"
	default:
		s.State = "waiting"
	}
	return s
}

func (l *life) lastSaid(p *handoff.Peer) report {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said[p]
}

// newborn is the child of the upgrade under way; its PID is 0 until it has spoken.
func (l *life) newborn() handoff.Progress {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.child
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

// touch says that the status has changed.
func (l *life) touch() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
}

// nextChange is closed when the status changes.
func (l *life) nextChange() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// record keeps how an upgrade ended. The caller holds l.mu.
func (l *life) record(r UpgradeResult) {
	if r.Error != "" {
		l.failed++
	}
	l.history = append(l.history, r)
	l.history = l.history[max(0, len(l.history)-maxUpgrades):]
}
