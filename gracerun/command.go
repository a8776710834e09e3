package gracerun

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/gracerun/grace/gracerun/internal/command"
	"github.com/gracerun/grace/pidfile"
)

// Command is a program that the App starts and watches over. It is the leader of
// a process group of its own, and inherits nothing from the service but its
// environment. An upgrade does not end it: the next generation goes on watching
// it, with its output and its exit status, and so does the next start if the
// service was killed. When the service stops, so does the program.
//
// The zero value of each field but Name and Cmd is a good choice.
type Command struct {
	// Name names the program in the log, in the status and for the verbs.
	Name string

	// Cmd returns what is to be started. It is called for each start, and once
	// in each new generation, to see whether anything has changed. Path, Args,
	// Env, Dir and SysProcAttr are used; Env nil means the environment of the
	// service. Standard output and error are the App's, unless Stdout and Stderr
	// are set to an *os.File; standard input is the null device unless Stdin is.
	// Where both are set, or before Linux 6.15, a small process of this binary
	// stands between, and what of SysProcAttr needs more than the usual start
	// (as Cloneflags, AmbientCaps, Ptrace, Setctty) is refused. Pdeathsig is always
	// refused: it would end the program at each upgrade. What Env has as the
	// service's own environment has it is no change. ctx is never cancelled: the
	// App ends the program itself.
	Cmd func(ctx context.Context) *exec.Cmd

	// User and Group are whom the program runs as, by name or number, with the
	// supplementary groups of the user. "" leaves those of the service.
	User, Group string

	// When is the program ready, which the start of the next one waits for?
	// When all hold of those that are set; when it has started, if none is.
	ReadyDelay   time.Duration // it has run for so long
	ReadyAddress string        // a TCP connection to host:port succeeds
	ReadyLine    string        // a line of its output matches this regular expression
	ReadyNotify  bool          // it says READY=1 (sd_notify(3)), to NOTIFY_SOCKET

	// ReadyTimeout is how long that may take. Then it is stopped, which is a
	// failure. 0 means 30 s, negative no limit.
	ReadyTimeout time.Duration

	// Stagger is how long the next program waits after this one is ready.
	// 0 and negative mean not at all.
	Stagger time.Duration

	// Restart says when the program is started again.
	Restart RestartPolicy
	// ExitCodes are exit codes that are no failure, besides 0.
	ExitCodes []int

	// Backoff is the pause before the first restart; it doubles with each, up to
	// MaxBackoff, and begins anew when the program has run for that long.
	// 0 means 100 ms and 30 s; negative means no pause.
	Backoff, MaxBackoff time.Duration

	// After Failures failures within FailurePeriod the program is given up, which
	// is logged and shown, until it is resumed, or the service restarted.
	// 0 means 10 within 1 minute. Failures is at most 1000, and negative means never;
	// with a negative FailurePeriod none is forgotten.
	Failures      int
	FailurePeriod time.Duration

	// StopSignal is what tells the group to end: SIGTERM if it is 0. What is
	// left of it after StopTimeout is killed. 0 means 10 s, negative waits for
	// the drain's deadline, and with a restart for ever.
	StopSignal  syscall.Signal
	StopTimeout time.Duration

	// RestartOnUpgrade has each new generation restart the program, also one that is
	// done. Else that happens only if what Cmd returns, or a field here, has changed;
	// but Stagger, and the fields from Restart to FailurePeriod, hold without it.
	RestartOnUpgrade bool

	// Output and ErrorOutput are files, absolute, that each line is appended to, but
	// for a carriage return at its end; one of more than 64 KiB is cut into pieces that end with "…". They are
	// opened again on SIGUSR1. "" means App.Logger; for ErrorOutput, where Output is
	// set, the same as that.
	Output, ErrorOutput string
}

// RestartPolicy says when a [Command] that has ended is started again.
type RestartPolicy int

const (
	// RestartAlways starts it again whatever its exit status.
	RestartAlways RestartPolicy = iota
	// RestartOnFailure starts it again unless it exited with 0 or a code of
	// ExitCodes.
	RestartOnFailure
	// RestartNever leaves it as it ended.
	RestartNever
)

// Command has a program supervised, with the defaults of [Command]; see
// [App.Supervise].
func (a *App) Command(name string, cmd func(context.Context) *exec.Cmd) {
	a.Supervise(Command{Name: name, Cmd: cmd})
}

