package report

import (
	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

const (
	barStep   = 21 // from one to the next
	barWidth  = 13
	nameGap   = 10 // between a name and its bar
	valueRoom = 60 // to the right of the longest bar
)

func barsHeight(p Plot) vg.Length {
	return vg.Length(len(p.Series)*barStep) + titleSpace + 2*margin
}

// bars is where the bars of a plot are drawn.
type bars struct {
	draw.Canvas
	typeface
	unit string
	left vg.Length // where they begin
	axis plot.Axis // along which they extend
}

// drawBars draws a bar for each series, from the top, with its name before it
// and its value behind it.
func drawBars(c draw.Canvas, p Plot, t typeface) {
	_, unit := axis(p.valueAxis())
	b := bars{Canvas: c, typeface: t, unit: unit, left: c.Min.X + nameGap, axis: barAxis(p)}
	for _, s := range p.Series {
		b.left = max(b.left, c.Min.X+nameGap+b.text(s.Name).Width(s.Name))
	}
	y := c.Max.Y - barStep/2
	for _, s := range p.Series {
		b.draw(s, y)
		y -= barStep
	}
	b.StrokeLine2(thin(), b.left, c.Max.Y, b.left, y+barStep/2)
}

// barAxis returns an axis for the values and the ends of their ranges.
func barAxis(p Plot) plot.Axis {
	var values []float64
	for _, s := range p.Series {
		values = append(values, s.Points[0].Y, max(s.Points[0].High, s.Points[0].Y))
	}
	a := plot.New().X
	if p.LogY {
		setLog(&a, "", append(values, 0)) // so that also the smallest is a bar
	} else {
		setLinear(&a, "", values)
	}
	return a
}

func (b *bars) draw(s Series, y vg.Length) {
	pt, fill := s.Points[0], rgb(silver)
	if isOurs(s.Name) {
		fill = rgb(vivid)
	}
	style := b.text(s.Name)
	style.XAlign = draw.XRight
	write(b.Canvas, style, b.left-nameGap, y, s.Name)
	right := b.end(pt.Y)
	b.FillPolygon(fill, []vg.Point{
		{X: b.left, Y: y - barWidth/2}, {X: right, Y: y - barWidth/2},
		{X: right, Y: y + barWidth/2}, {X: b.left, Y: y + barWidth/2},
	})
	if pt.High > 0 {
		b.StrokeLine2(thin(), b.end(pt.Low), y, b.end(pt.High), y)
		right = max(right, b.end(pt.High))
	}
	write(b.Canvas, b.text(s.Name), right+6, y, withUnit(pt.Y, b.unit))
}

// end returns where a bar of this value ends.
func (b *bars) end(v float64) vg.Length {
	return b.left + vg.Length(b.axis.Norm(v))*(b.Max.X-valueRoom-b.left)
}

func (b *bars) text(name string) text.Style {
	if !isOurs(name) {
		return b.style(9.5, ink)
	}
	style := b.style(9.5, vivid)
	style.Font.Weight = xfont.WeightBold
	return style
}

func thin() draw.LineStyle { return draw.LineStyle{Color: rgb(faded), Width: 0.7} }
