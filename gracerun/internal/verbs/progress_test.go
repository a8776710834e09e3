//go:build unix

package verbs_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun/internal/verbs"
)

func TestProgressOnTerminal(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	p := verbs.NewProgress(&b, "hello", true)
	now := time.Now()
	p.Show(now, "waiting", "2s left") // too soon
	now = now.Add(200 * time.Millisecond)
	p.Show(now, "waiting", "2s left")
	p.Show(now, "waiting", "2s left") // nothing new
	p.Show(now, "waiting", "1s left")
	p.Line("do\x1bne\ntoo late")
	p.Show(now, "killing", "") // too soon
	now = now.Add(200 * time.Millisecond)
	p.Show(now, strings.Repeat("ä", 100), "")
	want := "\rhello: waiting, 2s left\x1b[K" + "\rhello: waiting, 1s left\x1b[K" + "\r\x1b[K" + "hello: do\ufffdne\nhello: too late\n" +
		"\rhello: " + strings.Repeat("ä", 69) + "...\x1b[K"
	if b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

// TestProgressInLog has a line for what changes, and not for the time that passes.
func TestProgressInLog(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	p := verbs.NewProgress(&b, "hello", false)
	now := time.Now()
	p.Show(now, "http 3", "10s left") // it may be over at once
	now = now.Add(time.Second)
	p.Show(now, "http 2", "9s left")
	p.Show(now.Add(time.Second), "http 1", "8s left") // too soon
	p.Show(now.Add(6*time.Second), "http 1", "3s left")
	p.Show(now.Add(12*time.Second), "http 1", "") // nothing new
	want := "hello: http 2, 9s left\nhello: http 1, 3s left\n"
	if b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

func TestShort(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", 1234 * time.Microsecond: "1ms", 1260 * time.Millisecond: "1.3s", 61500 * time.Millisecond: "1m2s",
		3*time.Hour + 12*time.Minute + 40*time.Second: "3h13m", 50 * time.Hour: "2d2h",
	} {
		if got := verbs.Short(d); got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
	}
}
