//go:build linux

package deployed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/test/harness"
	"github.com/gracerun/grace/test/load"
)

// The tests of files systemd_*_test.go run services under a real systemd: the
// machine's, and the one that GRACERUN_SYSTEMD_ROOT names the files of. It is booted once
// for all of them.

// A unitCase is a test of one unit.
type unitCase struct {
	name      string
	flags     string // of the program
	kind      string // flags of the verb that prints the unit
	unit      string // settings that are added to it; {name} is its name
	socket    string // a socket unit beside it, if it is not ""
	version   int    // of systemd, at least
	run       func(*testing.T, *managed)
	unstarted bool // the start is the test's business
}

func TestSystemd(t *testing.T) {
	t.Parallel()
	for _, root := range systemdRoots() {
		s := bootSystemd(t, harness.SystemdConfig{Root: root, Journal: true})
		t.Run(strconv.Itoa(s.Version), func(t *testing.T) { runUnits(t, s, unitCases(t)) })
	}
}

// systemdRoots are the systems to be tried.
func systemdRoots() []string {
	roots := []string{""}
	if root := os.Getenv("GRACERUN_SYSTEMD_ROOT"); root != "" {
		roots = append(roots, root)
	}
	return roots
}

// bootSystemd ends it with the test.
func bootSystemd(t *testing.T, cfg harness.SystemdConfig) *harness.Systemd {
	t.Helper()
	s, err := harness.StartSystemd(t.Context(), cfg)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skipf("skipped: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func unitCases(t *testing.T) []unitCase {
	return slices.Concat(reloadCases(), stopCases(), killCases(), watchdogCases(), socketCases(t), identityCases())
}

// runUnits installs a unit for each case, and runs those that can be at the same time.
func runUnits(t *testing.T, s *harness.Systemd, cases []unitCase) {
	program := build(t, "test/testdata/systemd")
	for _, c := range cases {
		u := newManaged(s, c)
		if err := s.Install(u.name, program); err != nil {
			t.Fatal(err)
		}
		u.write(t, c)
	}
	if text, err := s.Systemctl(t.Context(), "daemon-reload"); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	// They wait for most of the time: more may run at once than there are processors.
	turns := make(chan struct{}, 6)
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, c := range cases {
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			t.Run(c.name, func(t *testing.T) { runUnit(t, s, c) })
		})
	}
}

func runUnit(t *testing.T, s *harness.Systemd, c unitCase) {
	if s.Version < c.version {
		t.Skipf("skipped: it needs systemd %d", c.version)
	}
	u := newManaged(s, c)
	defer u.explain(t)
	if !c.unstarted {
		u.must(t, "start")
	}
	c.run(t, u)
	u.must(t, "stop")
	u.gone(t)
}

// A managed service runs testdata/systemd.
type managed struct {
	*harness.Systemd
	name string
}

// newManaged gives it a name that no program of the machine has.
func newManaged(s *harness.Systemd, c unitCase) *managed { return &managed{s, "try-" + c.name} }

