package experiment

import (
	"errors"
	"fmt"
	"time"

	"github.com/gracerun/grace/test/bench/report"
)

func triggersReport(all []*hurry) *report.Section {
	sec := &report.Section{ID: "triggers", Title: "Upgrades in a hurry", Text: triggersText}
	once := report.Table{
		Title:   "Several triggers at once",
		Columns: []string{"", "triggers", "new processes that answered", "serves in the end", "failed requests", "what the service says"},
		Note:    "A generation of nginx has two processes that answer.",
	}
	drain := report.Table{
		Title:   "A trigger while the predecessor drains",
		Columns: []string{"", "first answer of a new process after", "request in hand", "serves in the end", "failed requests", "what the service says"},
	}
	for _, h := range all {
		if h.n == drained {
			drain.Rows = append(drain.Rows, h.row(h.upgraded(), h.survived()))
		} else {
			once.Rows = append(once.Rows, h.row(fmt.Sprint(h.n), fmt.Sprint(h.came)))
		}
		if h.kind.Name == ours {
			sec.Faults = append(sec.Faults, h.faults()...)
		}
	}
	sec.Tables = []report.Table{once, drain}
	return sec
}

// row has two columns of its own, and those of both tables.
func (h *hurry) row(a, b string) []string {
	words := shorten(h.words, 120)
	switch {
	case errors.Is(h.err, errNoDrain):
		words = h.err.Error()
	case h.err != nil:
		words = "not known: " + firstLine(h.err)
	case words == "":
		words = "-"
	}
	return []string{h.kind.Name, a, b, h.serves, fmt.Sprintf("%d of %d", h.seen.Failed, h.seen.OK+h.seen.Failed), words}
}

func (h *hurry) upgraded() string {
	switch {
	case h.err != nil:
		return "-"
	case h.took == 0:
		return "none in 10 s"
	}
	return fmt.Sprintf("%v", h.took.Round(time.Millisecond))
}

func (h *hurry) survived() string {
	switch {
	case h.err != nil:
		return "-"
	case h.held != nil:
		return "lost"
	}
	return "answered"
}
