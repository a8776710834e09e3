package report

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"
)

const (
	markdownName = "compare.md"
	plotDir      = "compare"
)

// What a person has written in compare.md stands between these two lines, and is
// kept.
const (
	notesBegin = "<!-- notes: written by hand, kept -->"
	notesEnd   = "<!-- end of notes -->"
)

//go:embed compare.md.tmpl
var document string

// WriteFiles writes compare.md and its plots, compare/*.svg, into a directory,
// and removes plots of a former run. The notes in a former compare.md are kept.
func (r *Report) WriteFiles(dir string) error {
	path := filepath.Join(dir, markdownName)
	notes, err := readNotes(path)
	if err != nil {
		return err
	}
	if err := r.writePlots(filepath.Join(dir, plotDir)); err != nil {
		return err
	}
	text, err := r.markdown(notes)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

func readNotes(path string) (string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "\n", nil
	}
	if err != nil {
		return "", err
	}
	_, notes, _, err := cut(string(text), notesBegin, notesEnd)
	if err != nil { // nothing is overwritten that may be somebody's work
		return "", fmt.Errorf("%s: where are the notes that must be kept? %w", path, err)
	}
	return notes, nil
}

func (r *Report) writePlots(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(dir, "*.svg"))
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	for _, s := range r.Sections {
		for _, p := range s.Plots {
			var svg bytes.Buffer
			if err := r.WriteSVG(&svg, p); err != nil {
				return fmt.Errorf("plot %s: %w", p.File, err)
			}
			if err := os.WriteFile(filepath.Join(dir, p.File), svg.Bytes(), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// markdown returns the document that compare.md.tmpl describes.
func (r *Report) markdown(notes string) ([]byte, error) {
	t, err := template.New(markdownName).Funcs(template.FuncMap{
		"date":    func(t time.Time) string { return t.Format("2 January 2006") },
		"minutes": func(d time.Duration) string { return count(int(d.Round(time.Minute).Minutes()), "minute") },
		"table":   Table.markdown,
		"trim":    strings.TrimSpace,
	}).Parse(document)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, map[string]any{
		"Report": r, "Headline": r.headline(), "Goals": r.goals(), "Peers": r.peers(),
		"NotesBegin": notesBegin, "Notes": notes, "NotesEnd": notesEnd, "Plots": plotDir,
	})
	return b.Bytes(), err
}

// peers returns the table of what was compared.
func (r *Report) peers() Table {
	t := Table{Columns: []string{"", "version", "an upgrade"}, Text: 3}
	for _, p := range r.Peers {
		version := p.Version
		if p.Missing != "" {
			version = "did not run: " + p.Missing
		}
		t.Rows = append(t.Rows, []string{p.Name, version, p.How})
	}
	return t
}