// write writes its files.
func (u *managed) write(t *testing.T, c unitCase) {
	t.Helper()
	text := u.text(t, c)
	files := map[string]string{u.name + ".service": text}
	if c.socket != "" {
		files[u.name+".socket"] = strings.ReplaceAll(c.socket, "{name}", u.name)
	}
	for name, text := range files {
		if err := os.WriteFile(u.Path("/run/systemd/system/"+name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// text is the unit as the service itself would have it, and the case's own settings. The
// log is a file on both sides, and nothing limits how often it starts.
func (u *managed) text(t *testing.T, c unitCase) string {
	t.Helper()
	words := slices.Concat([]string{"/usr/local/bin/" + u.name}, u.words(c.flags), []string{"unit"}, u.words(c.kind))
	text, err := u.Exec(t.Context(), words...)
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return fmt.Sprintf("%s\n\n[Unit]\nStartLimitIntervalSec=0\n[Service]\nStandardError=append:/run/bench/%s.log\n%s",
		text, u.name, strings.ReplaceAll(c.unit, "{name}", u.name))
}

func (u *managed) words(s string) []string {
	return strings.Fields(strings.ReplaceAll(s, "{name}", u.name))
}

// explain shows what there is to see of a test that failed.
func (u *managed) explain(t *testing.T) {
	if !t.Failed() {
		return
	}
	status, _ := u.Systemctl(context.Background(), "status", "--lines=0", u.name+".service")
	journal, _ := u.Exec(context.Background(), "journalctl", "-u", u.name+".service", "-n", "60")
	text := u.log()
	t.Logf("%s\n%s\n%s", status, journal, text[max(0, len(text)-20000):])
}

func (u *managed) log() string {
	text, _ := os.ReadFile(u.Dir + "/" + u.name + ".log")
	return string(text)
}

// say does what the word says in the service, until hush is called.
func (u *managed) say(t *testing.T, word, text string) (hush func()) {
	t.Helper()
	path := u.Dir + "/" + u.name + "." + word
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

// systemctl runs a verb of systemctl for the unit.
func (u *managed) systemctl(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return u.Systemctl(t.Context(), append(args, u.name+".service")...)
}

func (u *managed) must(t *testing.T, args ...string) {
	t.Helper()
	if text, err := u.systemctl(t, args...); err != nil {
		t.Fatalf("systemctl %s: %v: %s", strings.Join(args, " "), err, text)
	}
}

// show returns properties, named in one string.
func (u *managed) show(t *testing.T, names string) string {
	t.Helper()
	text, err := u.Show(t.Context(), u.name+".service", strings.Fields(names)...)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (u *managed) want(t *testing.T, names, want string) {
	t.Helper()
	if got := u.show(t, names); got != want {
		t.Errorf("%s = %q, want %q", names, got, want)
	}
}

// await is for what systemd does by itself.
func (u *managed) await(t *testing.T, names, want string) {
	t.Helper()
	u.until(t, func() error {
		if got := u.show(t, names); got != want {
			return fmt.Errorf("%s = %q, want %q", names, got, want)
		}
		return nil
	})
}

// until looks now and then: each look is a program that runs.
func (u *managed) until(t *testing.T, f func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		err := f()
		if err == nil {
			return
		}
		if !load.Pause(ctx, 25*time.Millisecond) {
			t.Fatal(err)
		}
	}
}

// mainPID is the main process, as systemd calls it.
func (u *managed) mainPID(t *testing.T) int {
	t.Helper()
	pid, err := strconv.Atoi(u.show(t, "MainPID"))
	if err != nil || pid == 0 {
		t.Fatalf("MainPID %d, %v", pid, err)
	}
	return pid
}

// processes are all in the unit's cgroup.
func (u *managed) processes(t *testing.T) []harness.UnitProcess {
	t.Helper()
	all, err := u.UnitProcesses(t.Context(), u.name+".service")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// pids are all in the unit's cgroup, as systemd calls them, in order.
func (u *managed) pids(t *testing.T) []int {
	t.Helper()
	var list []int
	for _, p := range u.processes(t) {
		list = append(list, p.Inside)
	}
	slices.Sort(list)
	return list
}

// process is one of the unit, by its pid for systemd.
func (u *managed) process(t *testing.T, inside int) harness.UnitProcess {
	t.Helper()
	all := u.processes(t)
	i := slices.IndexFunc(all, func(p harness.UnitProcess) bool { return p.Inside == inside })
	if i < 0 {
		t.Fatalf("no process %d in the unit", inside)
	}
	return all[i]
}

// kill has a process of the unit end.
func (u *managed) kill(t *testing.T, inside int) {
	t.Helper()
	if err := u.process(t, inside).Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// gone checks that nothing is left.
func (u *managed) gone(t *testing.T) {
	t.Helper()
	if left := u.processes(t); len(left) > 0 {
		t.Errorf("still there: %v", left)
	}
}

// address is where the newest generation listens.
func (u *managed) address(t *testing.T) string {
	t.Helper()
	for _, p := range slices.Backward(u.processes(t)) {
		if all, err := harness.Listening(p.PID); err == nil && len(all) > 0 {
			return all[0]
		}
	}
	t.Fatalf("nobody listens among %v", u.processes(t))
	return ""
}

// get makes a request on a new connection.
func (u *managed) get(t *testing.T, address, path string) string {
	t.Helper()
	r := request(t, address, path)
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	return string(text)
}

func request(t *testing.T, address, path string) *http.Response {
	t.Helper()
	resp, err := tryRequest(t, address, path)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func tryRequest(t *testing.T, address, path string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	client := http.Client{Timeout: 30 * time.Second}
	return client.Do(req)
}

// who answers on a new connection.
func (u *managed) who(t *testing.T, address string) (generation, pid int) {
	t.Helper()
	text := u.get(t, address, "/")
	if n, _ := fmt.Sscanf(text, "generation %d pid %d", &generation, &pid); n < 2 {
		t.Fatalf("GET / answers %q", text)
	}
	return generation, pid
}

// A heldRequest is one that is in hand until the service is told to release it.
type heldRequest struct {
	body  io.Closer
	lines *bufio.Scanner
	pid   int // who has it
}

// answers waits until a generation does, and returns its pid: the old one closes its
// listeners a moment after it has answered who asked for the upgrade.
func (u *managed) answers(t *testing.T, address string, generation int) (pid int) {
	t.Helper()
	u.until(t, func() error {
		got, by := u.who(t, address)
		if pid = by; got != generation {
			return fmt.Errorf("generation %d answers, and not %d", got, generation)
		}
		return nil
	})
	return pid
}

func (u *managed) hold(t *testing.T, address string) *heldRequest {
	t.Helper()
	resp := request(t, address, "/hold")
	h := &heldRequest{body: resp.Body, lines: bufio.NewScanner(resp.Body)}
	t.Cleanup(func() { resp.Body.Close() })
	if h.lines.Scan(); !strings.HasPrefix(h.lines.Text(), "pid ") {
		t.Fatalf("GET /hold answers %q, %v", h.lines.Text(), h.lines.Err())
	}
	h.pid, _ = strconv.Atoi(h.lines.Text()[len("pid "):])
	return h
}

// released checks that the answer is whole.
func (h *heldRequest) released(t *testing.T) {
	t.Helper()
	if h.lines.Scan(); h.lines.Text() != "released" || h.lines.Err() != nil {
		t.Errorf("process %d cut a request: %q, %v", h.pid, h.lines.Text(), h.lines.Err())
	}
	h.body.Close()
}

// ended checks that each of these generations came to its own end.
func (u *managed) ended(t *testing.T, pids ...int) {
	t.Helper()
	text := u.log()
	for _, pid := range pids {
		if !strings.Contains(text, fmt.Sprintf("pid %d ends\n", pid)) {
			t.Errorf("process %d was killed", pid)
		}
	}
}

// underLoad runs f while clients make requests, and fails the test for each that is lost.
func underLoad(t *testing.T, groups []load.Group, f func()) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var r load.Runner
	done := make(chan *load.Result, 1)
	go func() { done <- r.Run(ctx, groups...) }()
	defer func() { // also when f ends the test
		stop()
		res := <-done
		t.Logf("%v", res)
		for i := range min(len(res.Failures), 5) {
			t.Errorf("lost: %v", &res.Failures[i])
		}
		for _, k := range res.Kinds {
			if k.OK == 0 {
				t.Errorf("%s: no request was answered", k.Kind)
			}
		}
	}()
	f()
}
