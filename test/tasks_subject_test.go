//go:build linux

package test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/test/harness"
	"github.com/gracerun/grace/test/load"
	"github.com/gracerun/grace/test/testdata/task/trace"
)

// A subject is a service of testdata/task or testdata/command, with its trace, and
// what the test did to it.
type subject struct {
	*harness.Service
	t        *testing.T
	name     string
	dir      string // of all its files
	killed   map[int]bool
	restarts int
}

// startSubject starts a program; it does not wait until it serves.
func startSubject(t *testing.T, program string, args ...string) *subject {
	t.Helper()
	return startSubjectIn(t, t.TempDir(), program, args...)
}

func startSubjectIn(t *testing.T, dir, program string, args ...string) *subject {
	t.Helper()
	s := &subject{t: t, name: path.Base(program), dir: dir, killed: map[int]bool{}}
	s.Service = start(t, harness.Config{
		Binary: build(t, "test/testdata/"+program), Args: append(args, "-dir", s.dir),
		Network: "unix", Address: filepath.Join(s.dir, "http.sock"), PIDFile: filepath.Join(s.dir, s.name+".pid"),
	})
	return s
}

// must ends the test with the service's log.
func (s *subject) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("%v\n%s", err, s.Log())
	}
}

// until calls f until it returns nil: less and less often, for it may cost a lot to
// look.
func (s *subject) until(f func() error) {
	s.t.Helper()
	wait, most := time.Millisecond, 20*time.Millisecond
	s.must(until(s.t.Context(), func() error {
		err := f()
		if err != nil {
			load.Pause(s.t.Context(), wait)
			wait = min(wait*3/2, most)
		}
		return err
	}))
}

// serves waits until the service, which was just started, does, and says that it is
// ready.
func (s *subject) serves() {
	s.t.Helper()
	s.until(func() error {
		generation, _, err := s.Who(s.t.Context())
		switch {
		case err != nil:
			return err
		case generation != 1:
			return fmt.Errorf("generation %d answers", generation)
		}
		return s.isReady()
	})
}

func (s *subject) upgrade() {
	s.t.Helper()
	_, err := s.Upgrade(s.t.Context())
	s.must(err)
}

func (s *subject) stop() {
	s.t.Helper()
	s.must(s.Stop(s.t.Context()))
}

func (s *subject) owner() int {
	s.t.Helper()
	pid, err := s.Owner(s.t.Context())
	s.must(err)
	return pid
}

// generations are the processes of the service itself.
func (s *subject) generations() []harness.Process {
	s.t.Helper()
	all, err := s.Processes()
	s.must(err)
	return slices.DeleteFunc(all, func(p harness.Process) bool { return !s.isGeneration(p.PID) })
}

// isGeneration also says yes of a process that is about to be another program, and
// is not yet.
func (s *subject) isGeneration(pid int) bool {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.HasPrefix(string(text), s.Path+"\x00")
}

// kill kills a generation, and waits until it is gone, and what it had open is closed.
func (s *subject) kill(pid int) {
	s.t.Helper()
	if s.isGeneration(pid) && s.Signal(pid, syscall.SIGKILL) == nil { // else it was done already
		s.killed[pid] = true
		s.must(s.Exited(s.t.Context(), pid))
	}
}

// killOne kills a process of the service, whichever.
func (s *subject) killOne() {
	s.t.Helper()
	if all := s.generations(); len(all) > 0 {
		s.kill(all[rand.N(len(all))].PID)
	}
}

// settle waits until the owner is ready, and no upgrade is under way. If nobody is
// left it starts the service anew.
func (s *subject) settle() {
	s.t.Helper()
	s.until(func() error {
		err := s.isReady()
		if err != nil && s.isOver() {
			s.restarts++
			s.must(s.Restart())
			s.serves()
		}
		return err
	})
}

// isOver reports whether no process of the service itself is left, nor one that can
// be about to be one: in the middle of execve(2) it has no arguments.
func (s *subject) isOver() bool {
	s.t.Helper()
	all, err := s.Processes()
	s.must(err)
	return !slices.ContainsFunc(all, func(p harness.Process) bool {
		return s.isGeneration(p.PID) || len(p.Args) == 0 && p.State != 'Z'
	})
}

