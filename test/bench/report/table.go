package report

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// headline returns the table of all sections' headlines: a row for each peer
// that has any, a column for each kind of figure.
func (r *Report) headline() Table {
	t := Table{Columns: []string{""}}
	cells := map[[2]string]string{}
	for _, s := range r.Sections {
		for _, h := range s.Headline {
			if !slices.Contains(t.Columns, h.Column) {
				t.Columns = append(t.Columns, h.Column)
			}
			cells[[2]string{h.Peer, ""}] = h.Peer
			cells[[2]string{h.Peer, h.Column}] = h.Value
		}
	}
	for _, name := range r.rows(cells) {
		var row []string
		for _, column := range t.Columns {
			row = append(row, cells[[2]string{name, column}])
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// rows returns the names in the first column of the headline's cells: in the
// peers' order, and what is none of them by name.
func (r *Report) rows(cells map[[2]string]string) []string {
	var names, others []string
	for _, p := range r.Peers {
		if _, ok := cells[[2]string{p.Name, ""}]; ok {
			names = append(names, p.Name)
		}
	}
	for key := range cells {
		if key[1] == "" && !slices.Contains(names, key[0]) {
			others = append(others, key[0])
		}
	}
	slices.Sort(others)
	return append(names, others...)
}

// goals returns the table of all sections' goals.
func (r *Report) goals() Table {
	t := Table{Columns: []string{"met", "goal", "wanted", "measured"}, Text: 4}
	for _, g := range r.Goals() {
		t.Rows = append(t.Rows, []string{met(g), g.What, g.Want, g.Got})
	}
	return t
}

func met(g Goal) string {
	if g.Met {
		return "yes"
	}
	return "no"
}

// plain returns the table for a terminal.
func (t Table) plain() string {
	var b strings.Builder
	for _, line := range t.grid() {
		fmt.Fprintln(&b, strings.TrimRight(strings.Join(line, "  "), " "))
	}
	return b.String()
}

// markdown returns the table for a document.
func (t Table) markdown() string {
	escaped := Table{Columns: escape(t.Columns), Text: t.Text}
	for _, row := range t.Rows {
		escaped.Rows = append(escaped.Rows, escape(row))
	}
	lines := escaped.grid()
	rule := slices.Clone(lines[0])
	for i := range rule {
		n := max(utf8.RuneCountInString(rule[i]), 3)
		rule[i] = strings.Repeat("-", n)
		if t.rightAligned(i) {
			rule[i] = strings.Repeat("-", n-1) + ":"
		}
	}
	var b strings.Builder
	for _, line := range slices.Insert(lines, 1, rule) {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(line, " | "))
	}
	return b.String()
}

func escape(cells []string) []string {
	escaped := slices.Clone(cells)
	for i := range escaped {
		escaped[i] = strings.NewReplacer("|", `\|`, "\n", " ").Replace(escaped[i])
	}
	return escaped
}

func (t Table) rightAligned(column int) bool { return column >= max(t.Text, 1) }

// grid returns the columns' names and the rows, with all cells of a column
// equally wide. An empty cell becomes "-".
func (t Table) grid() [][]string {
	lines := [][]string{slices.Clone(t.Columns)}
	for _, row := range t.Rows {
		line := make([]string, len(t.Columns))
		for i := range line {
			if line[i] = "-"; i < len(row) && row[i] != "" {
				line[i] = row[i]
			}
		}
		lines = append(lines, line)
	}
	for column := range t.Columns {
		width := 0
		for _, line := range lines {
			width = max(width, utf8.RuneCountInString(line[column]))
		}
		for _, line := range lines {
			pad := strings.Repeat(" ", width-utf8.RuneCountInString(line[column]))
			if t.rightAligned(column) {
				line[column] = pad + line[column]
			} else {
				line[column] += pad
			}
		}
	}
	return lines
}
