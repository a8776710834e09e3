package control_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun/internal/control"
)

// mount serves what is read-only below a prefix, as a user would.
func mount(t *testing.T, f *fake) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/deep/admin/", http.StripPrefix("/deep/admin", control.ReadOnly(f.service())))
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	t.Cleanup(srv.CloseClientConnections)
	return srv.URL + "/deep/admin/"
}

// busy is a service in the midst of things.
func busy() *fake {
	f, now := newFake(), time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	f.status = control.Status{
		Name: "thumbnailer", Version: "v2.4.1", PID: 48213, Generation: 7, State: "ready", StartedAt: ago(48 * time.Second),
		Sockets: []control.Socket{
			{Network: "tcp", Address: ":8080", Bound: "[::]:8080"},
			{Network: "tcp", Address: "localhost:0", Bound: "127.0.0.1:41523"},
			{Network: "unix", Address: "/run/thumbnailer/api.sock", Bound: "/run/thumbnailer/api.sock"},
		},
		InFlight: []control.Work{
			{Name: "http :8080", Count: 37, Since: ago(2300 * time.Millisecond)},
			{Name: "resize", Count: 4, Since: ago(900 * time.Millisecond)},
			{Name: "mirror originals", Count: 1, Since: ago(21 * time.Second)},
		},
		Generations: []control.Generation{
			{Number: 5, PID: 47011, Version: "v2.3.9", State: "draining", Since: ago(26 * time.Hour), Deadline: now.Add(9 * time.Second), InFlight: []control.Work{{Name: "export report", Count: 1, Since: ago(4 * time.Minute)}}},
			{Number: 6, PID: 47958, Version: "v2.4.0", State: "draining", Since: ago(70 * time.Second), Deadline: now.Add(21 * time.Second), InFlight: []control.Work{{Name: "http :8080", Count: 2, Since: ago(31 * time.Second)}, {Name: "resize", Count: 1, Since: ago(12 * time.Second)}}},
			{Number: 7, PID: 48213, Version: "v2.4.1", State: "ready", Since: ago(48 * time.Second)},
		},
		Upgrades: []control.Upgrade{
			{At: ago(26 * time.Hour), OK: true, From: 4, To: 5, PID: 47011, Took: 0.62},
			{At: ago(70 * time.Second), OK: true, From: 5, To: 6, PID: 47958, Took: 0.58},
			{At: ago(58 * time.Second), From: 6, To: 7, PID: 48101, Took: 0.11, Stage: "setup", Error: "config: /etc/thumbnailer.toml: line 14: unknown key \"worker\"\n(did you mean \"workers\"?)"},
			{At: ago(48 * time.Second), OK: true, From: 6, To: 7, PID: 48213, Took: 0.66},
		},
		UpgradesOK: 6, UpgradesFailed: 1,
		Tasks: []control.Task{
			{Name: "resize", Kind: "work", State: "running", Running: 4, Since: ago(900 * time.Millisecond), Runs: 18231, Failed: 3, Requeued: 12, LastRun: ago(200 * time.Millisecond), LastTook: 0.082},
			{Name: "mirror originals", Kind: "every", Schedule: "10m0s", State: "running", Running: 1, Since: ago(21 * time.Second), Runs: 4, Paused: true, LastRun: ago(10 * time.Minute), LastTook: 38.4},
			{Name: "nightly report", Kind: "cron", Schedule: "CRON_TZ=Europe/Berlin 0 4 * * *", State: "retrying", Due: now.Add(3 * time.Hour), Runs: 2, Failed: 2, LastRun: ago(5 * time.Hour), LastTook: 0.4, LastError: "report: upload to s3://reports/2026/11/21.pdf: 503 Slow Down"},
			{Name: "expire", Kind: "loop", State: "paused", Paused: true},
			{Name: "watch inbox", Kind: "go", State: "older"},
		},
		Commands: []control.Command{
			{Name: "imgproxy", State: "running", PID: 48220, Since: ago(2 * time.Hour), Restarts: 1, LastExit: "signal: killed", CPU: 312.4, Memory: 187 << 20, Output: []string{"listening on :8081", "GET /a/1.jpg 200 12ms", "GET /a/2.jpg 200 9ms", "GET /a/3.jpg 404 1ms"}},
			{Name: "ffmpeg-pool", State: "waiting", Due: now.Add(2500 * time.Millisecond), Since: ago(300 * time.Millisecond), Restarts: 4, LastExit: "exit status 1", Output: []string{"cannot open /dev/dri/renderD128: Permission denied"}},
			{Name: "legacy", State: "failed", Since: ago(4 * time.Minute), Restarts: 10, LastExit: "exit status 127", Error: "10 failures within 1m0s", Output: []string{"/opt/legacy/run: 3: java: not found"}},
			{Name: "metrics agent", State: "paused", Since: ago(time.Minute)},
		},
		PIDFile: "/run/thumbnailer/thumbnailer.pid", ControlSocket: "/run/thumbnailer/thumbnailer.sock",
	}
	f.status.LastUpgrade = &f.status.Upgrades[3]
	return f
}

