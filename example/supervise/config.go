package main

import (
	"cmp"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/gracerun/grace/gracerun"
)

// A config is what the file says.
type config struct {
	log      string
	commands []gracerun.Command
	drain    time.Duration // in which all of them can end
}

// load reads the file. Its error has all the faults; the config is never nil.
func load(path string) (*config, error) {
	// Absolute, as the fault may be read in another directory.
	path, err := filepath.Abs(path)
	if err != nil {
		return &config{}, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return &config{}, err
	}
	return parse(path, text)
}

// parse returns what the text says, or all that is wrong with it.
func parse(name string, text []byte) (*config, error) {
	t, err := newTable(name, text)
	if err != nil {
		return &config{}, err
	}
	c := &config{log: get(t, "log", `an absolute path, "journal" or "syslog"`, logName)}
	named := map[string]int{} // the line of each name
	for _, p := range t.tables("program", "a list of tables: each begins with [[program]], in two brackets") {
		command := p.command()
		if line := named[command.Name]; line > 0 {
			p.fault("name", "%q is the program in line %d, too", command.Name, line)
		} else if command.Name != "" {
			named[command.Name] = p.line("name")
		}
		c.commands = append(c.commands, command)
		c.drain = max(c.drain, command.StopTimeout+10*time.Second) // all are told at once
	}
	if t.values["program"] == nil || len(c.commands) == 0 && len(t.faults) == 0 {
		// It is what a file looks like that is being written.
		t.fault("program", "there is none: begin each with [[program]], and give it a name and a command")
	}
	t.rest()
	if err := t.err(); err != nil {
		return &config{}, err
	}
	return c, nil
}

const (
	aFile   = `an absolute path, as "/var/log/web.log"`
	aTime   = `a time, as "500ms" or "1m30s"`
	orNone  = aTime + `, or "none"`
	aProg   = `the absolute path of a program and its arguments, as ["/bin/sleep", "60"]`
	aNumber = `a number from 1 to 1000, or -1 for never`
)

// command reads a [[program]].
func (t *table) command() gracerun.Command {
	c := gracerun.Command{
		Name:             must(t, "name", `a name of letters, digits and ".", "_", "-", which a letter or a digit begins`, programName),
		User:             get(t, "user", "a user of this system, by name or number", userName),
		Group:            get(t, "group", "a group of this system, by name or number", groupName),
		Restart:          get(t, "restart", `"always", "on-failure" or "never"`, policy),
		ExitCodes:        get(t, "exit_codes", "a list of numbers from 0 to 255", exitCodes),
		Backoff:          get(t, "backoff", orNone, timeOrNone),
		MaxBackoff:       get(t, "max_backoff", aTime, positive),
		Failures:         get(t, "failures", aNumber, failures),
		FailurePeriod:    get(t, "failure_period", aTime, positive),
		StopSignal:       get(t, "stop_signal", `a signal, as "TERM", "INT" or "USR1"`, signal),
		StopTimeout:      get(t, "stop_timeout", aTime, positive),
		Stagger:          get(t, "stagger", aTime, positive),
		Output:           get(t, "output", aFile, absolute),
		ErrorOutput:      get(t, "error_output", aFile, absolute),
		RestartOnUpgrade: get(t, "restart_on_upgrade", "true or false", is[bool]),
	}
	c.StopTimeout = cmp.Or(c.StopTimeout, 10*time.Second)
	if limit := cmp.Or(c.MaxBackoff, 30*time.Second); c.Backoff > limit {
		t.fault("backoff", "%v is more than max_backoff, which is %v", c.Backoff, limit)
	}
	args, dir := must(t, "command", aProg, program), get(t, "dir", `an absolute path, as "/srv"`, absolute)
	env := t.table("env", `a table, as { PORT = "8000" }`).environment()
	c.Cmd = func(context.Context) *exec.Cmd {
		cmd := &exec.Cmd{Path: args[0], Args: args, Dir: dir}
		if cmd.Dir == "" {
			cmd.Dir = "/" // wherever supervise itself was started
		}
		if env != nil {
			cmd.Env = append(os.Environ(), env...)
		}
		return cmd
	}
	t.table("ready", `a table, as { address = "127.0.0.1:8000" }`).ready(&c)
	t.rest()
	return c
}

// ready reads how it is told that the program c is ready.
func (t *table) ready(c *gracerun.Command) {
	c.ReadyDelay = get(t, "delay", aTime, positive)
	c.ReadyAddress = get(t, "address", `an address to connect to, as "127.0.0.1:8000"`, address)
	c.ReadyLine = get(t, "line", "a regular expression (https://go.dev/s/re2syntax)", expression)
	c.ReadyNotify = get(t, "notify", "true or false", is[bool])
	c.ReadyTimeout = get(t, "timeout", orNone, timeOrNone)
	if t.values != nil && !t.has("delay", "address", "line", "notify") {
		t.fault("", "write at least one of delay, address, line and notify")
	}
	t.rest()
}

// environment reads the table of variables, in the order of their names.
func (t *table) environment() (env []string) {
	for _, key := range t.keys() {
		if key == "" || strings.ContainsAny(key, "=\x00") {
			t.fault(key, "a variable cannot have this name")
		}
		env = append(env, key+"="+get(t, key, "a text or a number", text))
	}
	return env
}
