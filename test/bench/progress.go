package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// A progress tells a person what is going on, and for how long. On a terminal it
// is one line that changes; elsewhere it is a line a second at most.
type progress struct {
	w        io.Writer
	terminal bool
	started  time.Time

	mu   sync.Mutex
	last time.Time
}

const (
	eraseLine    = "\r\033[K"
	terminalSize = 79 // characters, that the line is one
)

func newProgress(w io.Writer, terminal bool) *progress {
	return &progress{w: w, terminal: terminal, started: time.Now()}
}

func isTerminal(f *os.File) bool {
	fi, err := f.Stat()
	return err == nil && fi.Mode()&os.ModeCharDevice != 0
}

// printf tells what begins now.
func (p *progress) printf(format string, args ...any) {
	line := p.line(format, args)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal {
		if r := []rune(line); len(r) > terminalSize {
			line = string(r[:terminalSize])
		}
		fmt.Fprint(p.w, eraseLine, line)
		return
	}
	if time.Since(p.last) >= time.Second {
		fmt.Fprintln(p.w, line)
		p.last = time.Now()
	}
}

// keep prints a line that stays.
func (p *progress) keep(format string, args ...any) {
	p.clear()
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintln(p.w, p.line(format, args))
}

// clear removes the line that changes.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal {
		fmt.Fprint(p.w, eraseLine)
	}
}

func (p *progress) line(format string, args []any) string {
	seconds := int(time.Since(p.started).Seconds())
	return fmt.Sprintf("%2d:%02d  %s", seconds/60, seconds%60, fmt.Sprintf(format, args...))
}
