package verbs

import (
	"io"
	"time"

	"github.com/gracerun/grace/gracerun/internal/control"
)

// A Step is one of a schedule.
type Step struct {
	Signal string
	Wait   time.Duration
}

// ParseSchedule returns the steps, and those that are repeated.
func ParseSchedule(text string) (steps, repeated []Step, err error) {
	s, err := parseSchedule(text)
	for i, st := range s.steps {
		step := Step{Wait: st.wait}
		if st.signal != 0 {
			step.Signal = signalName(st.signal)
		}
		if steps = append(steps, step); i >= s.repeat {
			repeated = append(repeated, step)
		}
	}
	return steps, repeated, err
}

// Describe is what status prints of a service that said st.
func Describe(s *Service, st control.Status, now time.Time) string {
	return s.describe(&known{status: &st, held: true, pid: st.PID}, now)
}

// Tables is what tasks prints of a service that said st.
func Tables(st control.Status, now time.Time) string { return tally(st) + "\n" + tables(st, now) }

// A Progress is what a verb says while it waits.
type Progress = progress

// NewProgress returns one that redraws as on a terminal, or does not.
func NewProgress(w io.Writer, name string, redraw bool) *Progress {
	return &progress{w: w, name: name, redraw: redraw}
}

func (p *progress) Show(now time.Time, text, left string) { p.show(now, text, left) }
func (p *progress) Line(text string)                      { p.line(text) }

// Short rounds a time for people.
func Short(d time.Duration) string { return short(d) }
