package report

import (
	"fmt"
	"io"
	"strings"
)

// WriteText writes what one experiment has found, for a terminal.
func (s *Section) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n== %s\n", s.Title)
	for _, t := range s.Tables {
		b.WriteString("\n")
		if t.Title != "" {
			fmt.Fprintf(&b, "%s\n\n", t.Title)
		}
		b.WriteString(t.plain())
		if t.Note != "" {
			fmt.Fprintf(&b, "\n%s\n", t.Note)
		}
	}
	list(&b, "not measured", s.Skipped)
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteText writes what all experiments come to, for a terminal: the headline,
// the goals and the faults. The sections have a method of their own.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n== In short\n\n%s\n", r.Machine)
	for _, p := range r.Peers {
		if p.Missing != "" {
			fmt.Fprintf(&b, "%s did not run: %s\n", p.Name, p.Missing)
		}
	}
	for _, t := range []Table{r.headline(), r.goals()} {
		if len(t.Rows) > 0 {
			fmt.Fprintf(&b, "\n%s", t.plain())
		}
	}
	list(&b, "faults of "+Ours, r.Faults())
	_, err := io.WriteString(w, b.String())
	return err
}

func list(b *strings.Builder, title string, items []string) {
	if len(items) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s:\n", title)
	for _, item := range items {
		fmt.Fprintf(b, "- %s\n", item)
	}
}
