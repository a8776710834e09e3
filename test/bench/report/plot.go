package report

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

const (
	plotWidth  = 640 // of the whole picture, in points
	margin     = 14
	titleSpace = 26
	valueSpace = 18 // what the values are, below the title
)

// WriteSVG draws a plot of the report, in black and colours on white.
func (r *Report) WriteSVG(w io.Writer, p Plot) error {
	if err := p.check(); err != nil {
		return err
	}
	t := newTypeface()
	height := linesHeight
	if p.Bars {
		height = barsHeight(p)
	}
	if p.values() != "" {
		height += valueSpace
	}
	svg := vgsvg.New(plotWidth, height)
	c := draw.New(svg)
	c.SetColor(rgb(0xffffff))
	c.Fill(c.Rectangle.Path())
	inner := p.drawHead(draw.Crop(c, margin, -margin, margin, -margin), t)
	if p.Bars {
		drawBars(inner, p, t)
	} else {
		r.drawLines(inner, p, t)
	}
	var b bytes.Buffer
	if _, err := svg.WriteTo(&b); err != nil {
		return err
	}
	_, err := w.Write(withFallbacks(b.Bytes()))
	return err
}

// withFallbacks names more than the font that the texts were measured with, for
// those who do not have it: Arial and Helvetica are as wide.
func withFallbacks(svg []byte) []byte {
	const measured = "font-family:Liberation Sans"
	return bytes.ReplaceAll(svg, []byte(measured), []byte(measured+",Arial,Helvetica,sans-serif"))
}

// check returns an error for what cannot be drawn.
func (p *Plot) check() error {
	if len(p.Series) == 0 {
		return errors.New("has no series")
	}
	for _, s := range p.Series {
		if len(s.Points) == 0 {
			return fmt.Errorf("series %q has no points", s.Name)
		}
		for _, pt := range s.Points {
			for _, v := range []float64{pt.X, pt.Y, pt.Low, pt.High} {
				if math.IsNaN(v) || math.IsInf(v, 0) {
					return fmt.Errorf("series %q has the value %v", s.Name, v)
				}
			}
		}
	}
	return nil
}

// drawHead draws the title and what the values are, and returns what is left.
func (p *Plot) drawHead(c draw.Canvas, t typeface) draw.Canvas {
	title, sub := t.style(12.5, ink), t.style(9.5, faded)
	title.Font.Weight = xfont.WeightBold
	title.YAlign, sub.YAlign = draw.YTop, draw.YTop
	c.FillText(title, vg.Point{X: c.Min.X, Y: c.Max.Y}, p.Title)
	c = draw.Crop(c, 0, 0, 0, -titleSpace)
	if what := p.values(); what != "" {
		c.FillText(sub, vg.Point{X: c.Min.X, Y: c.Max.Y + 7}, what)
		c = draw.Crop(c, 0, 0, 0, -valueSpace)
	}
	return c
}

// valueAxis returns what the values are: of bars, which have one axis, either
// field may say it.
func (p *Plot) valueAxis() string {
	if p.Bars {
		return cmp.Or(p.Y, p.X)
	}
	return p.Y
}

// values returns what the title does not say about the values.
func (p *Plot) values() string {
	what, _ := axis(p.valueAxis())
	if strings.EqualFold(what, p.Title) {
		what = ""
	}
	if p.Bars && p.LogY {
		what = strings.TrimPrefix(what+", logarithmic", ", ")
	}
	return what
}

// newPlot returns a plot whose axes are thin and look alike.
func newPlot(t typeface) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		tick := t.style(9, faded)
		tick.XAlign, tick.YAlign = a.Tick.Label.XAlign, a.Tick.Label.YAlign
		a.Tick.Label = tick
		a.Label.TextStyle = centred(t.style(9.5, faded))
		a.Label.Padding = 4
		a.Padding, a.Color, a.Tick.Color = 0, rgb(faded), rgb(faded)
		a.Tick.Length = 4
	}
	return p
}

func centred(s text.Style) text.Style {
	s.XAlign, s.YAlign = draw.XCenter, draw.YBottom
	return s
}
