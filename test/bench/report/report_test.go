package report_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gracerun/grace/test/bench/report"
)

// golden compares with a file of testdata, or writes it: GOLDEN=write go test.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("GOLDEN") == "write" {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("is not what %s has (GOLDEN=write go test changes it):\n%s", path, got)
	}
}

func TestMarkdown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := example().WriteFiles(dir); err != nil {
		t.Fatal(err)
	}
	got := read(t, filepath.Join(dir, "compare.md"))
	golden(t, "compare.md", []byte(got))
	for _, name := range []string{"loss.svg", "growth.svg", "idle.svg", "latency.svg"} {
		if !strings.Contains(got, "](compare/"+name+")") {
			t.Errorf("compare.md does not show %s", name)
		}
		texts(t, read(t, filepath.Join(dir, "compare", name)))
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	r := example()
	for _, s := range r.Sections {
		if err := s.WriteText(&b); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "terminal.txt", b.Bytes())
}

func TestWriteFilesKeepsNotes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := example().WriteFiles(dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "compare.md")
	edited := strings.Replace(read(t, path), "kept -->\n", "kept -->\n\nWhat 1.31 is due to.\n\n", 1)
	write(t, path, edited)
	stale := filepath.Join(dir, "compare", "stale.svg")
	write(t, stale, "<svg/>")
	if err := example().WriteFiles(dir); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path); got != edited {
		t.Errorf("the notes are not what they were:\n%s", got)
	}
	if _, err := os.Stat(stale); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a plot of a former run is still there: %v", err)
	}
}

func TestWriteFilesRefusesToLoseNotes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const mine = "# Comparison, written by hand\n"
	write(t, filepath.Join(dir, "compare.md"), mine)
	err := example().WriteFiles(dir)
	if err == nil || !strings.Contains(err.Error(), "notes") {
		t.Errorf("error is %v, want one about the notes", err)
	}
	if got := read(t, filepath.Join(dir, "compare.md")); got != mine {
		t.Errorf("has become:\n%s", got)
	}
}

const (
	begin = "<!-- headline: go run ./test/bench -->"
	end   = "<!-- end of headline -->"
)

func TestUpdateREADME(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "README.md")
	write(t, path, "before\n\n"+begin+"\nold\n"+end+"\n\nafter\n")
	for range 2 { // twice is as once
		if err := example().UpdateREADME(path, filepath.Join(dir, "docs")); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "readme.md", []byte(read(t, path)))
}

func TestUpdateREADMEMarkers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, text string
		ok         bool
	}{
		{"none", "no headline", true},
		{"only the first", begin, false},
		{"only the second", end, false},
		{"the first twice", begin + begin + end, false},
		{"the second twice", begin + end + end, false},
		{"both twice", begin + end + begin + end, false},
		{"the wrong order", end + begin, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "README.md")
			write(t, path, test.text)
			err := example().UpdateREADME(path, "docs")
			if (err == nil) != test.ok {
				t.Errorf("error is %v, want none: %v", err, test.ok)
			}
			if got := read(t, path); got != test.text {
				t.Errorf("has changed to %q", got)
			}
		})
	}
}

func TestSVG(t *testing.T) {
	t.Parallel()
	r := example()
	for _, s := range r.Sections {
		for _, p := range s.Plots {
			t.Run(p.File, func(t *testing.T) {
				t.Parallel()
				var b bytes.Buffer
				if err := r.WriteSVG(&b, p); err != nil {
					t.Fatal(err)
				}
				got := texts(t, b.String())
				for _, s := range p.Series {
					if n := count(got, s.Name); n != 1 {
						t.Errorf("has the name %q %d times, want once", s.Name, n)
					}
				}
				if !slices.Contains(got, p.Title) {
					t.Errorf("lacks the title %q", p.Title)
				}
			})
		}
	}
}

