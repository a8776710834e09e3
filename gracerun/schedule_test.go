package gracerun

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestSummerTime: fixed times happen once on each day, others as often as the
// clock moves.
func TestSummerTime(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		spec, after string
		want        []string
	}{
		{"30 2 * * *", "2026-03-28T12:00:00Z", []string{"2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"}}, // there is no 2:30 on the 29th
		{"30 2 * * *", "2026-10-24T12:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}}, // there are two on the 25th
		{"*/20 2 * * *", "2026-10-25T00:10:00Z", []string{"2026-10-25T00:20:00Z", "2026-10-25T00:40:00Z", "2026-10-26T01:00:00Z"}},
		{"*/30 * * * *", "2026-10-24T23:50:00Z", []string{"2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"}},
		{"*/30 * * * *", "2026-03-29T00:20:00Z", []string{"2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z"}},
		{"0 12 13 * 5", "2026-03-01T12:00:00Z", []string{"2026-03-06T11:00:00Z", "2026-03-13T11:00:00Z", "2026-03-20T11:00:00Z", "2026-03-27T11:00:00Z", "2026-04-03T10:00:00Z", "2026-04-10T10:00:00Z", "2026-04-13T10:00:00Z"}}, // either
		{"0 12 * * 1-5", "2026-10-23T12:00:00Z", []string{"2026-10-26T11:00:00Z"}},
		{"CRON_TZ=America/Santiago @daily", "2026-09-05T12:00:00Z", []string{"2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"}},        // there is no midnight on the 6th
		{"CRON_TZ=Australia/Lord_Howe 15 2 * * *", "2026-10-03T00:00:00Z", []string{"2026-10-03T15:45:00Z", "2026-10-04T15:15:00Z"}}, // half an hour is skipped
		{"@monthly", "2026-10-23T12:00:00Z", []string{"2026-10-31T23:00:00Z"}},
	} {
		if !strings.HasPrefix(c.spec, "CRON_TZ=") {
			c.spec = "CRON_TZ=Europe/Berlin " + c.spec
		}
		p, err := crontab(c.spec)
		check(t, err)
		at, err := time.Parse(time.RFC3339, c.after)
		check(t, err)
		var got []string
		for range c.want {
			at = p.next(time.Time{}, at)
			got = append(got, at.UTC().Format(time.RFC3339))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s after %s: %v, want %v", c.spec, c.after, got, c.want)
		}
	}
}

func TestCrontabFaults(t *testing.T) {
	t.Parallel()
	app := App{RunDir: t.TempDir()}
	nothing := func(context.Context) error { return nil }
	faults := map[string]string{
		"61 * * * *": "61", "* * * *": "5 fields", "": "empty", "0 0 30 2 *": "never comes", "@every 5m": "use Every",
		"CRON_TZ=Mars/Olympus * * * * *": "Mars/Olympus", "@reboot": "@reboot",
	}
	for spec := range faults {
		app.Cron("task "+spec, spec, nothing)
	}
	app.Cron("nil", "@daily", nil)
	err := app.Run(t.Context())
	if err == nil {
		t.Fatal("no fault")
	}
	for spec, want := range faults {
		if !slices.ContainsFunc(strings.Split(err.Error(), "\n"), func(line string) bool {
			return strings.Contains(line, `the schedule "`+spec+`": `) && strings.Contains(line, want)
		}) {
			t.Errorf("%q: no %q in\n%v", spec, want, err)
		}
	}
}

// TestCron: of the times that a run has missed one is made up for.
func TestCron(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // at midnight UTC
		app := App{RunDir: t.TempDir()}
		runs := newElapsed()
		n := 0
		app.Cron("tick", "CRON_TZ=UTC */10 * * * *", func(context.Context) error {
			runs.note()
			if n++; n == 1 {
				time.Sleep(35 * time.Minute)
			}
			return nil
		})
		s := perform(t, &app, &fakeSelf{})
		s.ready()
		time.Sleep(65 * time.Minute)
		if st := app.Status().Tasks[0]; st.Schedule != "CRON_TZ=UTC */10 * * * *" || st.Kind != "cron" || time.Until(st.Due) != 5*time.Minute {
			t.Errorf("%+v", st)
		}
		s.end()
		check(t, s.wait())
		const m = time.Minute
		if got, want := runs.all(), []time.Duration{10 * m, 45 * m, 50 * m, 60 * m}; !slices.Equal(got, want) {
			t.Errorf("it ran at %v, want %v", got, want)
		}
	})
}

// TestDueAfterACrash: what the process before has left is when the next run is
// due, unless the plan is another one, or nonsense.
func TestDueAfterACrash(t *testing.T) {
	t.Parallel()
	const s = time.Second
	for name, c := range map[string]struct {
		left func(now time.Time) string
		want []time.Duration
	}{
		"due soon":        {func(now time.Time) string { return now.Add(3*s).Format(time.RFC3339Nano) + " 10s\n" }, []time.Duration{3 * s, 13 * s, 23 * s}},
		"missed":          {func(now time.Time) string { return now.Add(-time.Hour+4*s).Format(time.RFC3339Nano) + " 10s\n" }, []time.Duration{0, 4 * s, 14 * s, 24 * s}},
		"another plan":    {func(now time.Time) string { return now.Add(3*s).Format(time.RFC3339Nano) + " 20s\n" }, []time.Duration{10 * s, 20 * s}},
		"beyond the next": {func(now time.Time) string { return now.Add(time.Hour).Format(time.RFC3339Nano) + " 10s\n" }, []time.Duration{10 * s, 20 * s}},
		"no time":         {func(time.Time) string { return "noon 10s\n" }, []time.Duration{10 * s, 20 * s}},
		"empty":           {func(time.Time) string { return "" }, []time.Duration{10 * s, 20 * s}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				app := App{RunDir: t.TempDir()}
				file := filepath.Join(app.RunDir, "test.task.tick.due")
				check(t, os.WriteFile(file, []byte(c.left(time.Now())), 0o600))
				runs := newElapsed()
				app.Every("tick", 10*s, func(context.Context) error { runs.note(); return nil })
				st := perform(t, &app, &fakeSelf{})
				st.ready()
				time.Sleep(25 * s)
				if due, err := readDue(file, "10s"); err != nil || due.Before(time.Now()) || due.After(time.Now().Add(10*s)) {
					t.Errorf("written down: %v, %v", due, err)
				}
				st.end()
				check(t, st.wait())
				if got := runs.all(); !slices.Equal(got, c.want) {
					t.Errorf("it ran at %v, want %v", got, c.want)
				}
				if _, err := os.Stat(file); !os.IsNotExist(err) {
					t.Errorf("after an orderly stop: %v", err)
				}
			})
		})
	}
}

// TestMissedForAges: a due time that is nonsense is one more that was missed, and the
// next one is soon.
func TestMissedForAges(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, due := range []time.Time{{}, began.AddDate(-200, 0, 0), began, began.Add(-time.Nanosecond)} {
		if next := period(10*time.Second).next(due, began); !next.After(began) || next.After(began.Add(10*time.Second)) {
			t.Errorf("after %v: %v", due, next)
		}
	}
}
