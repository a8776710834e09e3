package verbs

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gracerun/grace/gracerun/internal/control"
)

// A progress is what a verb says while it waits. What changes is drawn anew on a terminal;
// in a log each change is a line, but not more than one in quietTime.
type progress struct {
	w      io.Writer
	name   string
	redraw bool
	begun  time.Time // when there was something to show first
	drawn  string    // on the terminal, to be replaced
	last   string    // what the log has
	at     time.Time // since when
}

const (
	quietTime = 5 * time.Second
	// How long a verb that waits says nothing. What takes no time is not worth a line, nor
	// the mail that cron makes of one.
	patience    = 200 * time.Millisecond
	logPatience = time.Second
	maxWidth    = 79 // a line that wraps cannot be drawn anew
)

func newProgress(w io.Writer, name string) *progress {
	return &progress{w: w, name: name, redraw: isTerminal(w)}
}

// isTerminal also takes the null device for one, which is nobody's loss.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// line is said once and stays. What happens from then on has to take its time again, to be
// worth another.
func (p *progress) line(text string) {
	p.print(text)
	p.begun = time.Time{}
}

// print has each line say who speaks.
func (p *progress) print(text string) {
	p.clear()
	for line := range strings.Lines(plain(text)) {
		fmt.Fprintf(p.w, "%s: %s\n", p.name, strings.TrimSuffix(line, "\n"))
	}
}

// show says how things are; left is what changes all the time, and alone is no news.
func (p *progress) show(now time.Time, text, left string) {
	if p.begun.IsZero() {
		p.begun = now
	}
	if waited := now.Sub(p.begun); waited < patience || waited < logPatience && !p.redraw {
		return
	}
	if p.redraw {
		if left != "" {
			text += ", " + left
		}
		if text = cut(plain(p.name + ": " + text)); text != p.drawn {
			p.drawn = text
			fmt.Fprintf(p.w, "\r%s\x1b[K", text)
		}
		return
	}
	if text == p.last || now.Sub(p.at) < quietTime {
		return
	}
	p.last, p.at = text, now
	if left != "" {
		text += ", " + left
	}
	p.print(text)
}

// clear makes room for a line that stays.
func (p *progress) clear() {
	if p.drawn != "" {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.drawn = ""
	}
}

// plain keeps what a service says of itself from giving orders to the terminal.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return utf8.RuneError
		}
		return r
	}, text)
}

// inLine is plain for what is a part of a line.
func inLine(text string) string {
	return strings.NewReplacer("\n", " ", "\t", " ").Replace(plain(text))
}

func cut(text string) string { return cutTo(text, maxWidth) }

func cutTo(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:width-3]) + "..."
}

// inHand names work for people: "http 3, jobs 1".
func inHand(work []control.Work) string {
	var list []string
	for _, w := range work {
		if w.Count == 0 { // an older build says only that there is some
			list = append(list, w.Name)
			continue
		}
		list = append(list, fmt.Sprintf("%s %d", w.Name, w.Count))
	}
	return strings.Join(list, ", ")
}

// withWork adds what is in hand to the text, if anything is.
func withWork(text string, work []control.Work) string {
	if names := inHand(work); names != "" {
		text += ": " + names
	}
	return text
}

// pidList is "pid 7" or "pids 7, 9".
func pidList(pids []int) string {
	switch len(pids) {
	case 0:
		return "an unknown process"
	case 1:
		return fmt.Sprintf("pid %d", pids[0])
	}
	return "pids " + strings.Trim(strings.ReplaceAll(fmt.Sprint(pids), " ", ", "), "[]")
}

// short rounds to what people read.
func short(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	}
	text := strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	if days := d / (24 * time.Hour); days > 0 {
		text = fmt.Sprintf("%dd%dh", days, d/time.Hour%24)
	}
	return text
}

func seconds(s float64) string { return short(time.Duration(s * float64(time.Second))) }

// wait lets some time pass, until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// tick is how often a verb looks at the lock and the pid file while it waits.
const tick = 20 * time.Millisecond
