// Package report is what experiments have found, and its pictures: as a table on
// a terminal, as docs/compare.md with SVG plots, and as the headline of the
// README.
package report

import "time"

// A Report is one run of the benchmarks.
type Report struct {
	Machine  Machine
	Started  time.Time
	Took     time.Duration
	Command  string // that repeats it
	Peers    []Peer // in the order of every table
	Sections []*Section
}

// Ours is the name of the peer that is this project, and what the names of its
// series begin with.
const Ours = "gracerun"

// Goals returns those of all sections.
func (r *Report) Goals() (all []Goal) {
	for _, s := range r.Sections {
		all = append(all, s.Goals...)
	}
	return all
}

// Faults returns those of all sections, each with the section's ID.
func (r *Report) Faults() (all []string) {
	for _, s := range r.Sections {
		for _, f := range s.Faults {
			all = append(all, s.ID+": "+f)
		}
	}
	return all
}

// Machine is where it ran.
type Machine struct {
	CPU    string
	Cores  int
	Memory uint64 // bytes
	Kernel string
	Go     string // version
}

// A Peer is one of what was compared.
type Peer struct {
	Name    string
	Version string // "github.com/cloudflare/tableflip v1.2.3", "nginx 1.22.1"
	How     string // what an upgrade does
	Missing string // why it did not run; "" = it did
}

// A Section is what one experiment found.
type Section struct {
	ID       string // of its anchor and files
	Title    string
	Text     string // what was measured and how, in Markdown
	Tables   []Table
	Plots    []Plot
	Goals    []Goal
	Headline []Headline
	Faults   []string // what gracerun did that it must not, whatever the machine: a failed request, a leak
	Skipped  []string // what was not measured, and why
}

// A Table has a row for each peer or size. The first columns are text, the others
// are right-aligned.
type Table struct {
	Title   string
	Columns []string
	Rows    [][]string
	Note    string
	Text    int // columns of text; 0 = 1
}

// A Plot is an SVG file.
type Plot struct {
	File       string // its name, without directory: "latency.svg"
	Title      string
	X, Y       string // what the axes show; a unit (us, ms, s, KB, MB, GB, %) alone or after the last comma goes with the numbers: "latency, ms"
	LogX, LogY bool   // a 0 among the values is drawn one step below the smallest other
	Bars       bool   // one value for each series, Points[0].Y; else lines
	README     bool   // the README shows it, too
	Series     []Series
}

// A Series is a line or a bar of a plot.
type Series struct {
	Name   string
	Points []Point
}

// A Point has the median, and the range of all runs if High > 0.
type Point struct {
	X, Y      float64
	Low, High float64
}

// A Goal is what gracerun set out to reach.
type Goal struct {
	What string // "signal to first answer"
	Want string // "at most 1.25 of the raw limit + 1 ms"
	Got  string
	Met  bool
}

// Headline is one cell of the table that the README shows.
type Headline struct {
	Column string // the same for all peers
	Peer   string
	Value  string
}