func TestSVGTexts(t *testing.T) {
	t.Parallel()
	series := func(points ...report.Point) []report.Series {
		return []report.Series{{Name: "a & b", Points: points}}
	}
	for _, test := range []struct {
		name string
		plot report.Plot
		want []string
	}{
		{"zero bar", report.Plot{Y: "time, ms", Bars: true, Series: series(report.Point{})}, []string{"a & b", "time", "0"}},
		{"bar", report.Plot{X: "time, ms", Bars: true, Series: series(report.Point{Y: 1234.5})}, []string{"time", "1,234 ms"}},
		{"nothing but a unit", report.Plot{X: "n", Y: "ms", Series: series(report.Point{X: 1, Y: 3})}, []string{"1 ms", "2 ms", "3 ms"}},
		{"linear, from below 0", report.Plot{X: "after, ms", Y: "n", Series: series(report.Point{X: -100, Y: 3}, report.Point{X: 400})},
			[]string{"-100 ms", "0", "100 ms", "400 ms", "after"}},
		{"logarithmic bar", report.Plot{Y: "time", Bars: true, LogY: true, Series: series(report.Point{Y: 0.15})}, []string{"time, logarithmic", "0.15"}},
		{"decades", report.Plot{X: "n", Y: "time, ms", LogX: true, LogY: true, Series: series(report.Point{X: 1, Y: 0.1}, report.Point{X: 1000, Y: 1000})},
			[]string{"1", "10", "100", "1,000", "0.1 ms", "1 ms", "10 ms", "100 ms", "1,000 ms"}},
		{"zero on a logarithmic axis", report.Plot{X: "n", Y: "%", LogX: true, Series: series(report.Point{X: 0, Y: 1}, report.Point{X: 100, Y: 2})}, []string{"0", "100"}},
		{"nothing but zero", report.Plot{X: "n", Y: "n", LogX: true, LogY: true, Series: series(report.Point{})}, []string{"0"}},
		{"one point", report.Plot{X: "n", Y: "n", LogX: true, LogY: true, Series: series(report.Point{X: 7, Y: 10})}, []string{"10", "20"}},
		{"no unit", report.Plot{X: "a, b", Y: "failures, per upgrade", Series: series(report.Point{X: 1, Y: 1})}, []string{"a, b", "failures, per upgrade"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var b bytes.Buffer
			if err := new(report.Report).WriteSVG(&b, test.plot); err != nil {
				t.Fatal(err)
			}
			got := texts(t, b.String())
			for _, want := range test.want {
				if !slices.Contains(got, want) {
					t.Errorf("lacks %q, has %q", want, got)
				}
			}
		})
	}
}

func TestSVGRefuses(t *testing.T) {
	t.Parallel()
	for name, series := range map[string][]report.Series{
		"no series":   nil,
		"no points":   {{Name: "x"}},
		"not numbers": {{Name: "x", Points: []report.Point{{Y: math.NaN()}}}},
		"infinite":    {{Name: "x", Points: []report.Point{{Y: math.Inf(1)}}}},
	} {
		if err := new(report.Report).WriteSVG(io.Discard, report.Plot{Series: series}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestThisMachine(t *testing.T) {
	t.Parallel()
	m := report.ThisMachine()
	if m.CPU == "" || m.Cores < 1 || m.Kernel == "" || m.Go == "" {
		t.Errorf("got %+v", m)
	}
	if _, err := os.Stat("/proc/meminfo"); err == nil && m.Memory < 1<<20 {
		t.Errorf("got %d bytes of memory", m.Memory)
	}
}

// texts returns all texts of an SVG document.
func texts(t *testing.T, svg string) (all []string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(svg))
	for inText := false; ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			inText = token.Name.Local == "text"
		case xml.EndElement:
			inText = false
		case xml.CharData:
			if inText {
				all = append(all, string(token))
			}
		}
	}
}

func count(list []string, s string) (n int) {
	for _, l := range list {
		if l == s {
			n++
		}
	}
	return n
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