func (s *subject) isReady() error {
	owner, err := s.PID()
	if err != nil {
		return err
	}
	text, err := s.Get(s.t.Context(), "/state")
	if want := fmt.Sprintf("ready %d\n", owner); err == nil && text != want {
		err = fmt.Errorf("the state is %q, want %q", text, want)
	}
	return err
}

// whileReplaced does something at some time of an upgrade, and waits until both are
// done.
func (s *subject) whileReplaced(do func()) {
	s.t.Helper()
	owner := s.owner()
	s.must(s.Signal(owner, syscall.SIGHUP))
	load.Pause(s.t.Context(), rand.N(40*time.Millisecond))
	do()
	_, err := s.Owner(s.t.Context(), owner)
	s.must(err)
	s.settle()
}

func (s *subject) tracks() tracks {
	s.t.Helper()
	list, err := trace.Read(s.dir)
	s.must(err)
	return list
}

// A record is a line of a trace.
type record = trace.Record

// tracks are the records of a trace.
type tracks []record

// count counts the records of a kind by task.
func (h tracks) count(what string) map[string]int {
	count := map[string]int{}
	for _, r := range h {
		if r.What == what {
			count[r.Task]++
		}
	}
	return count
}

// noErrors fails the test for what the service reports as an error.
func (s *subject) noErrors(but ...string) {
	s.t.Helper()
	(&site{Service: s.Service}).noErrors(s.t, but...)
}

// A controller speaks to the control socket.
type controller struct {
	*subject
	client *http.Client
}

// control returns one each of whose requests opens a connection.
func (s *subject) control() controller {
	c := s.staying()
	c.client.Transport.(*http.Transport).DisableKeepAlives = true
	return c
}

// staying returns one that stays connected, to who was the owner at its first
// request, for as long as that answers.
func (s *subject) staying() controller {
	c := controller{s, &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(s.dir, s.name+".sock"))
		},
	}}}
	s.t.Cleanup(c.client.CloseIdleConnections)
	return c
}

func (c controller) ask(method, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(c.t.Context(), method, "http://service"+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", method, path, res.Status, body)
	}
	return body, err
}

// steer has something done to a task: pause, resume or trigger. A connection that
// stayed may end just now, with the process at the other end, which then has not
// read the request.
func (c controller) steer(verb, task string) error {
	path := "/" + verb + "?" + url.Values{"name": {task}}.Encode()
	_, err := c.ask("POST", path)
	if broken := new(url.Error); errors.As(err, &broken) {
		_, err = c.control().ask("POST", path)
	}
	return err
}

func (c controller) steers(verb, task string) {
	c.t.Helper()
	c.must(c.steer(verb, task))
}

// What the control socket tells of tasks and commands.
type (
	taskStatus struct {
		Name, State            string
		Running                int
		Paused                 bool
		Due                    time.Time
		Runs, Failed, Requeued int
		LastError              string `json:"last_error"`
	}
	commandStatus struct {
		Name, State string
		PID         int
		Restarts    int
		LastExit    string `json:"last_exit"`
		Error       string
		Output      []string
	}
)

func (c controller) status() (tasks map[string]taskStatus, commands map[string]commandStatus, err error) {
	body, err := c.ask("GET", "/status")
	if err != nil {
		return nil, nil, err
	}
	var st struct {
		Tasks    []taskStatus
		Commands []commandStatus
	}
	err = json.Unmarshal(body, &st)
	tasks, commands = map[string]taskStatus{}, map[string]commandStatus{}
	for _, t := range st.Tasks {
		tasks[t.Name] = t
	}
	for _, c := range st.Commands {
		commands[c.Name] = c
	}
	return tasks, commands, err
}

// tasks are those of the service that answers now.
func (c controller) tasks() map[string]taskStatus {
	c.t.Helper()
	tasks, _, err := c.status()
	c.must(err)
	return tasks
}

// commands are those of the service that answers now.
func (c controller) commands() map[string]commandStatus {
	c.t.Helper()
	_, commands, err := c.status()
	c.must(err)
	return commands
}
