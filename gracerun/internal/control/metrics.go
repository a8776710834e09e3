package control

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// metrics writes Prometheus' text format 0.0.4. What there is not, such as the
// deadline of no drain, has no sample.
func (s Service) metrics(w http.ResponseWriter, _ *http.Request) {
	status := s.Status()
	var e exposition
	e.process(status)
	e.work(status)
	e.upgrades(status)
	e.tasks(status.Tasks, time.Now())
	e.commands(status.Commands)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	io.WriteString(w, e.String())
}

func (e *exposition) process(s Status) {
	e.gauge("info", "The service and its version, always 1.", value(1, "name", s.Name, "version", s.Version))
	e.gauge("state", "1 for the state of the process that answers, 0 for the others.", perState(func(state string) int {
		if state == s.State {
			return 1
		}
		return 0
	})...)
	e.gauge("generation", "Which process of the service answers: the first is 1.", value(float64(s.Generation)))
	e.gauge("start_time_seconds", "When the process that answers began, in unix time.", instant(s.StartedAt)...)
	e.gauge("uptime_seconds", "How long the process that answers has run.", value(s.Uptime))
}

func (e *exposition) work(s Status) {
	e.gauge("in_flight", "Requests and tasks that the process that answers has not finished.", perName(s.InFlight)...)
	e.gauge("generations", "Processes of the service that are alive, by state.", perState(func(state string) (n int) {
		for _, g := range s.Generations {
			if g.State == state {
				n++
			}
		}
		return n
	})...)
	draining, deadline := 0, time.Time{}
	for _, g := range s.Generations {
		if g.State != "draining" {
			continue
		}
		for _, w := range g.InFlight {
			draining += w.Count
		}
		if deadline.IsZero() || !g.Deadline.IsZero() && g.Deadline.Before(deadline) {
			deadline = g.Deadline
		}
	}
	e.gauge("draining_in_flight", "Requests and tasks that draining processes have not finished.", value(float64(draining)))
	e.gauge("drain_deadline_timestamp_seconds", "When the first of the drains under way is cut short, in unix time.", instant(deadline)...)
}

func (e *exposition) upgrades(s Status) {
	e.family("upgrades_total", "counter", "Upgrades, by result.",
		value(float64(s.UpgradesOK), "result", "ok"), value(float64(s.UpgradesFailed), "result", "failed"))
	last := s.LastUpgrade
	if last == nil {
		return
	}
	e.gauge("last_upgrade_timestamp_seconds", "When the last upgrade ended, in unix time.", instant(last.At)...)
	e.gauge("last_upgrade_duration_seconds", "How long the last upgrade took.", value(last.Took))
	e.gauge("last_upgrade_success", "1 if the last upgrade succeeded, 0 if it failed.", value(truth(last.OK)))
}

// A sample is a value and the labels that tell it from others of its family.
type sample struct {
	value  float64
	labels []string // name, value, name, value ...
}

func value(v float64, labels ...string) sample { return sample{v, labels} }

// instant is t in unix time, or nothing.
func instant(t time.Time) []sample {
	if t.IsZero() {
		return nil
	}
	return []sample{value(unixSeconds(t))}
}

func unixSeconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// perState is one sample for each state, so that none vanishes with its last
// process.
func perState(count func(state string) int) []sample {
	var list []sample
	for _, state := range []string{"starting", "ready", "upgrading", "draining", "done"} {
		list = append(list, value(float64(count(state)), "state", state))
	}
	return list
}

// perName adds up what has the same name: no two samples may have the same
// labels.
func perName(work []Work) []sample {
	var list []sample
	for _, w := range work {
		i := slices.IndexFunc(list, func(s sample) bool { return s.labels[1] == w.Name })
		if i < 0 {
			i, list = len(list), append(list, value(0, "name", w.Name))
		}
		list[i].value += float64(w.Count)
	}
	return list
}

// An exposition is what a scrape reads, as it grows.
type exposition struct{ strings.Builder }

func (e *exposition) gauge(name, help string, samples ...sample) {
	e.family(name, "gauge", help, samples...)
}

// family writes all that has one name; help has nothing to escape.
func (e *exposition) family(name, kind, help string, samples ...sample) {
	if len(samples) == 0 {
		return
	}
	fmt.Fprintf(e, "# HELP gracerun_%s %s\n# TYPE gracerun_%[1]s %[3]s\n", name, help, kind)
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	for _, s := range samples {
		var labels []string
		for i := 0; i < len(s.labels); i += 2 {
			text := escape.Replace(strings.ToValidUTF8(s.labels[i+1], "\uFFFD"))
			labels = append(labels, s.labels[i]+`="`+text+`"`)
		}
		set := ""
		if len(labels) > 0 {
			set = "{" + strings.Join(labels, ",") + "}"
		}
		fmt.Fprintf(e, "gracerun_%s%s %s\n", name, set, strconv.FormatFloat(s.value, 'g', -1, 64))
	}
}
