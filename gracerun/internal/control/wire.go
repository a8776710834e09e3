package control

import (
	"errors"
	"io/fs"
	"net/http"
	"time"
)

// Status is the answer of GET /status, and each message of GET /events. Lists
// are [] where they are empty, never null.
type Status struct {
	Name       string    `json:"name"`
	Version    string    `json:"version"`
	PID        int       `json:"pid"`                  // of the process that answers
	Generation int       `json:"generation"`           // its number: the first process of a service is 1
	State      string    `json:"state"`                // starting, ready, upgrading, draining or done
	StartedAt  time.Time `json:"started_at,omitzero"`  // when this process began
	Uptime     float64   `json:"uptime"`               // seconds since then
	Deadline   time.Time `json:"deadline,omitzero"`    // of the drain under way; absent: there is none, or it has no limit
	TakesUntil time.Time `json:"takes_until,omitzero"` // while a service that stops still takes work: until when

	Sockets     []Socket     `json:"sockets"`     // in the order of registration
	InFlight    []Work       `json:"in_flight"`   // what this process has not finished
	Generations []Generation `json:"generations"` // those alive, oldest first, this one included

	Tasks    []Task    `json:"tasks"`    // in the order of registration
	Commands []Command `json:"commands"` // in the order of registration

	LastUpgrade *Upgrade  `json:"last_upgrade"` // null: there was none
	Upgrades    []Upgrade `json:"upgrades"`     // the last ones, oldest first

	UpgradesOK     int `json:"upgrades_ok"`     // how many succeeded, as far back as this process knows
	UpgradesFailed int `json:"upgrades_failed"` // how many failed

	PIDFile       string `json:"pid_file"`       // absolute
	ControlSocket string `json:"control_socket"` // absolute
}

// Socket is one address that the service listens on.
type Socket struct {
	Network string `json:"network"`
	Address string `json:"address"` // as registered, ":0"
	Bound   string `json:"bound"`   // as it is, "[::]:41523"
}

// Work is how much of one kind of work is not finished.
type Work struct {
	Name  string    `json:"name"`
	Count int       `json:"count"`
	Since time.Time `json:"since,omitzero"` // when the oldest began; absent where that is not known
}

// Task is one that is registered, as this process sees it.
type Task struct {
	Name     string `json:"name"`
	Kind     string `json:"kind"`               // go, loop, every, cron or work
	Schedule string `json:"schedule,omitempty"` // of every and cron: "10s", "0 4 * * *"

	// State is running (a run is going on), waiting (for its time, or for an
	// item), retrying (it waits after an error), paused, older (an older
	// generation still has it), or done.
	State   string    `json:"state"`
	Running int       `json:"running"`           // how many runs are going on
	Since   time.Time `json:"since,omitzero"`    // when the oldest of them began
	Due     time.Time `json:"due,omitzero"`      // of the next run, where that is known
	Paused  bool      `json:"paused"`            // also while a last run goes on
	Timeout float64   `json:"timeout,omitempty"` // seconds, of each run; absent: it has no limit

	Runs      int       `json:"runs"`                 // that ended, in this process
	Failed    int       `json:"failed"`               // of these, with an error or a panic
	Requeued  int       `json:"requeued"`             // of these, handed back
	LastRun   time.Time `json:"last_run,omitzero"`    // when the last one ended
	LastTook  float64   `json:"last_took,omitempty"`  // seconds
	LastError string    `json:"last_error,omitempty"` // of the last one; absent: it had none
}

// Command is a program that the service watches over.
type Command struct {
	Name string `json:"name"`

	// State is starting, running, stopping, waiting (for its turn, or for the
	// next start after a failure), paused, done (it ended, and is not to be
	// started again), failed (it was given up) or older (an older generation
	// still has it).
	State    string    `json:"state"`
	PID      int       `json:"pid,omitempty"`
	Since    time.Time `json:"since,omitzero"`      // when it got into its state; of a running one, when it was started
	Due      time.Time `json:"due,omitzero"`        // of the next start, where it waits for one
	Restarts int       `json:"restarts"`            // after it had ended by itself, or had failed
	LastExit string    `json:"last_exit,omitempty"` // "exit status 1", "signal: killed", "unknown"; absent: it never ended
	Error    string    `json:"error,omitempty"`     // why it was not started, or was given up
	CPU      float64   `json:"cpu"`                 // seconds of processor time, of its group
	Memory   int64     `json:"memory"`              // resident bytes, of its group
	Output   []string  `json:"output"`              // its last lines, oldest first
}

