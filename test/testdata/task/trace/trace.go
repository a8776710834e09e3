//go:build linux

// Package trace is what a service leaves behind of its tasks: a line for each
// thing that happened, written with one write to the end of a file, so that the
// lines of all generations are in the order in which things happened.
package trace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Record is a line of the trace.
type Record struct {
	At         time.Duration // on a clock that all processes share
	PID        int
	Generation int
	What       string // begin, end, cut, overlap ...
	Item       int64  // what it happened to
	Task       string // may have spaces
}

// A Writer adds to the trace of a directory. Its methods may be called by
// several goroutines.
type Writer struct {
	file       *os.File
	generation func() int
}

// Open opens the trace, and makes it if need be.
func Open(dir string, generation func() int) (*Writer, error) {
	f, err := os.OpenFile(filepath.Join(dir, "trace"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	return &Writer{f, generation}, err
}

// Say adds a record. A trace with holes would prove nothing: an error panics.
func (w *Writer) Say(what string, item int64, task string) {
	_, err := fmt.Fprintf(w.file, "%d %d %d %s %d %s\n", Now(), os.Getpid(), w.generation(), what, item, task)
	if err != nil {
		panic(err)
	}
}

// Read returns all that was written so far. A trace that was never opened is empty.
func Read(dir string) ([]Record, error) {
	text, err := os.ReadFile(filepath.Join(dir, "trace"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var list []Record
	for line := range strings.Lines(string(text)) {
		line, ended := strings.CutSuffix(line, "\n")
		if !ended { // a page of the file ends here, and its writer is about to go on
			break
		}
		r, err := parse(line)
		if err != nil {
			return nil, fmt.Errorf("line %d, %q: %w", len(list)+1, line, err)
		}
		list = append(list, r)
	}
	return list, nil
}

func parse(line string) (Record, error) {
	f := strings.SplitN(line, " ", 6)
	if len(f) < 6 {
		return Record{}, errors.New("it has too few words")
	}
	number := func(s string, err *error) int64 {
		n, e := strconv.ParseInt(s, 10, 64)
		*err = errors.Join(*err, e)
		return n
	}
	var err error
	r := Record{
		At: time.Duration(number(f[0], &err)), PID: int(number(f[1], &err)), Generation: int(number(f[2], &err)),
		What: f[3], Item: number(f[4], &err), Task: f[5],
	}
	return r, err
}

// Now is a monotonic clock.
func Now() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(err)
	}
	return time.Duration(now.Nano())
}
