package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// terminal is where the demo writes. On a real one it redraws a line that shows
// how it goes; anywhere else, in a file or a pipe, it writes lines.
type terminal struct {
	out   *os.File
	live  bool // lines can be redrawn
	color bool
}

func newTerminal(out *os.File) *terminal {
	live := windowWidth(out) >= 0 && os.Getenv("TERM") != "dumb"
	return &terminal{out: out, live: live, color: live && os.Getenv("NO_COLOR") == ""}
}

// width returns how many characters fit into a line.
func (t *terminal) width() int {
	w := windowWidth(t.out)
	if w <= 0 {
		w, _ = strconv.Atoi(os.Getenv("COLUMNS"))
	}
	if w <= 0 {
		w = 80
	}
	return min(max(w, 60), 120)
}

// draw replaces the live line. It stays one: what does not fit is cut.
func (t *terminal) draw(format string, args ...any) {
	if t.live {
		line := []rune(fmt.Sprintf(format, args...))
		fmt.Fprintf(t.out, "\r%s\x1b[K", string(line[:min(len(line), t.width()-1)]))
	}
}

// clear removes the live line.
func (t *terminal) clear() {
	if t.live {
		fmt.Fprint(t.out, "\r\x1b[K")
	}
}

// event writes a line where there is no live one.
func (t *terminal) event(format string, args ...any) {
	if !t.live {
		fmt.Fprintf(t.out, format+"\n", args...)
	}
}

// margin is the column in which the text of a row begins.
const margin = 12

// row writes a label and a text beside it, which continues below itself where it
// is too long for one line.
func (t *terminal) row(color int, label, format string, args ...any) {
	text := strings.TrimRight(fmt.Sprintf(format, args...), " ")
	label = t.paint(color, fmt.Sprintf("%-*s", margin, label))
	for i, line := range wrap(text, t.width()-margin) {
		if i > 0 {
			label = strings.Repeat(" ", margin)
		}
		fmt.Fprintln(t.out, label+line)
	}
}

// wrap divides a text into lines of at most width characters, between words
// where it can.
func wrap(text string, width int) (lines []string) {
	rest := []rune(text)
	for len(rest) > width {
		cut := width
		for i := width; i > width/2; i-- {
			if rest[i] == ' ' {
				cut = i
				break
			}
		}
		lines = append(lines, string(rest[:cut]))
		rest = []rune(strings.TrimLeft(string(rest[cut:]), " "))
	}
	return append(lines, string(rest))
}

// Colors, as ECMA-48 numbers them.
const (
	plain  = 0
	bold   = 1
	red    = 31
	green  = 32
	yellow = 33
)

func (t *terminal) paint(color int, s string) string {
	if !t.color || color == plain {
		return s
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", color, s)
}
