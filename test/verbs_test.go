//go:build linux

package test

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/test/harness"
)

// TestVerbs runs the scripts of testdata/script. Each tells one story of a person
// who operates a service, and README there says what the commands mean.
func TestVerbs(t *testing.T) {
	t.Parallel()
	// The parent of a daemon is then known. Nobody here waits for what it has
	// adopted, as in a container whose first process is no init: whoever ends
	// is a zombie from then on, and the verbs must not mind.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(os.NewSyscallError("prctl", err))
	}
	// One script takes the program to a place where there is no libc.
	static := &harness.Builder{Flags: []string{"-tags", "netgo,osusergo"}}
	t.Cleanup(func() { static.Close() })
	binary, err := static.Build("github.com/gracerun/grace/test/testdata/script/hello")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			// It stays if -run selects only some of the scripts.
			t.Cleanup(func() { os.Remove(filepath.Dir(env.WorkDir)) })
			return setUp(env, binary)
		},
		Cmds:               commands(),
		Condition:          condition,
		RequireUniqueNames: true,
	})
}

func condition(name string) (bool, error) {
	if name == "root" {
		return os.Geteuid() == 0, nil
	}
	return false, fmt.Errorf("no such condition")
}

// scriptKey is where the commands find their script.
type scriptKey struct{}

// script is one run of a script.
type script struct {
	dir    string // $WORK
	binary string
	mark   string   // the variable in the environment of all that it starts
	keys   []string // of the environment

	exchanges map[string]*exchange // requests in hand, by name
	visitor   *visitor
	terminal  *terminal
	served    []*exec.Cmd // by inetd
}

const markName = "HELLO_SCRIPT"

// setUp makes the private world of a script: release 1 is deployed, and a port
// is put by.
func setUp(env *testscript.Env, binary string) error {
	s := &script{
		dir: env.WorkDir, binary: binary, mark: markName + "=" + rand.Text(),
		exchanges: map[string]*exchange{},
	}
	// Another user has to reach the program.
	if err := os.Chmod(filepath.Dir(s.dir), 0o711); err != nil {
		return err
	}
	addr, err := harness.ReservePort(env.Defer)
	if err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(s.dir, "bin"), 0o755); err != nil {
		return err
	}
	env.Vars = append(env.Vars,
		s.mark,
		"PATH="+filepath.Join(s.dir, "bin")+":"+os.Getenv("PATH"),
		"GOTRACEBACK=", // as most people have it
		"HELLO_ADDR="+addr,
		"HELLO_RUNDIR="+filepath.Join(s.dir, "run"),
		"HELLO_OUTPUT="+filepath.Join(s.dir, "hello.log"),
		"HELLO_CONFIG=",
	)
	for _, v := range env.Vars {
		key, _, _ := strings.Cut(v, "=")
		s.keys = append(s.keys, key)
	}
	env.Values[scriptKey{}] = s
	watchdog := time.AfterFunc(time.Minute, func() { s.end() }) // lest a verb that hangs hang the test
	env.Defer(func() { s.close(env.T(), watchdog) })
	return s.deploy("1", "")
}

// close fails a script that has left a service running, and ends that.
func (s *script) close(t testscript.T, watchdog *time.Timer) {
	s.closeTerminal()
	for _, e := range s.exchanges {
		e.abandon()
	}
	s.visitor.end()
	failed := t.(interface{ Failed() bool }).Failed()
	var left []process
	if !failed {
		left = s.waitGone(5 * time.Second)
	}
	s.end()
	for _, cmd := range s.served {
		cmd.Wait()
	}
	hung := !watchdog.Stop()
	if log, err := os.ReadFile(filepath.Join(s.dir, "hello.log")); err == nil && (failed || len(left) > 0) {
		t.Log(fmt.Sprintf("[hello.log]\n%s", log))
	}
	if hung {
		t.Fatal("the script took more than a minute, and its processes were ended")
	}
	if len(left) > 0 {
		t.Fatal(fmt.Sprintf("the script left %v running", left))
	}
}
