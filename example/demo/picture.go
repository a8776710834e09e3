package main

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/gracerun/grace/test/load"
)

const rows = 6

// A picture shows the time of the demo from left to right.
type picture struct {
	start   time.Time
	took    time.Duration
	highest []time.Duration // the longest latency in each column
	busy    []bool          // an upgrade was going on
	tries   []byte          // '^' or 'x' where one was asked for
	lost    []byte          // '!' where a request failed
}

func newPicture(s *story, lost []load.Failure, columns int) *picture {
	p := &picture{
		start: s.result.Start, highest: make([]time.Duration, columns), busy: make([]bool, columns),
		tries: bytes.Repeat([]byte{' '}, columns), lost: bytes.Repeat([]byte{' '}, columns),
	}
	kinds := quick(s.result)
	for _, kind := range kinds { // not Result.Took: slow requests and streams end last
		p.took = max(p.took, time.Duration(len(kind.Series))*s.result.Interval)
	}
	for _, kind := range kinds {
		for i, point := range kind.Series {
			c := p.column(p.start.Add(time.Duration(i) * s.result.Interval))
			p.highest[c] = max(p.highest[c], point.Max)
		}
	}
	for _, w := range s.result.Windows {
		for c := p.column(w.Start); c <= p.column(w.End); c++ {
			p.busy[c] = true
		}
	}
	for _, t := range s.tries {
		mark := byte('^')
		if t.stage != "" {
			mark = 'x'
		}
		p.tries[p.column(t.began)] = mark
	}
	for _, f := range lost {
		p.lost[p.column(f.When)] = '!'
	}
	return p
}

// column returns the one that shows a moment.
func (p *picture) column(when time.Time) int {
	c := int(when.Sub(p.start) * time.Duration(len(p.highest)) / p.took)
	return min(max(c, 0), len(p.highest)-1)
}

// draw writes it. Each row stands for latencies twice as long as the one below,
// up to what is written beside it.
func (p *picture) draw(t *terminal) {
	top := time.Millisecond / 8
	for _, d := range p.highest {
		for top < d {
			top *= 2
		}
	}
	for r := range rows {
		limit := top >> r
		line := make([]byte, len(p.highest))
		for c, d := range p.highest {
			line[c] = p.cell(c, d > limit/2 || r == rows-1 && d > 0)
		}
		fmt.Fprintf(t.out, "%*s |%s\n", margin-2, brief(limit), line)
	}
	gap := strings.Repeat(" ", margin)
	fmt.Fprintf(t.out, "%s%s\n", gap, strings.Repeat("-", len(p.highest)))
	paint := strings.NewReplacer("^", t.paint(green, "^"), "x", t.paint(yellow, "x"), "!", t.paint(red, "!"))
	fmt.Fprintf(t.out, "%s%s\n", gap, paint.Replace(string(p.tries)))
	legend := "^ upgrade, x refused one, # while it went on, : else"
	if bytes.ContainsRune(p.lost, '!') {
		fmt.Fprintf(t.out, "%s%s\n", gap, paint.Replace(string(p.lost)))
		legend += ", ! failed"
	}
	t.row(plain, "", "%s; %s in all", legend, brief(p.took))
}

func (p *picture) cell(column int, filled bool) byte {
	switch {
	case !filled:
		return ' '
	case p.busy[column]:
		return '#'
	}
	return ':'
}