// TestPagePictures: the page at the sizes that matter, to be looked at.
func TestPagePictures(t *testing.T) {
	t.Parallel()
	for _, size := range []struct {
		name          string
		width, height int
		dark          bool
	}{
		{"wide-light", 1400, 900, false},
		{"wide-dark", 1400, 900, true},
		{"narrow-light", 400, 800, false},
		{"narrow-dark", 400, 800, true},
	} {
		t.Run(size.name, func(t *testing.T) {
			b := browse(t, mount(t, busy()), size.width, size.height, size.dark)
			b.shows("#link", "live")
			b.shows("#generations", "export report")
			b.picture(size.name)
			b.eval(`document.querySelector("#commands").scrollIntoView()`)
			b.picture(size.name + "-tasks")
			b.faultless()
		})
	}
}

const wicked = `<img src=x onerror="window.pwned=1"></script><script>window.pwned=2</script>&amp;"'`

// TestPageEscapes: a name is a name, whatever it looks like, in the first status
// and in those that follow.
func TestPageEscapes(t *testing.T) {
	t.Parallel()
	f := newFake()
	f.set(func(s *control.Status) {
		now := time.Now()
		s.Name, s.Version, s.PIDFile, s.ControlSocket = wicked, wicked, wicked, wicked
		s.Sockets = []control.Socket{{Network: wicked, Address: wicked, Bound: wicked}}
		s.InFlight = []control.Work{{Name: wicked, Count: 2, Since: now}}
		s.Generations = []control.Generation{
			{Number: 2, PID: 1, Version: wicked, State: "draining", Since: now, InFlight: s.InFlight},
			{Number: 3, PID: 4711, Version: wicked, State: "ready", Since: now},
		}
		s.Upgrades = []control.Upgrade{{At: now, From: 3, To: 4, Stage: wicked, Error: wicked}}
		s.Tasks = []control.Task{{Name: wicked, Kind: wicked, Schedule: wicked, State: wicked, LastError: wicked}}
		s.Commands = []control.Command{{Name: wicked, State: wicked, LastExit: wicked, Error: wicked, Output: []string{wicked}}}
	})
	page := browse(t, mount(t, f), 1400, 900, false)
	page.shows("#link", "live")
	f.set(func(s *control.Status) { s.Generation = 8; s.Generations[1].Number = 8 })
	page.shows("#generation", "8")
	for _, selector := range []string{"h1", "#version", "#pidfile", "#socket"} {
		if got := page.text(selector); got != wicked {
			t.Errorf("%s has %q", selector, got)
		}
	}
	for _, selector := range []string{"#sockets", "#work", "#history", "#generations", "#taskRows", "#commandRows"} {
		if got := page.text(selector); !strings.Contains(got, wicked) {
			t.Errorf("%s has %q", selector, got)
		}
	}
	if got := page.eval(`document.querySelectorAll("img, script").length + String(window.pwned)`); got != "2undefined" {
		t.Errorf("elements and what they did: %v", got)
	}
	page.faultless()
}

// TestPageTasks: tasks and commands come, change and go as the service says.
func TestPageTasks(t *testing.T) {
	t.Parallel()
	f := newFake()
	b := browse(t, mount(t, f), 400, 800, false)
	b.shows("#link", "live")
	hidden := `["#tasks", "#commands"].every(s => document.querySelector(s).offsetHeight === 0)`
	b.until(hidden)
	now := time.Now()
	f.set(func(s *control.Status) {
		s.Tasks = []control.Task{
			{Name: "mail", Kind: "work", State: "running", Running: 3, Since: now.Add(-2 * time.Minute), Runs: 1042, Failed: 7, Requeued: 2},
			{Name: "report", Kind: "cron", Schedule: "0 4 * * *", State: "waiting", Due: now.Add(time.Hour + 30*time.Second)},
		}
		s.Commands = []control.Command{{Name: "web", State: "running", PID: 812, Since: now.Add(-time.Minute), CPU: 75, Memory: 3 << 20, Output: []string{"one", "two", "three", "four"}}}
	})
	b.shows("#taskCount", "2 tasks")
	for _, want := range []string{"mail", "running", "1042", "7 failed, 2 back", "2 min", "cron 0 4 * * *", "in 1 h"} {
		b.shows("#taskRows", want)
	}
	b.shows("#commandCount", "1 of 1 command runs")
	for _, want := range []string{"pid 812", "3.0 MiB", "1 min 15 s", "two\nthree\nfour"} {
		b.shows("#commandRows", want)
	}
	f.set(func(s *control.Status) {
		s.Tasks[0].Paused, s.Tasks[0].LastError, s.Tasks[0].LastRun = true, "no route to host", now
		s.Tasks[1].State, s.Tasks[1].Paused = "paused", true
		s.Commands[0] = control.Command{Name: "web", State: "failed", Since: now, Restarts: 10, LastExit: "exit status 3", Error: "10 failures within 1m0s"}
	})
	b.shows("#taskCount", "2 tasks, 2 paused")
	b.shows("#taskRows", "then paused")
	b.shows("#taskRows", "no route to host")
	b.shows("#commandCount", "0 of 1 command runs")
	b.shows("#commandRows .error", "10 failures within 1m0s")
	b.until(`!document.querySelector("#commandRows").textContent.includes("four")`)
	b.faultless()
	f.set(func(s *control.Status) { s.Tasks, s.Commands = nil, nil })
	b.until(hidden)
	b.faultless()
}

