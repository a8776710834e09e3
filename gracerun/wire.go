package gracerun

import (
	"encoding/json"
	"time"

	"github.com/gracerun/grace/gracerun/internal/control"
)

// MarshalJSON returns the object that the control socket answers with: times as
// in RFC 3339, durations in seconds.
func (s Status) MarshalJSON() ([]byte, error) { return json.Marshal(s.wire()) }

func (s Status) wire() control.Status {
	w := control.Status{
		Name: s.Name, Version: s.Version, PID: s.PID, Generation: s.Generation, State: s.State.String(),
		StartedAt: s.Since, Deadline: s.Deadline, TakesUntil: s.TakesUntil, InFlight: each(s.InHand, wireWork),
		Sockets:     each(s.Sockets, func(k Socket) control.Socket { return control.Socket(k) }),
		Generations: each(s.Generations, wireGeneration),
		Upgrades:    each(s.Upgrades, wireUpgrade),
		Tasks:       each(s.Tasks, wireTask),
		Commands:    each(s.Commands, wireCommand),
		UpgradesOK:  max(0, s.Generation-1), UpgradesFailed: s.failed,
		PIDFile: s.PIDFile, ControlSocket: s.ControlSocket,
	}
	if !s.Since.IsZero() {
		w.Uptime = time.Since(s.Since).Seconds()
	}
	if n := len(w.Upgrades); n > 0 {
		w.LastUpgrade = &w.Upgrades[n-1]
	}
	return w
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (s *Status) UnmarshalJSON(text []byte) error {
	var w control.Status
	if err := json.Unmarshal(text, &w); err != nil {
		return err
	}
	*s = Status{
		Name: w.Name, Version: w.Version, PID: w.PID, Generation: w.Generation, State: stateOf(w.State),
		Since: w.StartedAt, Deadline: w.Deadline, TakesUntil: w.TakesUntil, InHand: each(w.InFlight, inHandOf),
		Sockets:     each(w.Sockets, func(k control.Socket) Socket { return Socket(k) }),
		Generations: each(w.Generations, generationOf),
		Upgrades:    each(w.Upgrades, upgradeOf),
		Tasks:       each(w.Tasks, taskOf),
		Commands:    each(w.Commands, commandOf),
		PIDFile:     w.PIDFile, ControlSocket: w.ControlSocket,
	}
	if w.LastUpgrade != nil {
		s.LastUpgrade = upgradeOf(*w.LastUpgrade)
	}
	return nil
}

// each is never nil: an empty list is one in JSON, too.
func each[A, B any](list []A, f func(A) B) []B {
	to := make([]B, len(list))
	for i, v := range list {
		to[i] = f(v)
	}
	return to
}

func wireWork(h InHand) control.Work { return control.Work(h) }

func inHandOf(w control.Work) InHand { return InHand(w) }

func wireGeneration(g Generation) control.Generation {
	return control.Generation{
		Number: g.Number, PID: g.PID, Version: g.Version, State: g.State.String(), Since: g.Since,
		InFlight: each(g.InHand, wireWork), Deadline: g.Deadline,
	}
}

func generationOf(w control.Generation) Generation {
	return Generation{
		Number: w.Number, PID: w.PID, Version: w.Version, State: stateOf(w.State), Since: w.Since,
		InHand: each(w.InFlight, inHandOf), Deadline: w.Deadline,
	}
}

func wireTask(t TaskStatus) control.Task {
	return control.Task{
		Name: t.Name, Kind: t.Kind, Schedule: t.Schedule, Timeout: t.Timeout.Seconds(),
		State: t.State, Paused: t.Paused, Running: t.Running, Since: t.Since, Due: t.Due,
		Runs: t.Runs, Failed: t.Failed, Requeued: t.Requeued,
		LastRun: t.LastRun, LastTook: t.LastTook.Seconds(), LastError: t.LastError,
	}
}

func taskOf(w control.Task) TaskStatus {
	return TaskStatus{
		Name: w.Name, Kind: w.Kind, Schedule: w.Schedule, Timeout: duration(w.Timeout),
		State: w.State, Paused: w.Paused, Running: w.Running, Since: w.Since, Due: w.Due,
		Runs: w.Runs, Failed: w.Failed, Requeued: w.Requeued,
		LastRun: w.LastRun, LastTook: duration(w.LastTook), LastError: w.LastError,
	}
}

func wireCommand(c CommandStatus) control.Command {
	return control.Command{
		Name: c.Name, State: c.State, PID: c.PID, Since: c.Since, Due: c.Due,
		Restarts: c.Restarts, LastExit: c.LastExit, Error: c.Error,
		CPU: c.CPU.Seconds(), Memory: c.Memory, Output: c.Output,
	}
}

func commandOf(w control.Command) CommandStatus {
	return CommandStatus{
		Name: w.Name, State: w.State, PID: w.PID, Since: w.Since, Due: w.Due,
		Restarts: w.Restarts, LastExit: w.LastExit, Error: w.Error,
		CPU: duration(w.CPU), Memory: w.Memory, Output: w.Output,
	}
}

func duration(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

func wireUpgrade(r UpgradeResult) control.Upgrade {
	return control.Upgrade{
		At: r.At, OK: r.Stage == "" && r.Error == "", From: r.From, To: r.To, PID: r.PID,
		Took: r.Took.Seconds(), Stage: r.Stage, Error: r.Error,
	}
}

func upgradeOf(w control.Upgrade) UpgradeResult {
	return UpgradeResult{
		From: w.From, To: w.To, PID: w.PID, Took: duration(w.Took), At: w.At,
		Stage: w.Stage, Error: w.Error,
	}
}

// stateOf takes a name that this build does not know for that of a state past
// all it knows.
func stateOf(name string) State {
	s := stateCount
	s.UnmarshalText([]byte(name))
	return s
}
