package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
)

// A log is what a service wrote: a file, or what came through a pipe.
type log struct {
	out  *os.File // what the service writes to
	path string   // of the file

	pipe *os.File // what we read from
	done chan struct{}
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) open(path string, pipe bool) (err error) {
	if !pipe {
		l.path = path
		l.out, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		return err
	}
	if l.pipe, l.out, err = os.Pipe(); err != nil {
		return err
	}
	l.done = make(chan struct{})
	go l.drain()
	return nil
}

func (l *log) drain() {
	defer close(l.done)
	buf := make([]byte, 4096)
	for {
		n, err := l.pipe.Read(buf)
		l.mu.Lock()
		l.text.Write(buf[:n])
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (l *log) read() string {
	if l.path != "" {
		text, _ := os.ReadFile(l.path)
		return string(text)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *log) close() error {
	if l.out == nil {
		return nil
	}
	errs := []error{l.out.Close()}
	if l.pipe != nil {
		errs = append(errs, l.pipe.Close())
		<-l.done
	}
	return errors.Join(errs...)
}

// Log returns all that the service has written so far.
func (s *Service) Log() string { return s.log.read() }

// LogFrom returns what was written after the first n bytes, which is what len of
// an earlier [Service.Log] gives.
func (s *Service) LogFrom(n int) string {
	text := s.Log()
	return text[min(n, len(text)):]
}

// Logged waits until the log has a line with all these words after its first
// n bytes, and returns that line.
func (s *Service) Logged(ctx context.Context, n int, words ...string) (line string, err error) {
	err = Until(ctx, func() error {
		for l := range strings.Lines(s.LogFrom(n)) {
			if containsAll(l, words) && strings.HasSuffix(l, "\n") {
				line = strings.TrimSuffix(l, "\n")
				return nil
			}
		}
		return fmt.Errorf("no line of the log has %q", words)
	})
	return line, err
}

func containsAll(s string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(s, w) {
			return false
		}
	}
	return true
}
