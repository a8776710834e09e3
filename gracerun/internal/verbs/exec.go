package verbs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// A call is one verb that is being carried out.
type call struct {
	*Service
	verb     string
	options  options
	json     bool
	stdout   io.Writer
	progress *progress       // on standard error
	message  strings.Builder // what went to stdout or, with json, is kept for the report
	known    *known          // what the report is about; nil = to be found out
	asked    bool            // the service, for a change
	unheard  error           // why the result could not be written
}

// Exec does what args say: a verb, run being the default, and its flags. The result goes
// to stdout, as one JSON object with --json; progress, and the reason of a failure, go to
// stderr. It returns the exit status: 0 done, 1 failed, 2 bad arguments, 3 not possible on
// this system, 4 not permitted, 5 the program is missing, 6 a fault in its configuration, 7
// not running. That of status is different: 0 running, 1 not running though there is a pid
// file, 2 the lock is held and nobody can be shown to serve, 3 not running, 4 unknown, 150
// upgrading, 151 draining, 152 starting.
func (s *Service) Exec(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c := &call{Service: s, stdout: stdout, progress: newProgress(stderr, s.Name)}
	err := c.do(ctx, args)
	code := exitCode(err)
	c.progress.clear()
	if err != nil && err.Error() != "" {
		c.progress.line(err.Error())
	}
	if c.json {
		c.report(ctx, code, err)
	}
	if c.unheard != nil && code == 0 {
		c.progress.line(c.unheard.Error())
		return exitFailed
	}
	return code
}

func (c *call) do(ctx context.Context, args []string) error {
	c.verb = "run"
	if len(args) > 0 {
		c.verb, args = args[0], args[1:]
	}
	for _, v := range c.Verbs {
		if v.Name == c.verb { // its arguments are its own
			return failed(v.Run(ctx, args))
		}
	}
	c.json = wantsJSON(args) // even if they turn out to be wrong
	switch c.verb {
	case "-h", "-help", "--help":
		c.verb = "help"
	case "-json", "--json":
		c.json = true
	}
	v, ok := find(c.verb)
	if !ok {
		return c.unknownVerb(c.verb)
	}
	rest, err := c.parse(v, args)
	if errors.Is(err, errHelp) {
		c.print(c.verbHelp(v))
		return nil
	}
	if err != nil {
		return err
	}
	c.json = c.options.json
	return v.run(c, ctx, rest)
}

// say gives the result, a line for people.
func (c *call) say(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if c.json {
		c.message.WriteString(text + "\n")
		return
	}
	c.print(c.Name + ": " + text + "\n")
}

// print gives the result as it is.
func (c *call) print(text string) {
	c.progress.clear()
	if c.json {
		c.message.WriteString(text)
		return
	}
	c.write(plain(text))
}

func (c *call) write(text string) {
	if _, err := io.WriteString(c.stdout, text); err != nil {
		c.unheard = err
	}
}

// note is a line that is no result.
func (c *call) note(format string, args ...any) { c.progress.line(fmt.Sprintf(format, args...)) }

// interruptible lets Ctrl-C end what a verb waits for, so that it can say what goes on
// without it.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
}

func wantsJSON(args []string) bool {
	return slices.ContainsFunc(args, func(arg string) bool {
		name, value, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		return strings.HasPrefix(arg, "-") && name == "json" && (value == "" || value == "true")
	})
}

func run(c *call, ctx context.Context, _ []string) error {
	if c.options.stablePID {
		if err := c.KeepPID(ctx); err != nil {
			return bare(err)
		}
	}
	return bare(c.Run(ctx))
}

// bare takes the library's name off the error of Run: what is printed begins with that of
// the service.
func bare(err error) error {
	if several, ok := err.(interface{ Unwrap() []error }); ok && errors.Join(several.Unwrap()...).Error() == err.Error() {
		var list []error
		for _, err := range several.Unwrap() {
			list = append(list, bare(err))
		}
		return errors.Join(list...)
	}
	if inner := errors.Unwrap(err); inner != nil && err.Error() == "gracerun: "+inner.Error() {
		return inner
	}
	return err
}

func version(c *call, _ context.Context, _ []string) error {
	c.print(c.Name + " " + c.Version + "\n")
	return nil
}
