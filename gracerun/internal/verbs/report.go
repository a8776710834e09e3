package verbs

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/gracerun/grace/gracerun/internal/control"
)

// A report is the one object that --json prints, whatever happens.
type report struct {
	control.Status          // state is also "running" (no more is known), "stopped" or "unknown"
	Verb           string   `json:"verb"`
	OK             bool     `json:"ok"`
	Exit           int      `json:"exit"`
	Message        string   `json:"message"`  // the result for people
	Error          string   `json:"error"`    // why it failed
	Warnings       []string `json:"warnings"` // what is not as it should be
}

func (c *call) report(ctx context.Context, code int, err error) {
	if c.known == nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTimeout)
		defer cancel()
		c.known = c.probe(ctx)
	}
	r := report{
		Status: c.reportStatus(c.known), Verb: c.verb, OK: code == 0, Exit: code,
		Message: strings.TrimSuffix(c.message.String(), "\n"), Warnings: append(append([]string{}, c.warnings(c.known)...), c.idle(c.known)...),
	}
	if err != nil {
		r.Error = err.Error()
	}
	text, _ := json.Marshal(r) // its types have no errors
	c.write(string(text) + "\n")
}

// reportStatus is what the service says of itself, or what can be said for it.
func (c *call) reportStatus(k *known) control.Status {
	s := control.Status{Name: c.Name, PID: k.owner(), PIDFile: c.PIDFile, ControlSocket: c.Socket}
	switch {
	case k.status != nil:
		s = *k.status
	case k.starting:
		s.State = "starting"
	case k.lock != nil || k.held && k.pid == 0:
		s.State = "unknown"
	case k.held:
		s.State = "running"
	default:
		s.State, s.Version = "stopped", c.Version
	}
	if c.verb == "version" { // the program's, whatever runs
		s.Version = c.Version
	}
	return s.Complete()
}
