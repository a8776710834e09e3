package handoff

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// How much of a child's own words goes into an error.
const (
	maxLines = 5
	maxTail  = 64 << 10
)

// words are the reason of a child that just exited: the text of its panic, else
// its exit status, with its last lines where it writes to a file.
func (b *birth) words(exit error) error {
	text := exitText(exit)
	if panicked := b.crashed(); panicked != "" {
		return fmt.Errorf("%s: %s", text, panicked)
	}
	for _, log := range b.logs {
		if tail := log.tail(); tail != "" {
			return fmt.Errorf("%s; its last lines: %s", text, tail)
		}
	}
	if b.piped {
		text += "; its last lines are in the log of the service"
	}
	return errors.New(text)
}

// crashed is what the child said of its crash, "" if it had none. Of a fatal error
// the runtime copies only the stacks to the crash output (runtime.throw): the line
// that says what it is went to the standard error before.
func (b *birth) crashed() string {
	text := crashText(b.crash, b.unseen)
	if text == "" || crashIn(text) == text || strings.HasPrefix(text, "SIG") {
		return text
	}
	for _, log := range b.logs {
		if tail := log.tail(); strings.HasPrefix(tail, beginFatal) {
			return tail
		}
	}
	return "a fatal error of the Go runtime, which its standard error names"
}

// exitText says in our words what tableflip says of a child.
func exitText(exit error) string {
	text := strings.TrimPrefix(exit.Error(), "can't start child: ")
	if _, status, ok := strings.Cut(text, " exited: "); ok {
		return "the child ended with " + status
	}
	if strings.HasSuffix(text, " exited") {
		return "the child ended with exit status 0"
	}
	return text
}

// crashText is the message of the panic or fatal error in f, without the stacks,
// or with the one of the goroutine that it was in.
func crashText(f *os.File, stack bool) string {
	report, err := io.ReadAll(io.NewSectionReader(f, 0, maxText))
	if err != nil {
		return ""
	}
	text, stacks, found := strings.Cut(string(report), beginStack)
	if found && stack {
		first, _, _ := strings.Cut(stacks, beginStack)
		text += beginStack + first
	}
	return strings.TrimSpace(text)
}

const (
	beginStack = "\n\ngoroutine "
	beginPanic = "panic: "
	beginFatal = "fatal error: "
)

func withoutStacks(report string) string {
	text, _, _ := strings.Cut(report, beginStack)
	text, _, _ = strings.Cut(text, "\n\nruntime stack:")
	return strings.TrimSpace(text)
}

// crashIn finds the report of a panic among other lines: of a process that died
// before the memory for it was in place.
func crashIn(text string) string {
	for _, begin := range []string{beginPanic, beginFatal} {
		if i := strings.LastIndex("\n"+text, "\n"+begin); i >= 0 {
			return text[i:]
		}
	}
	return ""
}

func isPipe(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode().Type() == fs.ModeNamedPipe
}

// A logMark is a place in a log file.
type logMark struct {
	f    *os.File
	size int64
}

// markLog marks the end of f. The mark of what is not a regular file, or cannot
// be read, has no tail.
func markLog(f *os.File) logMark {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return logMark{}
	}
	return logMark{f: f, size: info.Size()}
}

// tail returns the last lines written since the mark.
func (m logMark) tail() string {
	if m.f == nil {
		return ""
	}
	// By its name in /proc: the descriptor itself may be write-only.
	r, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", m.f.Fd()))
	if err == nil {
		defer r.Close()
	} else {
		r = m.f // memory can be read
	}
	info, err := r.Stat()
	if err != nil {
		return ""
	}
	from := max(m.size, info.Size()-maxTail)
	text, err := io.ReadAll(io.NewSectionReader(r, from, maxTail))
	if err != nil {
		return ""
	}
	if report := crashIn(string(text)); report != "" {
		return withoutStacks(report)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-maxLines):], "\n")
}
