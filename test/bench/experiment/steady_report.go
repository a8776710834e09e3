package experiment

import (
	"fmt"

	"github.com/gracerun/grace/test/bench/report"
)

// noise is the difference between two counts for each request that says nothing:
// the runtime allocates and calls now and then by itself.
const noise = 0.05

func steadyReport(sec *report.Section, all []*running, floor *running) {
	t := report.Table{
		Title: "Requests without an upgrade",
		Columns: []string{"", "requests/s", "of " + plain, "10% to 90% of the rounds", "CPU, us a request", "of " + plain,
			"allocations", "calls on sockets", "other calls", "the scheduler's"},
		Note: "Calls are system calls for each request. " +
			"\"Other calls\" are the handler's getpid, and a few of the runtime's, as are those of its scheduler.",
	}
	for _, r := range all {
		rate, cpu := ratios(r.rate, floor.rate), ratios(r.cpu, floor.cpu)
		row := []string{
			r.Name, fmt.Sprintf("%.0f", median(r.rate)), fmt.Sprintf("%.3f", median(rate)),
			fmt.Sprintf("%.3f to %.3f", quantile(rate, 0.1), quantile(rate, 0.9)),
			fmt.Sprintf("%.1f", median(r.cpu)), fmt.Sprintf("%.3f", median(cpu)),
			perRequest(r.allocations), "-", "-", "-",
		}
		if c := r.calls; c != nil {
			copy(row[7:], []string{perRequest(c.connections), perRequest(c.others), perRequest(c.scheduler)})
		}
		t.Rows = append(t.Rows, row)
		if r.Name == ours {
			sec.Goals = append(sec.Goals, steadyGoals(r, floor, median(rate))...)
		}
	}
	sec.Tables = append(sec.Tables, t)
}

func steadyGoals(r, floor *running, rate float64) []report.Goal {
	more := r.allocations - floor.allocations
	goals := []report.Goal{
		{What: "throughput without an upgrade", Want: "at least 0.98 of " + plain, Got: fmt.Sprintf("%.3f", rate), Met: rate >= 0.98},
		{What: "allocations for a request", Want: "none more than " + plain, Got: fmt.Sprintf("%+.2f", more), Met: r.allocations > 0 && more < noise},
	}
	if r.calls != nil && floor.calls != nil {
		more := r.calls.connections + r.calls.others - floor.calls.connections - floor.calls.others
		goals = append(goals, report.Goal{
			What: "system calls for a request, without those of Go's scheduler", Want: "none more than " + plain,
			Got: fmt.Sprintf("%+.2f", more), Met: more < noise,
		})
	}
	return goals
}

// ratios returns those of each round.
func ratios(a, b []float64) []float64 {
	list := make([]float64, min(len(a), len(b)))
	for i := range list {
		list[i] = a[i] / b[i]
	}
	return list
}

func perRequest(n float64) string { return fmt.Sprintf("%.2f", n) }
