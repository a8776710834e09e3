package control_test

import (
	"fmt"
	"maps"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun/internal/control"
)

// parse reads Prometheus' text format 0.0.4, strictly: each family once, its
// HELP and TYPE before its samples, no sample twice, nothing left over.
func parse(text string) (samples map[string]float64, err error) {
	if !strings.HasSuffix(text, "\n") {
		return nil, fmt.Errorf("the last line has no end")
	}
	meta := regexp.MustCompile(`^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$`)
	sample := regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\"n])*"(?:,[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\"n])*")*\})? (\S+)$`)
	samples, seen := map[string]float64{}, map[string]bool{}
	help, family := "", ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if m := meta.FindStringSubmatch(line); m != nil {
			switch {
			case m[1] == "HELP" && seen[m[2]]:
				return nil, fmt.Errorf("a second %s", m[2])
			case m[1] == "HELP":
				help, seen[m[2]] = m[2], true
			case m[2] != help || m[3] != "gauge" && m[3] != "counter":
				return nil, fmt.Errorf("after the help for %q: %s", help, line)
			case (m[3] == "counter") != strings.HasSuffix(m[2], "_total"):
				return nil, fmt.Errorf("misnamed: %s", line)
			default:
				family = m[2]
			}
			continue
		}
		m := sample.FindStringSubmatch(line)
		if m == nil || m[1] != family {
			return nil, fmt.Errorf("in the family %q: %s", family, line)
		}
		value, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			return nil, err
		}
		key := m[1] + m[2]
		if _, again := samples[key]; again {
			return nil, fmt.Errorf("twice: %s", key)
		}
		samples[key] = value
	}
	return samples, nil
}

func scrape(t *testing.T, f *fake) map[string]float64 {
	t.Helper()
	w := httptest.NewRecorder()
	control.ReadOnly(f.service()).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if got := w.Header().Get("Content-Type"); got != "text/plain; version=0.0.4; charset=utf-8" {
		t.Errorf("Content-Type %q", got)
	}
	samples, err := parse(w.Body.String())
	if err != nil {
		t.Fatalf("%v in\n%s", err, w.Body)
	}
	for name := range samples {
		if !strings.HasPrefix(name, "gracerun_") {
			t.Errorf("a foreign name: %s", name)
		}
	}
	return samples
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	f, now := newFake(), time.Unix(1_800_000_000, 250e6)
	f.status.Name = "a\"b\\c\nd\xff{}"
	few := scrape(t, f)
	for _, absent := range []string{"gracerun_last_upgrade_success", "gracerun_drain_deadline_timestamp_seconds"} {
		if _, ok := few[absent]; ok {
			t.Errorf("%s, of nothing", absent)
		}
	}
	f.status.InFlight = []control.Work{{Name: "http", Count: 3}, {Name: `task "x"`, Count: 1}, {Name: "http", Count: 2}}
	f.status.Generations = []control.Generation{
		{Number: 1, State: "draining", InFlight: []control.Work{{Name: "a", Count: 4}}},
		{Number: 2, State: "draining", InFlight: []control.Work{{Name: "a", Count: 1}}, Deadline: now},
		{Number: 3, State: "ready"},
	}
	f.status.LastUpgrade = &control.Upgrade{At: now, OK: true, Took: 0.125}
	f.status.UpgradesOK, f.status.UpgradesFailed = 7, 2
	got := scrape(t, f)
	for name, want := range map[string]float64{
		`gracerun_info{name="a\"b\\c\nd` + "\uFFFD" + `{}",version="v1"}`: 1,
		`gracerun_state{state="ready"}`:                                   1,
		`gracerun_state{state="draining"}`:                                0,
		`gracerun_generation`:                                             3,
		`gracerun_in_flight{name="http"}`:                                 5,
		`gracerun_in_flight{name="task \"x\""}`:                           1,
		`gracerun_generations{state="draining"}`:                          2,
		`gracerun_generations{state="ready"}`:                             1,
		`gracerun_generations{state="starting"}`:                          0,
		`gracerun_draining_in_flight`:                                     5,
		`gracerun_drain_deadline_timestamp_seconds`:                       1_800_000_000.25,
		`gracerun_last_upgrade_timestamp_seconds`:                         1_800_000_000.25,
		`gracerun_last_upgrade_duration_seconds`:                          0.125,
		`gracerun_last_upgrade_success`:                                   1,
		`gracerun_upgrades_total{result="ok"}`:                            7,
		`gracerun_upgrades_total{result="failed"}`:                        2,
	} {
		if value, ok := got[name]; !ok || value != want {
			t.Errorf("%s: %v, %t, want %v, in %q", name, value, ok, want, slices.Sorted(maps.Keys(got)))
		}
	}
	if up := got["gracerun_uptime_seconds"]; up < 60 || up > 100 {
		t.Errorf("uptime %v", up)
	}
}

func TestTaskMetrics(t *testing.T) {
	t.Parallel()
	f, at := newFake(), time.Unix(1_800_000_000, 250e6)
	for name := range scrape(t, f) {
		if strings.Contains(name, "task") || strings.Contains(name, "command") {
			t.Errorf("%s, of nothing", name)
		}
	}
	f.status.Tasks = []control.Task{
		{Name: `mail "x"`, Kind: "work", State: "running", Running: 3, Since: time.Now().Add(-90 * time.Second), Runs: 10, Failed: 2, Requeued: 1, LastRun: at, LastTook: 0.5},
		{Name: "report", Kind: "cron", State: "paused", Paused: true, Due: at},
		{Name: "odd", Runs: 1, Failed: 2},
	}
	f.status.Commands = []control.Command{
		{Name: "web", State: "running", PID: 7, Restarts: 4, CPU: 1.25, Memory: 5 << 20},
		{Name: "bad", State: "failed", Restarts: 9},
		{Name: "off", State: "paused"},
		{Name: "his", State: "older"},
	}
	got := scrape(t, f)
	for name, want := range map[string]float64{
		`gracerun_task_runs_total{task="mail \"x\"",result="ok"}`:       7,
		`gracerun_task_runs_total{task="mail \"x\"",result="failed"}`:   2,
		`gracerun_task_runs_total{task="mail \"x\"",result="requeued"}`: 1,
		`gracerun_task_runs_total{task="odd",result="ok"}`:              0,
		`gracerun_task_running{task="mail \"x\""}`:                      3,
		`gracerun_task_running{task="report"}`:                          0,
		`gracerun_task_paused{task="mail \"x\""}`:                       0,
		`gracerun_task_paused{task="report"}`:                           1,
		`gracerun_task_last_run_timestamp_seconds{task="mail \"x\""}`:   1_800_000_000.25,
		`gracerun_task_last_run_duration_seconds{task="mail \"x\""}`:    0.5,
		`gracerun_task_next_run_timestamp_seconds{task="report"}`:       1_800_000_000.25,
		`gracerun_command_up{command="web"}`:                            1,
		`gracerun_command_up{command="bad"}`:                            0,
		`gracerun_command_up{command="off"}`:                            0,
		`gracerun_command_paused{command="off"}`:                        1,
		`gracerun_command_given_up{command="bad"}`:                      1,
		`gracerun_command_given_up{command="web"}`:                      0,
		`gracerun_command_restarts_total{command="web"}`:                4,
		`gracerun_command_cpu_seconds_total{command="web"}`:             1.25,
		`gracerun_command_resident_memory_bytes{command="web"}`:         5 << 20,
	} {
		if value, ok := got[name]; !ok || value != want {
			t.Errorf("%s: %v, %t, want %v, in %q", name, value, ok, want, slices.Sorted(maps.Keys(got)))
		}
	}
	if age := got[`gracerun_task_oldest_run_seconds{task="mail \"x\""}`]; age < 90 || age > 120 {
		t.Errorf("the oldest run is %v s old", age)
	}
	for _, absent := range []string{
		`gracerun_task_oldest_run_seconds{task="report"}`, `gracerun_task_last_run_duration_seconds{task="report"}`,
		`gracerun_task_next_run_timestamp_seconds{task="odd"}`, `gracerun_command_up{command="his"}`,
	} {
		if _, ok := got[absent]; ok {
			t.Errorf("%s, of nothing", absent)
		}
	}
}
