package command

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// split feeds text in pieces of n bytes.
func split(text string, n, limit int) (lines []string) {
	s := splitter{max: limit}
	emit := func(line []byte) {
		lines = append(lines, string(line))
		_ = append(line, '\n') // as a writer does
	}
	for piece := range slices.Chunk([]byte(text), n) {
		s.feed(piece, emit)
	}
	s.flush(emit)
	return lines
}

func TestLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxLine)
	umlauts := strings.Repeat("ü", maxLine/2) // as many bytes
	for text, want := range map[string][]string{
		"":                          nil,
		"\n":                        {""},
		"one\n":                     {"one"},
		"one":                       {"one"},
		"one\ntwo":                  {"one", "two"},
		"one\r\n\r\ntwo\r":          {"one", "", "two"},
		"a\rb\n":                    {"a\rb"},
		long + "\n":                 {long},
		long + "y\nz":               {long + cutMark, "y", "z"},
		long + long + "y":           {long + cutMark, long + cutMark, "y"},
		"x" + umlauts + "\n":        {"x" + umlauts[:maxLine-2] + cutMark, "ü"},
		"\xff\xfe" + long[2:] + "!": {"\xff\xfe" + long[2:] + cutMark, "!"},
	} {
		for _, n := range []int{1, 7, 1 << 20} {
			if got := split(text, n, 0); !slices.Equal(got, want) {
				t.Errorf("%.20q in pieces of %d: %.60q, want %.60q", text, n, got, want)
			}
		}
	}
}

// FuzzLines: how the text arrives does not matter, and nothing is lost.
func FuzzLines(f *testing.F) {
	f.Add("one\r\ntwo\n", 3, 100)
	f.Add("a line that is cut, äöü\n", 1, 5)
	f.Fuzz(func(t *testing.T, text string, n, limit int) {
		if n <= 0 || limit <= 0 {
			return
		}
		whole := split(text, len(text)+1, limit)
		if got := split(text, n, limit); !slices.Equal(got, whole) {
			t.Errorf("in pieces of %d: %.100q, else %.100q", n, got, whole)
		}
		for _, line := range whole {
			if len(line) > limit+len(cutMark) {
				t.Errorf("a line of %d bytes, at most %d", len(line), limit)
			}
		}
		want := strings.Split(text, "\n")
		if want[len(want)-1] == "" {
			want = want[:len(want)-1]
		}
		for i := range want {
			want[i] = strings.TrimSuffix(want[i], "\r")
		}
		if whole = split(text, n, len(text)+1); !slices.Equal(whole, want) {
			t.Errorf("%.100q, want %.100q", whole, want)
		}
	})
}

// TestTail keeps the last lines, short ones.
func TestTail(t *testing.T) {
	t.Parallel()
	var l tail
	for i := range 25 {
		l.add([]byte{byte('a' + i)})
	}
	if got := strings.Join(l, ""); got != "pqrstuvwxy" {
		t.Errorf("kept %q", got)
	}
	l.add(bytes.Repeat([]byte("x"), 1<<20))
	l.add([]byte("a\xffb"))
	if n := len(l); n != tailLines || len(l[n-2]) > tailWidth+len(cutMark) || l[n-1] != "a\uFFFDb" {
		t.Errorf("%d lines, %d bytes, %q", n, len(l[n-2]), l[n-1])
	}
}
