package report

import (
	"image/color"
	"slices"
	"strings"

	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/font/liberation"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// What everything is drawn in.
const (
	ink    = 0x1f2328
	faded  = 0x59636e
	rule   = 0xe4e8ec
	vivid  = 0x0b57d0 // ours
	silver = 0xaab4be // the others' bars
)

// other returns how the i-th of the others' lines is drawn: muted, in colours
// that can be told apart also by those who see fewer, all the more with the
// dashes.
func other(i int) draw.LineStyle {
	colors := [...]uint32{
		0xcc6677, 0x117733, 0xc79a2b, 0x882255, 0x44aa99, 0x6e6e6e, 0xaa4499,
		0x8a8a2e, 0x8c5a3c, 0x62a8c8, 0xe08b52, 0x7b6fb0, 0x333333,
	}
	dashes := [...][]vg.Length{nil, {6, 2.5}, {2, 2}, {7, 2, 2, 2}}
	return draw.LineStyle{Color: rgb(colors[i%len(colors)]), Width: 1.3, Dashes: dashes[i%len(dashes)]}
}

func rgb(c uint32) color.Color {
	return color.NRGBA{R: uint8(c >> 16), G: uint8(c >> 8), B: uint8(c), A: 0xff}
}

// translucent lets through what is below.
func translucent(c color.Color) color.Color {
	n := color.NRGBAModel.Convert(c).(color.NRGBA)
	n.A = 0x30
	return n
}

func isOurs(name string) bool { return strings.HasPrefix(name, Ours) }

// line returns how the series of a name is drawn, the same in all plots of the
// report.
func (r *Report) line(name string, p Plot) draw.LineStyle {
	if isOurs(name) {
		return draw.LineStyle{Color: rgb(vivid), Width: 2.4}
	}
	var names []string
	for _, peer := range r.Peers {
		names = append(names, peer.Name)
	}
	for _, s := range p.Series {
		names = append(names, s.Name)
	}
	names = slices.DeleteFunc(names, isOurs)
	return other(slices.Index(names, name))
}

// typeface writes the plots' texts.
type typeface struct{ handler text.Handler }

func newTypeface() typeface {
	return typeface{text.Plain{Fonts: font.NewCache(liberation.Collection())}}
}

// style returns a style of texts that begin at a point; see [write].
func (t typeface) style(size vg.Length, c uint32) text.Style {
	return text.Style{
		Color: rgb(c), Handler: t.handler, YAlign: draw.YCenter,
		Font: font.Font{Typeface: "Liberation", Variant: "Sans", Size: size},
	}
}

// write draws a text in the middle of the height y, or rather its small letters.
func write(c draw.Canvas, style text.Style, x, y vg.Length, text string) {
	c.FillText(style, vg.Point{X: x, Y: y + 1.2}, text)
}