// Supervise has the program c started when this generation owns the service,
// after those that were registered before it are ready, and watched over until
// the service stops: then the last one is told first. A program that cannot be
// started is reported, and keeps no other from running. Only Linux has it;
// elsewhere it is a fault.
func (a *App) Supervise(c Command) {
	a.register(fmt.Sprintf("Command(%q)", c.Name), func(r *registry) error {
		switch {
		case c.Name == "":
			return errors.New("the name is empty")
		case c.Cmd == nil:
			return errors.New("the function is nil")
		}
		if err := checkName(c.Name); err != nil {
			return err
		}
		spec := c.spec()
		if err := spec.Check(); err != nil {
			return err
		}
		if err := r.take("task " + c.Name); err != nil {
			return err
		}
		r.commands = append(r.commands, spec)
		return nil
	})
}

func (c Command) spec() command.Spec {
	return command.Spec{
		Name: c.Name, Cmd: c.Cmd, User: c.User, Group: c.Group,
		ReadyDelay: c.ReadyDelay, ReadyAddress: c.ReadyAddress, ReadyLine: c.ReadyLine, ReadyNotify: c.ReadyNotify,
		ReadyTimeout: limit(c.ReadyTimeout, 30*time.Second), Stagger: c.Stagger,
		Restart: command.Policy(c.Restart), ExitCodes: c.ExitCodes,
		Backoff: limit(c.Backoff, 100*time.Millisecond), MaxBackoff: limit(c.MaxBackoff, 30*time.Second),
		Failures: c.Failures, FailurePeriod: limit(c.FailurePeriod, time.Minute),
		StopSignal: c.StopSignal, StopTimeout: limit(c.StopTimeout, 10*time.Second),
		RestartOnUpgrade: c.RestartOnUpgrade, Output: c.Output, ErrorOutput: c.ErrorOutput,
	}
}

// commandsName is the task that watches over all commands. Its prefix tells it from
// one of the user's.
const (
	ownPrefix    = "gracerun."
	commandsName = ownPrefix + "commands"
)

// kindCommands is the kind of that task, which is none of the user's.
const kindCommands = "commands"

// planCommands makes a task of the commands, and of what older generations have left.
func (l *life) planCommands() {
	if l.pid == nil { // not on this system: Check has said so
		return
	}
	o := command.Options{Dir: filepath.Dir(l.pid.Path()), Name: l.name, Log: l.log}
	if len(l.work.commands) == 0 && len(command.Left(o)) == 0 {
		return
	}
	s := command.New(o, l.work.commands)
	l.mu.Lock()
	l.commands = s
	l.mu.Unlock()
	l.work.tasks = append(l.work.tasks, &task{name: commandsName, kind: kindCommands, run: superviseCommands, changed: make(chan struct{})})
}

// superviseCommands leaves the programs to the successor, or stops them.
func superviseCommands(l *life, t *task) {
	l.exclusive(t, func(j *job) {
		l.watchCommands(func() bool {
			replaced := l.isReplaced()
			if !replaced {
				l.jobs.set(j, false) // they are to end, which takes its time
			}
			return replaced
		})
	})
}

// isReplaced is asked when the drain has begun. A successor that was told to take over
// right before may still do so, and then has the programs.
func (l *life) isReplaced() bool {
	select {
	case <-l.upgradeIdle():
	case <-time.After(commitGrace):
	}
	return l.self.Successor() != nil
}

// commitGrace is how long a successor has for that when the service stops.
const commitGrace = 2 * time.Second

func (l *life) watchCommands(replaced func() bool) {
	err := l.supervisor().Run(l.end.take, l.end.do, replaced)
	if late := new(command.DeadlineError); errors.As(err, &late) {
		l.late(late.Names...)
	} else if err != nil {
		l.log.Error("watching over commands", "error", err)
	}
}

// endCommands is for the last generation, when no other is left: it stops the programs
// that it had no time to take over before its own drain began.
func (l *life) endCommands() {
	s := l.supervisor()
	if s == nil || s.Begun() {
		return
	}
	claim, err := pidfile.Acquire(l.taskFile(commandsName, ".pid"))
	if err != nil {
		l.log.Error("commands are left running", "error", err)
		return
	}
	defer claim.Close()
	l.watchCommands(func() bool { return false })
}

// supervisor returns nil where there are no commands.
func (l *life) supervisor() *command.Supervisor {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.commands
}

func (l *life) hasCommand(name string) bool {
	s := l.supervisor()
	return s != nil && slices.Contains(s.Names(), name)
}

func (l *life) commandStatus() []CommandStatus {
	s := l.supervisor()
	if s == nil {
		return nil
	}
	return each(s.Status(), commandOf)
}
