package experiment

import (
	"fmt"
	"strings"

	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/bench/report"
)

func brokenReport(all []*mishap) *report.Section {
	sec := &report.Section{ID: "broken", Title: "Broken programs", Text: brokenText}
	short := report.Table{
		Title: "Who serves after an upgrade to a program that ...",
		Note: "\"New\": the broken program itself, which is started again and again. \"Silent\": the service says nothing of the failure; " +
			"what the program prints does not count. \"Stuck\": a later upgrade, to the good program, has not come. A dash: " +
			"such a program has no meaning for this peer.",
	}
	short.Columns = []string{""}
	for _, how := range peer.Breakages() {
		short.Columns = append(short.Columns, how.String())
	}
	long := report.Table{
		Title:   "In detail",
		Columns: []string{"", "the new program", "serves", "failed requests", "later upgrade", "what the service says"},
	}
	rows := map[*peer.Kind]int{}
	for _, m := range all {
		i, ok := rows[m.kind]
		if !ok {
			i = len(short.Rows)
			rows[m.kind] = i
			short.Rows = append(short.Rows, []string{m.kind.Name, "-", "-", "-", "-", "-"})
		}
		short.Rows[i][1+int(m.how)] = m.cell()
		long.Rows = append(long.Rows, m.row())
		if m.kind.Name == ours {
			sec.Faults = append(sec.Faults, m.faults()...)
		}
	}
	sec.Tables = []report.Table{short, long}
	sec.Headline = survivors(all)
	return sec
}

// cell is "old" if nothing else is to be said.
func (m *mishap) cell() string {
	if m.err != nil {
		return "not known"
	}
	text := m.serves
	if m.words == "" && m.serves != "nobody" {
		text += ", silent"
	}
	if m.seen.Failed > 0 {
		text += fmt.Sprintf(", %d failed", m.seen.Failed)
	}
	if m.later != nil && m.serves != "nobody" {
		text += ", stuck"
	}
	return text
}

func (m *mishap) row() []string {
	row := []string{m.kind.Name, m.how.String(), m.serves, "-", "-", "-"}
	if m.err != nil {
		row[5] = "not known: " + firstLine(m.err)
		return row
	}
	row[3] = fmt.Sprintf("%d of %d", m.seen.Failed, m.seen.OK+m.seen.Failed)
	row[4] = "works"
	switch {
	case m.later != nil && m.serves == "nobody":
		row[4] = "nobody to ask"
	case m.later != nil:
		row[4] = firstLine(m.later)
	}
	if m.words != "" {
		row[5] = shorten(m.words, 120)
	}
	return row
}

// survivors counts, for each kind, after how many of the mishaps the old program
// serves.
func survivors(all []*mishap) (list []report.Headline) {
	count := map[string][2]int{}
	var names []string
	for _, m := range all {
		c, ok := count[m.kind.Name]
		if !ok {
			names = append(names, m.kind.Name)
		}
		if m.serves == "old" {
			c[0]++
		}
		c[1]++
		count[m.kind.Name] = c
	}
	for _, name := range names {
		c := count[name]
		list = append(list, report.Headline{
			Column: "serves on after a broken program", Peer: name, Value: fmt.Sprintf("%d of %d", c[0], c[1]),
		})
	}
	return list
}

// shorten leaves out the middle of what is longer than n bytes.
func shorten(s string, n int) string {
	const dots = " ... "
	if len(s) <= n {
		return s
	}
	half := (n - len(dots)) / 2
	return strings.ToValidUTF8(s[:half], "") + dots + strings.ToValidUTF8(s[len(s)-half:], "")
}