// Generation is one process of the service.
type Generation struct {
	Number   int       `json:"number"`
	PID      int       `json:"pid"`
	Version  string    `json:"version"`
	State    string    `json:"state"`
	Since    time.Time `json:"since,omitzero"`    // when it began; of a successor, when it took over
	InFlight []Work    `json:"in_flight"`         // what it has not finished, as far as it said
	Deadline time.Time `json:"deadline,omitzero"` // when its drain is cut short; absent: it does not drain, or there is no limit
}

// Upgrade is how an upgrade ended.
type Upgrade struct {
	At    time.Time `json:"at"` // when it ended
	OK    bool      `json:"ok"`
	From  int       `json:"from"` // generations
	To    int       `json:"to"`
	PID   int       `json:"pid"`             // of the new process; 0: it never spoke
	Took  float64   `json:"took"`            // seconds, from the request to the commit or to the failure
	Stage string    `json:"stage,omitempty"` // where it failed
	Error string    `json:"error,omitempty"` // why: the new process's own words where it had any
}

// What an Event tells. Others may be added: one that is not known is no error.
const (
	EventAccepted  = "accepted"  // the request is heard; always the first
	EventWaiting   = "waiting"   // at the limit of generations, for the one with PID and Generation to end
	EventStarted   = "started"   // the new process is started
	EventStage     = "stage"     // it got as far as Stage
	EventServing   = "serving"   // it serves beside the old one
	EventProbation = "probation" // it is watched while it does
	EventCommitted = "committed" // it has taken over; always the last
	EventFailed    = "failed"    // at Stage, by reason of Error: nothing has changed; always the last
	EventMoved     = "moved"     // the process was replaced before it came to the request: ask again; always the last
)

// Event is one step of an upgrade: a line of POST /upgrade's answer.
type Event struct {
	Event      string    `json:"event"`
	PID        int       `json:"pid,omitempty"`        // of the new process; of EventWaiting, of whom it waits for; of EventAccepted, of whom it was asked
	Generation int       `json:"generation,omitempty"` // its number
	Version    string    `json:"version,omitempty"`
	Stage      string    `json:"stage,omitempty"`
	Error      string    `json:"error,omitempty"`
	Took       float64   `json:"took,omitempty"` // seconds since the request
	At         time.Time `json:"at,omitzero"`
}

// last reports whether nothing comes after e.
func (e Event) last() bool {
	return e.Event == EventCommitted || e.Event == EventFailed || e.Event == EventMoved
}

// Failure is an upgrade that failed and changed nothing.
type Failure struct {
	Stage string // where it failed; "" if that is not known
	PID   int    // of the new process; 0: there was none, or it never spoke
	Err   error  // the reason
}

func (f *Failure) Error() string {
	if f.Stage == "" {
		return f.Err.Error()
	}
	return f.Stage + ": " + f.Err.Error()
}

// Unwrap returns f.Err.
func (f *Failure) Unwrap() error { return f.Err }

// StatusError is an answer that says no. A 403 wraps [fs.ErrPermission]; a 501,
// and the 404 of a build that is older than the request, [errors.ErrUnsupported].
type StatusError struct {
	Code    int    // of HTTP
	Message string // the server's words
}

func (e *StatusError) Error() string { return e.Message }

// Unwrap returns the error of the standard library that e.Code means, or nil.
func (e *StatusError) Unwrap() error {
	switch e.Code {
	case http.StatusForbidden:
		return fs.ErrPermission
	case http.StatusNotImplemented, http.StatusNotFound:
		return errors.ErrUnsupported
	}
	return nil
}

// NoTaskError says that there is no task or command of a name. It wraps
// [fs.ErrNotExist].
type NoTaskError struct {
	Name    string
	Message string // the server's words
}

func (e *NoTaskError) Error() string { return e.Message }

// Unwrap returns [fs.ErrNotExist].
func (e *NoTaskError) Unwrap() error { return fs.ErrNotExist }

// refusal is the body of every answer that is an error.
type refusal struct {
	Error string `json:"error"`
	Task  string `json:"task,omitempty"` // the name asked for, if there is none of that name
}

// Complete returns s with [] for every list that is nil.
func (s Status) Complete() Status {
	s.Sockets = notNil(s.Sockets)
	s.InFlight = notNil(s.InFlight)
	s.Upgrades = notNil(s.Upgrades)
	s.Tasks = notNil(s.Tasks)
	commands := make([]Command, len(s.Commands))
	for i, c := range s.Commands {
		c.Output = notNil(c.Output)
		commands[i] = c
	}
	s.Commands = commands
	generations := make([]Generation, len(s.Generations))
	for i, g := range s.Generations {
		g.InFlight = notNil(g.InFlight)
		generations[i] = g
	}
	s.Generations = generations
	return s
}

func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
