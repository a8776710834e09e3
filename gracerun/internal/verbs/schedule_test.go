//go:build unix

package verbs_test

import (
	"slices"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun/internal/verbs"
)

func TestSchedule(t *testing.T) {
	t.Parallel()
	type step = verbs.Step
	term, kill := step{"SIGTERM", 30 * time.Second}, step{"SIGKILL", 5 * time.Second}
	for _, c := range []struct {
		text            string
		steps, repeated []step
	}{
		{"TERM/30/KILL/5", []step{term, kill}, nil},
		{"30", []step{term, kill}, nil},
		{"0", []step{{"SIGTERM", 0}, kill}, nil},
		{"-TERM/30/-9/5", []step{term, kill}, nil},
		{"SIGTERM/30/sigkill/5", []step{term, kill}, nil},
		{"TERM/KILL/5", []step{{"SIGTERM", 0}, kill}, nil},
		{"TERM/forever", []step{{"SIGTERM", -1}}, nil},
		{"TERM/30/forever/KILL/5", []step{term, kill}, []step{kill}},
		{"forever/TERM/30/KILL/5", []step{term, kill}, []step{term, kill}},
		{"TERM/30/forever/5/KILL", []step{term, {"", 5 * time.Second}, {"SIGKILL", 0}}, []step{{"", 5 * time.Second}, {"SIGKILL", 0}}},
		{"10/TERM/30", []step{{"", 10 * time.Second}, term}, nil},
		{"USR1/1/TERM/30", []step{{"SIGUSR1", time.Second}, term}, nil},
	} {
		steps, repeated, err := verbs.ParseSchedule(c.text)
		if err != nil || !slices.Equal(steps, c.steps) || !slices.Equal(repeated, c.repeated) {
			t.Errorf("%s: %v, repeated %v, %v", c.text, steps, repeated, err)
		}
	}
	for _, text := range []string{"", "/", "TERM", "TERM/", "TERM//5", "TERM/-5/", "TERM/5s", "NOPE/5", "-0/5", "-65/5", "-/5", "TERM/1.5", "forever", "forever/KILL", "forever/1/forever/1", "TERM/99999999999", "0/1", "forever/5", "-128/1"} {
		if steps, _, err := verbs.ParseSchedule(text); err == nil {
			t.Errorf("%q: %v, want an error", text, steps)
		}
	}
}

// FuzzSchedule: what is accepted comes to an end, or waits.
func FuzzSchedule(f *testing.F) {
	for _, seed := range []string{"TERM/30/KILL/5", "30", "forever", "TERM/30/forever/KILL/5", "-9/1", "10/10", "a/b", "forever/0/KILL", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		steps, repeated, err := verbs.ParseSchedule(text)
		if err != nil {
			return
		}
		if len(steps) == 0 || len(repeated) > len(steps) {
			t.Errorf("%q: %v, repeated %v", text, steps, repeated)
		}
		waits := len(repeated) == 0
		for _, s := range repeated {
			waits = waits || s.Wait != 0
		}
		if !waits {
			t.Errorf("%q repeats %v without end", text, repeated)
		}
		for _, s := range steps {
			if s.Wait < -1 || s.Wait > 1<<31*time.Second {
				t.Errorf("%q waits for %v", text, s.Wait)
			}
		}
	})
}
