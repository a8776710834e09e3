package harness

import (
	"fmt"
	"slices"
	"strings"
)

// An FD is an open descriptor of a process.
type FD struct {
	Num    int
	Kind   string // "file", "socket", "pipe", "pidfd", "eventpoll", "eventfd", "memfd", ...
	Target string // what /proc/PID/fd shows
}

// FDs are all the descriptors of a process, by number.
type FDs []FD

// String counts them by kind, "2 file, 1 pipe, 3 socket", in alphabetical order: two of
// these are equal when nothing has leaked.
func (f FDs) String() string {
	count := map[string]int{}
	var kinds []string
	for _, fd := range f {
		if count[fd.Kind]++; count[fd.Kind] == 1 {
			kinds = append(kinds, fd.Kind)
		}
	}
	slices.Sort(kinds)
	var b strings.Builder
	for i, k := range kinds {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%d %s", count[k], k)
	}
	return b.String()
}

// List returns a line for each.
func (f FDs) List() string {
	var b strings.Builder
	for _, fd := range f {
		fmt.Fprintf(&b, "%d %s %s\n", fd.Num, fd.Kind, fd.Target)
	}
	return b.String()
}

// kindOf says what a link in /proc/PID/fd leads to.
func kindOf(target string) string {
	switch {
	case strings.HasPrefix(target, "/memfd:"):
		return "memfd"
	case strings.HasPrefix(target, "/"):
		return "file"
	case strings.HasPrefix(target, "anon_inode:"):
		return strings.Trim(strings.TrimPrefix(target, "anon_inode:"), "[]")
	}
	kind, _, _ := strings.Cut(target, ":") // "socket:[123]"
	return kind
}
