//go:build linux

package test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/gracerun/grace/test/harness"
)

// TestSurroundings upgrades where the surroundings are not what they were, or not
// what one is used to.
func TestSurroundings(t *testing.T) {
	t.Parallel()
	args := func(c *harness.Config, more ...string) { c.Args = append(c.Args, more...) }
	upgrade := func(s *scene) { s.hup() }
	runFaults(t, []fault{
		{name: "standard input was closed", serves: 2, do: upgrade,
			change: func(c *harness.Config) { args(c, "-close-stdin") }},
		{name: "started without a standard input", serves: 2, do: upgrade,
			change: func(c *harness.Config) { c.StdinClosed = true }},
		{name: "output to a pipe", serves: 2, do: upgrade,
			change: func(c *harness.Config) { c.LogPipe = true }},
		{name: "relative argv[0], and the working directory changes", serves: 2, do: upgrade,
			change: func(c *harness.Config) {
				c.Argv0, c.Dir = "./service", "{root}/bin"
				args(c, "-chdir", "/")
			}},
		{name: "argv[0] from the search path", serves: 2, do: upgrade,
			change: func(c *harness.Config) {
				c.Argv0 = "service"
				c.Env = append(c.Env, "PATH={root}/bin:"+os.Getenv("PATH"))
			}},
		{name: "argv[0] is made up", serves: 2, do: upgrade,
			change: func(c *harness.Config) { c.Argv0 = "-made up" }},
		{name: "the working directory was deleted", serves: 2,
			change: func(c *harness.Config) { c.Dir = "{root}/work" },
			do: func(s *scene) {
				s.must(os.Remove(filepath.Join(s.Root, "work")))
				s.hup()
			}},
		{name: "the working directory was deleted, argv[0] is relative to it", serves: 2,
			change: func(c *harness.Config) { c.Argv0, c.Dir = "../bin/service", "{root}/work" },
			do: func(s *scene) {
				s.must(os.Remove(filepath.Join(s.Root, "work")))
				s.hup()
			}},
		{name: "a symlink leads to another release", serves: 2,
			change: func(c *harness.Config) {
				c.Path, c.Argv0 = "release-1/service", "{root}/current/service"
				c.Prepare = func(s *harness.Service) error { return os.Symlink("release-1", filepath.Join(s.Root, "current")) }
			},
			do: func(s *scene) {
				release, current := filepath.Join(s.Root, "release-2"), filepath.Join(s.Root, "current")
				s.must(os.Mkdir(release, 0o755))
				s.must(os.Link(s.Path, release+"/service"))
				s.must(os.Symlink("release-2", current+".new"))
				s.must(os.Rename(current+".new", current))
				s.hup()
				s.serves(2)
				if exe := s.program(s.owner()); exe != release+"/service" {
					s.t.Errorf("generation 2 runs %s", exe)
				}
			}},
	})
}

// program returns the file that a process executes.
func (s *scene) program(pid int) string {
	s.t.Helper()
	exe, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "exe"))
	s.must(err)
	return exe
}

// TestRunDirDeleted deletes the run directory, with the pid file, the lock and the
// unix socket, as a cleaner of temporary directories does. An upgrade takes a new
// lock, and makes the service one again that can be found and stopped.
func TestRunDirDeleted(t *testing.T) {
	t.Parallel()
	s := newScene(t, times{}, nil)
	pid := s.owner()
	s.must(os.RemoveAll(s.RunDir))
	s.signal(pid, syscall.SIGHUP)
	s.logs("the lock file was deleted: taking a new one")
	s.serves(2)
	s.finish()
}

// TestSecondStart starts the service while it runs.
func TestSecondStart(t *testing.T) {
	t.Parallel()
	s := newScene(t, times{}, nil)
	s.startLoad()
	path := filepath.Join(t.TempDir(), "out")
	out, err := os.Create(path)
	s.must(err)
	defer out.Close()
	p, err := s.Run(out)
	s.must(err)
	state, err := p.Wait()
	s.must(err)
	text, err := os.ReadFile(path)
	s.must(err)
	if state.ExitCode() != 1 || !strings.Contains(string(text), "already running (pid "+strconv.Itoa(s.owner())+")") {
		t.Errorf("the second start ended with %v and said:\n%s", state, text)
	}
	s.upgrade()
	s.endLoad()
	s.alone()
	s.finish()
}

// TestTwoApps runs two Apps in one process. One of them can be upgraded; the other
// says so, and serves until its process ends.
func TestTwoApps(t *testing.T) {
	t.Parallel()
	runFaults(t, []fault{{
		name: "one upgrades", serves: 2,
		change: func(c *harness.Config) { c.Args = append(c.Args, "-second") },
		do: func(s *scene) {
			s.must(s.SignalGroup(syscall.SIGHUP))
			s.serves(2)
			s.logs("service=second", "draining")
		},
		says: []string{"service=second", refused, "the hand-over of this process is taken"},
	}})
}
