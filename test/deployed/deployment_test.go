//go:build linux

package deployed

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
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

// A deployment is the program of docs/containers.md, in several versions, and a place
// for one set-up of it. All processes that it starts are ended with the test.
type deployment struct {
	testing.TB
	document
	ctx  context.Context
	dir  string
	addr string // "127.0.0.1:41523"
	mark string // a variable that all its processes have

	out  *os.File // what programs print
	said string   // last
}

// deploy makes a place with version v1 of the program in it.
func deploy(t *testing.T) *deployment {
	t.Helper()
	if testing.Short() {
		t.Skip("the set-ups of containers.md take a minute")
	}
	// Paths of sockets are short: t.TempDir is not.
	dir, err := os.MkdirTemp("", "deploy-")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	d := &deployment{TB: t, ctx: ctx, document: readDocument(t, "containers.md"), dir: dir, addr: harness.FreeAddress(t), mark: "GRACE_DEPLOYED=" + rand.Text()}
	d.out, err = os.Create(filepath.Join(dir, "out"))
	d.check(err)
	t.Cleanup(func() {
		cancel()
		d.end()
		if t.Failed() {
			text, _ := os.ReadFile(d.out.Name())
			t.Logf("output:\n%s", text)
		}
		d.out.Close()
		os.RemoveAll(dir)
	})
	d.install("v1")
	return d
}

// Context ends with the test, after its clean-ups: they run commands, too.
func (d *deployment) Context() context.Context { return d.ctx }

func (d *deployment) check(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

var programs sync.Map // of func() (string, error), by version

// program returns the path of the program, compiled once.
func (d *deployment) program(version string) string {
	d.Helper()
	source := d.block(d.t(), "main.go")
	build, _ := programs.LoadOrStore(version, sync.OnceValues(func() (string, error) {
		dir, err := builder.TempDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(dir, "deployed-"+version)
		main := filepath.Join(dir, "main.go")
		text, err := os.ReadFile("testdata/extra.go.txt")
		if err := errors.Join(err, os.Mkdir(dir, 0o755), os.WriteFile(main, []byte(source), 0o644), os.WriteFile(filepath.Join(dir, "extra.go"), text, 0o644)); err != nil {
			return "", err
		}
		out := filepath.Join(dir, "hello")
		cmd := exec.Command("go", "build", "-ldflags=-X main.version="+version, "-o", out, main, filepath.Join(dir, "extra.go"))
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%w: %s", err, text)
		}
		return out, nil
	}))
	path, err := build.(func() (string, error))()
	d.check(err)
	return path
}

// install puts a version in the place of the program, by a rename.
func (d *deployment) install(version string) {
	d.Helper()
	d.copy(d.program(version), "hello.new", 0o755)
	d.check(os.Rename(d.path("hello.new"), d.path("hello")))
}

// copy copies a file into the place.
func (d *deployment) copy(from, name string, mode os.FileMode) {
	d.Helper()
	text, err := os.ReadFile(from)
	d.check(err)
	d.write(name, string(text), mode)
}

// path is that of a file in the place.
func (d *deployment) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(d.dir, name)
}

// write makes a file, and the directory that it is in.
func (d *deployment) write(name, text string, mode os.FileMode) {
	d.Helper()
	d.check(os.MkdirAll(filepath.Dir(d.path(name)), 0o755))
	d.check(harness.WriteProgram(d.path(name), []byte(text), mode))
}

// here are the words of a set-up that are different in a test.
func (d *deployment) here(more ...string) []string {
	return append([]string{"/srv/hello/", d.dir + "/", ":8080", d.addr}, more...)
}

// command is one in the place, where programs are looked for first. The service's verbs find it by its run directory.
func (d *deployment) command(name string, args ...string) *exec.Cmd {
	if _, err := os.Stat(d.path(name)); err == nil {
		name = d.path(name)
	}
	cmd := exec.CommandContext(d.Context(), name, args...)
	cmd.Dir = d.dir
	cmd.Env = append(os.Environ(), d.mark, "RUNTIME_DIRECTORY="+d.path("run.d"), "PATH="+d.dir+":"+os.Getenv("PATH"))
	return cmd
}

// background starts a program that stays.
func (d *deployment) background(name string, args ...string) *exec.Cmd {
	d.Helper()
	cmd := d.command(name, args...)
	cmd.Stdout, cmd.Stderr = d.out, d.out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	d.check(cmd.Start())
	d.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd
}

// run runs a program, and returns what it prints, and its exit status.
func (d *deployment) run(name string, args ...string) (string, int) {
	d.Helper()
	cmd := d.command(name, args...)
	text, err := cmd.CombinedOutput()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		d.Fatalf("%v: %v", cmd.Args, err)
	}
	if said := fmt.Sprintf("%s\n%s", strings.Join(args, " "), text); said != d.said { // who polls says it once
		fmt.Fprintf(d.out, "$ %s %s", name, said)
		d.said = said
	}
	return strings.TrimSpace(string(text)), cmd.ProcessState.ExitCode()
}

// must is run for what is to succeed.
func (d *deployment) must(name string, args ...string) string {
	d.Helper()
	text, code := d.run(name, args...)
	if code != 0 {
		d.Fatalf("%s %v: exit status %d: %s", name, args, code, text)
	}
	return text
}

// An answer is that of GET /.
type answer struct {
	version string
	pid     int // in its own namespace
}

