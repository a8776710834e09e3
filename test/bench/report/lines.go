package report

import (
	"cmp"
	"image/color"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

const (
	linesHeight = vg.Length(345)
	fewPoints   = 24 // so many are marked, each with its range
	labelHeight = 13
	leadWidth   = 18 // between the plot and the sample of a line
	labelGap    = 40 // between the plot and the names
)

// drawLines draws a line for each series, ours last and boldest, and its name
// where it ends.
func (r *Report) drawLines(c draw.Canvas, p Plot, t typeface) {
	gp := newPlot(t)
	p.setAxes(gp)
	gp.Add(grid())
	if gp.X.Min < 0 {
		gp.Add(origin{})
	}
	ordered := slices.Clone(p.Series)
	slices.SortStableFunc(ordered, func(a, b Series) int { return cmp.Compare(oursLast(a), oursLast(b)) })
	for _, s := range ordered {
		gp.Add(newLine(s, r.line(s.Name, p)))
	}
	names := t.style(9.5, ink)
	var width vg.Length
	for _, s := range p.Series {
		width = max(width, names.Width(s.Name))
	}
	area := draw.Crop(c, 0, -(width + labelGap + 2), 0, 0)
	gp.Draw(area)
	data := gp.DataCanvas(area)
	for _, l := range placeLabels(ordered, data, gp) {
		l.draw(c, data, r.line(l.name, p), t)
	}
}

func oursLast(s Series) int {
	if isOurs(s.Name) {
		return 1
	}
	return 0
}

// setAxes sets the axes to what the points need.
func (p *Plot) setAxes(gp *plot.Plot) {
	var xs, ys []float64
	for _, s := range p.Series {
		for _, pt := range s.Points {
			xs, ys = append(xs, pt.X), append(ys, pt.Y)
			if pt.High > 0 {
				ys = append(ys, pt.High)
			}
			if pt.High > 0 && pt.Low > 0 {
				ys = append(ys, pt.Low)
			}
		}
	}
	what, xUnit := axis(p.X)
	_, yUnit := axis(p.Y)
	gp.X.Label.Text = what
	set := map[bool]func(*plot.Axis, string, []float64){false: setLinear, true: setLog}
	set[p.LogX](&gp.X, xUnit, xs)
	set[p.LogY](&gp.Y, yUnit, ys)
}

func grid() *plotter.Grid {
	g := plotter.NewGrid()
	g.Vertical.Color, g.Horizontal.Color = rgb(rule), rgb(rule)
	return g
}

// origin is a line at X = 0, where it is not the edge.
type origin struct{}

// Plot implements [plot.Plotter].
func (origin) Plot(c draw.Canvas, gp *plot.Plot) {
	x, _ := gp.Transforms(&c)
	c.StrokeLine2(thin(), x(0), c.Min.Y, x(0), c.Max.Y)
}

// A line is a series as it is drawn.
type line struct {
	points []Point
	style  draw.LineStyle
	halo   bool // a white edge, that it stands out
}

func newLine(s Series, style draw.LineStyle) *line {
	points := slices.Clone(s.Points)
	slices.SortStableFunc(points, func(a, b Point) int { return cmp.Compare(a.X, b.X) })
	return &line{points: points, style: style, halo: isOurs(s.Name)}
}

// Plot implements [plot.Plotter].
func (l *line) Plot(c draw.Canvas, gp *plot.Plot) {
	x, y := gp.Transforms(&c)
	path := make([]vg.Point, len(l.points))
	for i, pt := range l.points {
		path[i] = vg.Point{X: x(pt.X), Y: y(pt.Y)}
	}
	if len(l.points) > fewPoints {
		l.band(c, x, y)
	} else {
		l.ranges(c, x, y)
	}
	if l.halo {
		c.StrokeLines(draw.LineStyle{Color: color.White, Width: l.style.Width + 2}, path)
	}
	c.StrokeLines(l.style, path)
	if len(l.points) <= fewPoints {
		for _, at := range path {
			c.DrawGlyphNoClip(draw.GlyphStyle{Color: l.style.Color, Radius: l.style.Width + 0.8, Shape: draw.CircleGlyph{}}, at)
		}
	}
}

// ranges draws a thin line from the lowest to the highest value of each point.
func (l *line) ranges(c draw.Canvas, x, y func(float64) vg.Length) {
	style := draw.LineStyle{Color: l.style.Color, Width: 0.7}
	for _, pt := range l.points {
		if pt.High > 0 {
			c.StrokeLine2(style, x(pt.X), y(pt.Low), x(pt.X), y(pt.High))
		}
	}
}

// band fills the area between the lowest and the highest values of all points.
func (l *line) band(c draw.Canvas, x, y func(float64) vg.Length) {
	var top, bottom []vg.Point
	for _, pt := range l.points {
		if pt.High > 0 {
			top = append(top, vg.Point{X: x(pt.X), Y: y(pt.High)})
			bottom = append(bottom, vg.Point{X: x(pt.X), Y: y(pt.Low)})
		}
	}
	slices.Reverse(bottom)
	if len(top) > 1 {
		c.FillPolygon(translucent(l.style.Color), append(top, bottom...))
	}
}
