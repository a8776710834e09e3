package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gracerun/grace/test/harness"
)

const (
	module    = "github.com/gracerun/grace"
	good      = "http" // the program that works
	probation = 300 * time.Millisecond
)

// build makes example/http and the programs below bad, in dir.
func build(ctx context.Context, dir string) error {
	if _, err := exec.LookPath("go"); err != nil {
		return fmt.Errorf("the go command builds the service, and it is not there (https://go.dev/dl): %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", dir+"/", module+"/example/http", module+"/example/demo/bad/...")
	cmd.Env = append(os.Environ(), "GOTMPDIR="+dir) // so that nothing is left when it is killed
	endWithChildren(cmd)
	text, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build, which works inside the module %s: %w\n%s", module, err, text)
	}
	return nil
}

// service is example/http, all its generations.
type service struct {
	*harness.Service
	programs string // the directory with what build has made
	address  string
	daemon   int // pid of generation 1
}

// start makes example/http a daemon and waits until it answers.
func start(ctx context.Context, dir string) (*service, error) {
	hs, err := harness.Start(harness.Config{
		Binary: filepath.Join(dir, good),
		Args:   []string{"-addr", "127.0.0.1:0", "-probation", probation.String(), "-log", harness.Root + "/log", "start"},
		Env:    []string{"RUNTIME_DIRECTORY=" + harness.RunDir}, // so that the bad programs need no flags
	})
	if err != nil {
		return nil, err
	}
	s := &service{Service: hs, programs: dir}
	wait, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	s.daemon, err = s.Generation(wait, 1)
	if err == nil {
		s.address, err = s.Address()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the service does not start: %w\n%s", err, s.Log()), s.Close())
	}
	return s, nil
}

// end stops the service in order. What has not left after 5 s is killed, and that
// is an error; so it is when hurry ends, but then it was asked for.
func (s *service) end(hurry context.Context) error {
	ctx, cancel := context.WithTimeout(hurry, 5*time.Second)
	defer cancel()
	err := errors.Join(s.Stop(ctx), s.Close())
	if hurry.Err() != nil && errors.As(err, new(*harness.LeakError)) {
		return nil
	}
	return err
}

// A try is one upgrade that was asked for.
type try struct {
	program string
	pid     int // of the new process; 0 = it never spoke
	began   time.Time
	took    time.Duration // to the old process letting go, or refusing
	stage   string        // where it was refused; "" = it was not
	reason  string        // in the words of the new process, if it had any
}

func (t try) String() string {
	if t.stage != "" {
		return fmt.Sprintf("%-8s refused after %s in stage %q: %s", t.program, brief(t.took), t.stage, t.reason)
	}
	return fmt.Sprintf("%-8s upgraded in %s: pid %d has taken over", t.program, brief(t.took), t.pid)
}

// upgrade installs a program in the place of the one that runs, sends SIGHUP, and
// waits for the service to log how it went. An error means that it went
// otherwise than it should.
func (s *service) upgrade(ctx context.Context, program string) (t try, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	t.program = program
	if err := s.Install(filepath.Join(s.programs, program)); err != nil {
		return t, err
	}
	old, err := s.PID()
	if err != nil {
		return t, err
	}
	end := "upgrade committed"
	if program != good {
		end = "upgrade failed"
	}
	logged := len(s.Log())
	t.began = time.Now()
	if err := s.Signal(old, syscall.SIGHUP); err != nil {
		return t, err
	}
	line, err := s.Logged(ctx, logged, end)
	t.took = time.Since(t.began)
	if err != nil {
		return t, fmt.Errorf("upgrade to %s: %w\n%s", program, err, s.LogFrom(logged))
	}
	t.pid, _ = strconv.Atoi(attr(line, "pid"))
	t.stage, t.reason = attr(line, "stage"), attr(line, "error")
	if t.stage == "" {
		_, err = s.Owner(ctx, old)
	}
	return t, err
}

// attr returns the value of an attribute in a line of package slog.
func attr(line, name string) string {
	_, rest, _ := strings.Cut(line, " "+name+"=")
	if quoted, err := strconv.QuotedPrefix(rest); err == nil {
		value, _ := strconv.Unquote(quoted)
		return value
	}
	value, _, _ := strings.Cut(rest, " ")
	return value
}