// ask asks on a connection of its own.
func (d *deployment) ask(path string) (code int, text string, err error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	res, err := client.Get("http://" + d.addr + path)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, strings.TrimSpace(string(body)), err
}

// get is ask for what is to succeed.
func (d *deployment) get(path string) string {
	d.Helper()
	code, text, err := d.ask(path)
	if err != nil || code != http.StatusOK {
		d.Fatalf("GET %s: %d %s, %v", path, code, text, err)
	}
	return text
}

// serves waits until a version answers, of another process than before.
func (d *deployment) serves(version string, before ...int) answer {
	d.Helper()
	var a answer
	d.check(until(d.Context(), func() error {
		_, text, err := d.ask("/")
		if err != nil {
			return err
		}
		words := strings.Fields(text) // hello from v1 pid 7
		if len(words) != 5 {
			return fmt.Errorf("the answer is %q", text)
		}
		a.version = words[2]
		a.pid, err = strconv.Atoi(words[4])
		if a.version != version || slices.Contains(before, a.pid) {
			return fmt.Errorf("%+v answers, want %s from another process than %v", a, version, before)
		}
		return err
	}))
	return a
}

// under calls f while clients ask for this and that, and fails the test when a request has
// failed, or a probe has said that the service is not ready.
func (d *deployment) under(f func()) {
	d.Helper()
	ready := func() bool { code, _, _ := d.ask("/readyz"); return code == http.StatusOK }
	d.awaits("the service to be ready", ready) // it answers a moment before
	ctx, cancel := context.WithCancel(d.Context())
	defer cancel()
	results := d.clients(ctx)
	var unready error
	var probes sync.WaitGroup
	probes.Go(func() {
		for load.Pause(ctx, 20*time.Millisecond) && unready == nil {
			for _, path := range []string{"/readyz", "/livez"} {
				if code, text, err := d.ask(path); code != http.StatusOK {
					unready = fmt.Errorf("GET %s: %d %s, %v", path, code, text, err)
				}
			}
		}
	})
	f()
	cancel()
	probes.Wait()
	d.expectNoLoss(<-results)
	if unready != nil {
		d.Errorf("while it was upgraded: %v", unready)
	}
}

// clients send requests until ctx ends.
func (d *deployment) clients(ctx context.Context) <-chan *load.Result {
	target := load.Target{Address: d.addr}
	results := make(chan *load.Result, 1)
	go func() {
		results <- new(load.Runner).Run(ctx,
			load.Group{Kind: "fresh", N: 4, Think: 10 * time.Millisecond, New: func() load.Client { return &load.Fresh{Target: target} }},
			load.Group{Kind: "keep-alive", N: 4, Think: 20 * time.Millisecond, New: func() load.Client { return &load.KeepAlive{Target: target, Get: -1, Look: true} }},
			load.Group{Kind: "slow", N: 4, Think: 20 * time.Millisecond, New: func() load.Client {
				return &load.Slow{Target: target, Sleep: 300 * time.Millisecond}
			}},
		)
	}()
	return results
}

func (d *deployment) expectNoLoss(res *load.Result) {
	d.Helper()
	if total := res.Total(); total.Failed > 0 || total.OK == 0 {
		d.Errorf("of %d requests %d failed:\n%v", total.OK+total.Failed, total.Failed, res)
	} else {
		d.Logf("%d requests, none failed", total.OK)
	}
}

// processes are those with the mark, whatever they are called.
func (d *deployment) processes() []process {
	entries, _ := os.ReadDir("/proc")
	var list []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if env, err := harness.Environ(pid); err != nil || !slices.Contains(env, d.mark) {
			continue
		}
		if p, err := readProcess(pid); err == nil {
			list = append(list, p)
		}
	}
	return list
}

// generations are the processes of the service.
func (d *deployment) generations() []process {
	return slices.DeleteFunc(d.processes(), func(p process) bool { return p.name != "hello" })
}

// end kills what is left, by pid.
func (d *deployment) end() {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		left := d.processes()
		if len(left) == 0 {
			return
		}
		for _, p := range left {
			syscall.Kill(p.pid, syscall.SIGKILL)
		}
	}
	d.Errorf("these do not end: %v", d.processes())
}

// needs skips the test unless these programs are installed.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed: %v", name, err)
		}
	}
}

// process is what /proc/PID/stat says of a process.
type process struct {
	pid, parent int
	name, state string
}

func (p process) String() string { return fmt.Sprintf("%s (pid %d, %s)", p.name, p.pid, p.state) }

func readProcess(pid int) (process, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, err
	}
	begin, end := strings.IndexByte(string(text), '('), strings.LastIndexByte(string(text), ')')
	p := process{pid: pid, name: string(text[begin+1 : end])}
	_, err = fmt.Sscan(string(text[end+1:]), &p.state, &p.parent)
	return p, err
}

// until calls f until it returns nil, for 30 s at most.
func until(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return harness.Until(ctx, f)
}

// awaits polls for what somebody else's program does.
func (d *deployment) awaits(what string, is func() bool) {
	d.Helper()
	d.check(until(d.Context(), func() error {
		if !is() {
			return fmt.Errorf("still waiting for %s", what)
		}
		return nil
	}))
}

// t is what a helper needs that is only for a *testing.T.
func (d *deployment) t() *testing.T { return d.TB.(*testing.T) }
