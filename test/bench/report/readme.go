package report

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// What the headline of the README stands between.
const (
	headlineBegin = "<!-- headline: go run ./test/bench -->"
	headlineEnd   = "<!-- end of headline -->"
)

// UpdateREADME replaces the headline of a README by the report's. Its links lead
// to the directory docs, where [Report.WriteFiles] wrote. A README without the
// two lines between which the headline stands is left alone; one that has only
// one of them, or has them twice or in the wrong order, is an error.
func (r *Report) UpdateREADME(readme, docs string) error {
	text, err := os.ReadFile(readme)
	if err != nil {
		return err
	}
	before, _, after, err := cut(string(text), headlineBegin, headlineEnd)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", readme, err)
	}
	link, err := filepath.Rel(filepath.Dir(readme), docs)
	if err != nil {
		return err
	}
	return os.WriteFile(readme, []byte(before+"\n"+r.readme(filepath.ToSlash(link))+after), 0o644)
}

func (r *Report) readme(docs string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n", r.headline().markdown())
	for _, s := range r.Sections {
		for _, p := range s.Plots {
			if p.README {
				fmt.Fprintf(&b, "![%s](%s/%s/%s)\n\n", p.Title, docs, plotDir, p.File)
			}
		}
	}
	fmt.Fprintf(&b, "Measured on %s: %s.\n`%s` measures it again; [compare.md](%s/%s) has all of it, and how.\n\n",
		r.Started.Format("2 January 2006"), r.Machine, r.Command, docs, markdownName)
	return b.String()
}

// cut returns what is before and up to the line begin, what is between it and
// the line end, and the rest. The error is fs.ErrNotExist if it has neither.
func cut(text, begin, end string) (before, inner, after string, err error) {
	b, e := strings.Count(text, begin), strings.Count(text, end)
	if b == 0 && e == 0 {
		return text, "", "", fs.ErrNotExist
	}
	if b != 1 || e != 1 {
		return "", "", "", fmt.Errorf("has %q %d times and %q %d times; each must be there once", begin, b, end, e)
	}
	before, rest, _ := strings.Cut(text, begin)
	inner, after, ok := strings.Cut(rest, end)
	if !ok {
		return "", "", "", fmt.Errorf("has %q before %q; swap them", end, begin)
	}
	return before + begin, inner, end + after, nil
}
