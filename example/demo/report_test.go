package main

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gracerun/grace/test/load"
)

// aStory has one upgrade, one crash, and the failures that are given.
func aStory(failures ...load.Failure) *story {
	start := time.Unix(1_000_000, 0)
	after := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	for i := range failures {
		failures[i].When = after(2090)
		failures[i].After = 20 * time.Millisecond
		failures[i].Err = errors.New("connection reset by peer")
	}
	kind := load.Stat{Kind: "keep-alive", OK: 12345, Series: make([]load.Point, 50)}
	for i := range kind.Series {
		kind.Series[i] = load.Point{OK: 1, Max: time.Duration(i) * time.Millisecond}
	}
	return &story{
		began: time.Now(), first: 100, clients: []load.Group{{Kind: "keep-alive", N: 16}},
		tries: []try{
			{program: good, pid: 101, began: after(1000), took: 300 * time.Millisecond},
			{program: "crashes", pid: 102, began: after(2000), took: 100 * time.Millisecond, stage: "probation", reason: strings.Repeat("panic: ", 20)},
		},
		result: &load.Result{
			Start: start, Took: 3 * time.Second, Interval: 50 * time.Millisecond, Kinds: []load.Stat{kind}, Failures: failures,
			Windows: []load.Window{{Start: after(1000), End: after(1500)}, {Start: after(2000), End: after(2300)}},
			Answers: []load.Answers{{Generation: 2, PID: 101, Count: 1, First: after(1009)}},
		},
	}
}

func TestSort(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		failure load.Failure
		after   time.Duration // 0 = 20 ms: it began when the crash was under way
		crashed bool
	}{
		{name: "of the process that crashed", failure: load.Failure{PID: 102, Stage: load.StageEOFBefore}, crashed: true},
		{name: "of another process", failure: load.Failure{PID: 100, Stage: load.StageEOFBefore}},
		{name: "of nobody known, a new connection", failure: load.Failure{Stage: load.StageResetBefore}, crashed: true},
		{name: "of nobody known, an older connection", failure: load.Failure{Stage: load.StageResetBefore}, after: time.Second},
		{name: "refused", failure: load.Failure{Stage: load.StageRefused}},
		{name: "a wrong answer", failure: load.Failure{Stage: load.StageWrongAnswer}},
	} {
		s := aStory(tt.failure)
		if tt.after > 0 {
			s.result.Failures[0].After = tt.after
		}
		if lost, crashed := sort(s.result.Failures, s.tries); len(crashed) == 1 != tt.crashed || len(lost)+len(crashed) != 1 {
			t.Errorf("%s: lost %v, crashed %v", tt.name, lost, crashed)
		}
	}
}

func TestReport(t *testing.T) {
	for _, columns := range []int{60, 80, 120} {
		t.Setenv("COLUMNS", strconv.Itoa(columns))
		text, lost := written(t, aStory(load.Failure{Kind: "slow", PID: 100, Stage: load.StageEOFBefore}, load.Failure{PID: 102, Stage: load.StageEOFBefore}))
		if lost != 1 {
			t.Errorf("%d lost, not 1", lost)
		}
		for _, want := range []string{"1 requests were LOST", "12,345", "slow: EOF before answer", "(1 requests in its hands", "! failed"} {
			if !strings.Contains(strings.Join(strings.Fields(text), " "), want) {
				t.Errorf("%d columns: it lacks %q", columns, want)
			}
		}
		for line := range strings.Lines(text) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > columns {
				t.Errorf("%d columns: a line has %d: %s", columns, n, line)
			}
		}
		if t.Failed() {
			t.Log(text)
		}
	}
}

func written(t *testing.T, s *story) (text string, lost int) {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lost = report(newTerminal(f), s)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(all), lost
}
