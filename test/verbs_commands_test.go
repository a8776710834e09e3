//go:build linux

package test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gracerun/grace/test/harness"
)

// call is one line of a script.
type call struct {
	*testscript.TestScript
	*script
	neg  bool
	args []string
}

// command is what a script can say.
type command struct {
	usage string
	args  int // at least
	run   func(call)
}

// table has the commands besides testscript's own.
func table() map[string]command {
	return map[string]command{
		"hello":       {"[!] hello [flags] [verb ...]", 0, call.hello},
		"exit":        {"exit STATUS program [args]", 2, call.exit},
		"until":       {"until STATUS program [args]", 2, call.until},
		"json":        {"json KEY PATTERN", 2, call.json},
		"release":     {"release VERSION [FAULT]", 1, call.release},
		"port":        {"port VARIABLE", 1, call.port},
		"pid":         {"pid VARIABLE", 1, call.pid},
		"signal":      {"signal NAME [PID]", 1, call.signal},
		"logged":      {"logged PATTERN FILE", 2, call.logged},
		"hung-socket": {"hung-socket FILE", 1, call.hungSocket},
		"inetd":       {"inetd FILE program [args]", 2, call.inetd},
		"race":        {"race TIMES", 1, call.race},

		"daemon": {"daemon [KEY=VALUE ...]", 0, call.daemon},
		"ended":  {"ended PID", 1, call.ended},
		"gone":   {"gone", 0, call.gone},

		"get":     {"[!] get PATH", 1, call.get},
		"answers": {"answers PATTERN", 1, call.answers},
		"begin":   {"begin NAME", 1, call.begin},
		"finish":  {"finish NAME", 1, call.finish},
		"load":    {"load begin|end", 1, call.runLoad},

		"terminal": {"terminal program [args]", 1, call.openTerminal},
		"type":     {"type TEXT", 1, call.typeText},
		"screen":   {"screen PATTERN", 1, call.screen},
		"left":     {"left STATUS", 1, call.left},
		"hangup":   {"hangup", 0, call.hangup},
	}
}

func commands() map[string]func(*testscript.TestScript, bool, []string) {
	cmds := map[string]func(*testscript.TestScript, bool, []string){}
	for name, cmd := range table() {
		cmds[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			if len(args) < cmd.args || neg && !strings.HasPrefix(cmd.usage, "[!]") {
				ts.Fatalf("usage: %s", cmd.usage)
			}
			cmd.run(call{ts, ts.Value(scriptKey{}).(*script), neg, args})
		}
	}
	return cmds
}

const patience = 15 * time.Second

// wait calls f until it returns nil.
func (c call) wait(f func() error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c.Check(harness.Until(ctx, f))
}

func (c call) hello() {
	code := c.run("hello", c.args...)
	if c.neg != (code != 0) {
		c.Fatalf("exit status %d", code)
	}
}

func (c call) exit() {
	if code := c.run(c.args[1], c.args[2:]...); strconv.Itoa(code) != c.args[0] {
		c.Fatalf("exit status %d", code)
	}
}

// until shows only what the program said last.
func (c call) until() {
	var stdout, stderr strings.Builder
	c.wait(func() error {
		stdout.Reset()
		stderr.Reset()
		cmd := c.command(c.args[1], c.args[2:]...)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		if cmd.ProcessState != nil && strconv.Itoa(cmd.ProcessState.ExitCode()) == c.args[0] {
			return nil
		}
		return fmt.Errorf("%v: %s%s", cmp.Or(err, errors.New("exit status 0")), &stdout, &stderr)
	})
	io.WriteString(c.Stdout(), stdout.String())
	io.WriteString(c.Stderr(), stderr.String())
}

// run returns the exit status of a program.
func (c call) run(program string, args ...string) int {
	err := c.Exec(program, args...)
	var ended *exec.ExitError
	if err != nil && !(errors.As(err, &ended) && ended.Exited()) {
		c.Fatalf("%s: %v", program, err)
	}
	if ended == nil {
		return 0
	}
	return ended.ExitCode()
}

// json looks at the one object on standard output. KEY leads into it:
// "sockets.0.network".
func (c call) json() {
	d := json.NewDecoder(strings.NewReader(c.ReadFile("stdout")))
	d.UseNumber()
	object := map[string]any{}
	c.Check(d.Decode(&object))
	if err := d.Decode(new(any)); err != io.EOF {
		c.Fatalf("more than one object: %v", err)
	}
	var v any = object
	for key := range strings.SplitSeq(c.args[0], ".") {
		var err error
		v, err = member(v, key)
		c.Check(err)
	}
	if got := fmt.Sprint(v); !regexp.MustCompile("^(?s:" + c.args[1] + ")$").MatchString(got) {
		c.Fatalf("%s is %s", c.args[0], got)
	}
}

func member(v any, key string) (any, error) {
	switch v := v.(type) {
	case map[string]any:
		if m, ok := v[key]; ok {
			return m, nil
		}
	case []any:
		if i, err := strconv.Atoi(key); err == nil && i < len(v) {
			return v[i], nil
		}
	}
	return nil, fmt.Errorf("no %q in %v", key, v)
}

func (c call) release() {
	fault := ""
	if len(c.args) > 1 {
		fault = c.args[1]
	}
	c.Check(c.deploy(c.args[0], fault))
}

// deploy puts a release in its directory, and a link to it in the place of
// bin/hello, by a rename: whoever looks finds the old one or the new one.
func (s *script) deploy(version, fault string) error {
	dir := filepath.Join(s.dir, "releases", version)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	program := filepath.Join(dir, "hello")
	var err error
	switch fault {
	case "missing":
	case "not-executable":
		err = os.WriteFile(program, []byte("#!/bin/sh\n"), 0o644)
	default:
		err = os.Link(s.binary, program)
	}
	link := filepath.Join(dir, "link")
	return errors.Join(err,
		os.WriteFile(filepath.Join(dir, "version"), []byte(version), 0o644),
		os.WriteFile(filepath.Join(dir, "fault"), []byte(fault), 0o644),
		os.Symlink(program, link),
		os.Rename(link, filepath.Join(s.dir, "bin", "hello")))
}

func (c call) port() {
	addr, err := harness.ReservePort(c.Defer)
	c.Check(err)
	c.Setenv(c.args[0], addr)
}

func (c call) logged() {
	pattern := regexp.MustCompile("(?m)" + c.args[0])
	c.wait(func() error {
		text, err := os.ReadFile(c.MkAbs(c.args[1]))
		if err == nil && !pattern.Match(text) {
			err = fmt.Errorf("%s has no %q:\n%s", c.args[1], c.args[0], text)
		}
		return err
	})
}