// TestPageFollows a service through an upgrade: the new generation, what the old
// one has left, its end, and the way to the successor's events.
func TestPageFollows(t *testing.T) {
	t.Parallel()
	f := newFake()
	b := browse(t, mount(t, f), 1400, 900, false)
	b.shows("#link", "live")
	b.shows("#state", "ready")
	b.shows("#generations", "#3")
	b.picture("one-generation")
	places := b.places()

	f.set(func(s *control.Status) { s.State, s.Generations[0].State = "upgrading", "upgrading" })
	b.shows("#state", "upgrading")
	now := time.Now()
	f.set(func(s *control.Status) { // what the old process knows
		s.State = "draining"
		s.InFlight = []control.Work{{Name: "slow report", Count: 2, Since: now.Add(-time.Minute)}}
		s.Generations = []control.Generation{
			{Number: 3, PID: 4711, Version: "v1", State: "draining", Since: s.StartedAt, Deadline: now.Add(40 * time.Second), InFlight: s.InFlight},
			{Number: 4, PID: 4712, Version: "v2", State: "ready", Since: now},
		}
	})
	b.shows("#generations", "left for 2 × slow report (1 min")
	b.shows("#state", "ready") // the service is
	b.shows("#version", "v2")

	// It lets go, and the successor answers.
	f.mu.Lock()
	close(f.draining)
	f.draining = make(chan struct{})
	f.mu.Unlock()
	f.set(func(s *control.Status) {
		s.PID, s.Generation, s.State, s.Version, s.StartedAt = 4712, 4, "ready", "v2", now
		s.InFlight = nil
		s.Upgrades = []control.Upgrade{
			{At: now.Add(-20 * time.Second), From: 3, To: 4, PID: 4700, Took: 0.1, Stage: "check", Error: "no disk"},
			{At: now, OK: true, From: 3, To: 4, PID: 4712, Took: 0.7},
		}
		s.LastUpgrade = &s.Upgrades[1]
	})
	b.shows("#history", "✕ failed at check")
	b.shows("#history", "no disk")
	b.shows("#link", "live")
	b.until(`document.querySelectorAll(".mark").length === 1`)
	f.set(func(s *control.Status) { s.Generations = s.Generations[1:] })
	b.shows(`#generations [data-state=gone]`, "ended after 1 min")
	b.until(`document.querySelector("#generations li").dataset.state === "ready"`)
	b.shows("#alive", "1 process")
	if title := b.eval("document.title"); title != "hello: ready" {
		t.Errorf("the title is %q", title)
	}
	if now := b.places(); now != places {
		t.Errorf("the parts of the page have moved:\n%s\nnow\n%s", places, now)
	}
	b.picture("after-upgrade")
	b.faultless()
}

// TestPageWithoutEvents: where something between does not let the stream through,
// the page asks.
func TestPageWithoutEvents(t *testing.T) {
	t.Parallel()
	f := newFake()
	whole := control.ReadOnly(f.service())
	gone := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-gone:
			panic(http.ErrAbortHandler)
		default:
		}
		if r.URL.Path == "/events" {
			http.Error(w, "not here", http.StatusBadGateway)
			return
		}
		whole.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	b := browse(t, srv.URL, 400, 800, true)
	f.set(func(s *control.Status) { s.Generations[0].Version = "v99" })
	b.shows("#version", "v99")
	b.shows("#link", "asks every second")
	close(gone)
	b.shows("#link", "no answer for")
	b.shows("h1", "hello") // what was known stays
	b.picture("no-answer")
	b.faultless()
}
