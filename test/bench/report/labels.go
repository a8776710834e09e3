package report

import (
	"cmp"
	"slices"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// A label is the name of a line, to the right of the plot.
type label struct {
	name string
	end  vg.Point  // of its line
	rank vg.Length // the highest is at the top
	y    vg.Length
}

// placeLabels returns a label for each line, as close to the height of the
// line's end as the others allow.
func placeLabels(series []Series, data draw.Canvas, gp *plot.Plot) []label {
	x, y := gp.Transforms(&data)
	var labels []label
	for _, s := range series {
		last := slices.MaxFunc(s.Points, func(a, b Point) int { return cmp.Compare(a.X, b.X) })
		end := vg.Point{X: x(last.X), Y: y(last.Y)}
		l := label{name: s.Name, end: end, rank: end.Y, y: end.Y}
		if len(s.Points) > fewPoints {
			l.rank = y(peak(s))
		}
		labels = append(labels, l)
	}
	slices.SortStableFunc(labels, func(a, b label) int { return cmp.Compare(b.rank, a.rank) })
	spread(labels, data.Min.Y, data.Max.Y)
	return labels
}

// peak returns the highest value of a series: what its line is known by if it
// has come back to where all the others are.
func peak(s Series) float64 {
	return slices.MaxFunc(s.Points, func(a, b Point) int { return cmp.Compare(a.Y, b.Y) }).Y
}

// spread moves labels, which are in the order from the top, apart. Neighbours that
// would overlap form a group around the middle of where they want to be.
func spread(labels []label, bottom, top vg.Length) {
	type group struct {
		n      int
		middle vg.Length // of what its labels want
	}
	edge := func(g group) (low, high vg.Length) {
		half := vg.Length(g.n) * labelHeight / 2
		middle := max(min(g.middle, top-half), bottom+half)
		return middle - half, middle + half
	}
	var groups []group
	for _, l := range labels {
		g := group{1, l.y}
		for len(groups) > 0 {
			above := groups[len(groups)-1]
			low, _ := edge(above)
			if _, high := edge(g); high <= low {
				break
			}
			n := above.n + g.n
			g = group{n, (above.middle*vg.Length(above.n) + g.middle*vg.Length(g.n)) / vg.Length(n)}
			groups = groups[:len(groups)-1]
		}
		groups = append(groups, g)
	}
	i := 0
	for _, g := range groups {
		_, high := edge(g)
		for k := range g.n {
			labels[i].y = high - (vg.Length(k)+0.5)*labelHeight
			i++
		}
	}
}

// draw draws the name, and what leads to it from the line's end.
func (l *label) draw(c, data draw.Canvas, line draw.LineStyle, t typeface) {
	style := t.style(9.5, ink)
	lead := draw.LineStyle{Color: line.Color, Width: 0.6}
	right := data.Max.X
	if l.end.X < right-1 { // that it is not taken for data
		lead.Dashes = []vg.Length{1, 3}
	}
	if isOurs(l.name) {
		style.Font.Weight = xfont.WeightBold
		style.Color = line.Color
		lead.Width = 1
	}
	c.StrokeLines(lead, []vg.Point{l.end, {X: max(l.end.X, right) + 3, Y: l.end.Y}, {X: right + leadWidth, Y: l.y}})
	c.StrokeLine2(line, right+leadWidth, l.y, right+labelGap-3, l.y)
	write(c, style, right+labelGap, l.y, l.name)
}
