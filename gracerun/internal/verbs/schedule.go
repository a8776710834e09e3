package verbs

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A schedule says how a service is stopped, in the notation of start-stop-daemon(8):
// signals, by name or as -number, and seconds to wait for the service's end, separated by
// slashes. After "forever" the rest is repeated; as the last word it is a wait without
// limit. A number alone is N in TERM/N/KILL/5.
type schedule struct {
	steps  []step
	repeat int // the index of the first step to repeat; len(steps) = none
	text   string
}

// A step sends a signal and waits.
type step struct {
	signal syscall.Signal // 0 = none
	wait   time.Duration  // negative = without limit
}

const (
	noLimit   = time.Duration(-1)
	afterKill = 5 * time.Second // the kernel ends a process in no time, unless a device holds it
)

// patient is TERM/d/KILL/5.
func patient(d time.Duration) schedule {
	return schedule{steps: []step{{syscall.SIGTERM, d}, {syscall.SIGKILL, afterKill}}, repeat: 2}
}

// String and Set make it a flag.
func (s *schedule) String() string { return s.text }

func (s *schedule) Set(text string) error {
	parsed, err := parseSchedule(text)
	if err == nil {
		*s = parsed
	}
	return err
}

func parseSchedule(text string) (schedule, error) {
	if n, err := parseWait(text); err == nil {
		s := patient(n)
		s.text = text
		return s, nil
	}
	s := schedule{repeat: -1, text: text}
	words := strings.Split(text, "/")
	for i, word := range words {
		if err := s.add(word, i == len(words)-1); err != nil {
			return schedule{}, err
		}
	}
	if len(words) < 2 {
		return schedule{}, errors.New("a signal needs a time to wait: use TERM/30/KILL/5")
	}
	if !slices.ContainsFunc(s.steps, func(s step) bool { return s.signal != 0 }) {
		return schedule{}, errors.New("there is no signal in it: use TERM/30/KILL/5")
	}
	if s.repeat < 0 {
		s.repeat = len(s.steps)
		return s, nil
	}
	for _, step := range s.steps[s.repeat:] {
		if step.wait != 0 {
			return s, nil
		}
	}
	return schedule{}, errors.New("what is repeated forever has to wait in between: use forever/KILL/5")
}

// add appends one word.
func (s *schedule) add(word string, last bool) error {
	if word == "forever" {
		switch {
		case s.repeat >= 0:
			return errors.New("forever may be there once")
		case last:
			s.wait(noLimit)
		default:
			s.repeat = len(s.steps)
		}
		return nil
	}
	if d, err := parseWait(word); err == nil {
		s.wait(d)
		return nil
	}
	signal, err := parseSignal(word)
	if err != nil {
		return err
	}
	s.steps = append(s.steps, step{signal: signal})
	return nil
}

// wait belongs to the signal before it, if there is one in the same part.
func (s *schedule) wait(d time.Duration) {
	if n := len(s.steps); n > 0 && s.steps[n-1].wait == 0 && s.repeat != n {
		s.steps[n-1].wait = d
		return
	}
	s.steps = append(s.steps, step{wait: d})
}

// parseWait reads seconds. A day is more than anybody waits, and no overflow.
func parseWait(word string) (time.Duration, error) {
	n, err := strconv.ParseUint(word, 10, 31)
	return time.Duration(n) * time.Second, err
}

// parseSignal reads TERM, SIGTERM, -TERM or -15.
func parseSignal(word string) (syscall.Signal, error) {
	name, dashed := strings.CutPrefix(word, "-")
	if n, err := strconv.ParseUint(name, 10, 7); err == nil && dashed && n > 0 && n <= maxSignal {
		return syscall.Signal(n), nil
	}
	if n := signalNumber("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG")); n != 0 {
		return n, nil
	}
	return 0, fmt.Errorf("%q is no signal and no number of seconds: use TERM/30/KILL/5", word)
}

const maxSignal = 64
