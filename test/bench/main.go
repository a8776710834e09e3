// Command bench compares gracerun with everything that a user would pick
// instead: what is lost in an upgrade, how fast it is, and what it costs. From
// the root of the repository:
//
//	go run ./test/bench           # all of it, and writes docs/compare.md
//	go run ./test/bench -quick    # two minutes, and writes nothing
//	go run ./test/bench -list     # the names for -run and -peers
//
// Its exit status is 0 if all went well, whatever the figures; 1 if gracerun did
// what it must not, on any machine: lose a request, or leak; 2 if the flags are
// wrong; and 3 if something could not be measured. An interrupt ends it, with
// what was found so far. (For go run each of 1 to 3 is 1.)
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/gracerun/grace/test/bench/experiment"
	"github.com/gracerun/grace/test/bench/peer"
)

// Exit statuses.
const (
	exitOK = iota
	exitFault
	exitUsage
	exitError
)

// quickLimit leaves the rest of two minutes to the compiler.
const quickLimit = 100 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second one ends it at once
	b := bench{
		stdout: os.Stdout, stderr: os.Stderr, terminal: isTerminal(os.Stderr),
		experiments: experiment.All(), kinds: peer.Kinds(),
	}
	os.Exit(b.main(ctx, os.Args[1:]))
}

// A bench is the command, and what it can measure.
type bench struct {
	stdout, stderr io.Writer
	terminal       bool // stderr is one
	experiments    []experiment.Experiment
	kinds          []*peer.Kind
}

// main returns the exit status.
func (b *bench) main(ctx context.Context, args []string) int {
	o, err := b.parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintln(b.stderr, "bench:", err)
		return exitUsage
	case o.list:
		b.list()
		return exitOK
	}
	if o.quick {
		cause := fmt.Errorf("-quick ends after %v", quickLimit)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, quickLimit, cause)
		defer cancel()
	}
	r, err := b.measure(ctx, o)
	err = errors.Join(err, r.WriteText(b.stdout), b.write(o, r, err == nil))
	if err != nil {
		fmt.Fprintf(b.stderr, "\nbench: could not do all:\n%v\n", err)
	}
	switch {
	case len(r.Faults()) > 0:
		return exitFault
	case err != nil:
		return exitError
	}
	return exitOK
}

// list prints the names for -run and -peers.
func (b *bench) list() {
	fmt.Fprintln(b.stdout, "experiments:")
	for _, e := range b.experiments {
		fmt.Fprintf(b.stdout, "  %s\n", e.Name)
	}
	fmt.Fprintln(b.stdout, "peers:")
	for _, k := range b.kinds {
		line := k.Name
		if err := k.Missing(); err != nil {
			line += " (" + err.Error() + ")"
		}
		fmt.Fprintf(b.stdout, "  %s\n", line)
	}
}
