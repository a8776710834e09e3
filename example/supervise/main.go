// Command supervise starts the programs of a list and watches over them: what
// tutorials on daemons build with a list of command lines, without what they get
// wrong. To try it:
//
//	cd example/supervise && go build -o supervise .
//	./supervise -config programs.toml check
//	./supervise -config programs.toml start    # one after another; returns when it watches
//	./supervise -config programs.toml status   # pid, uptime, restarts and last lines of each
//	./supervise -config programs.toml reload   # after the file was changed
//	./supervise -config programs.toml restart  # the same, and it starts what does not run
//	./supervise -config programs.toml stop     # all of them, the last one first
//
// tasks, pause NAME, resume NAME and trigger NAME are for single programs; without a
// verb it runs in the foreground. What the file may say is in programs.toml.
//
// A reload looks at the whole file first. If that has a fault, nothing changes, and
// each fault is printed with its line. Else a new process of supervise takes over,
// and only those programs are restarted, started or stopped whose entries have
// changed, are new, or are gone: the others run on. They also survive the death of
// supervise itself: the next start finds them.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/gracerun/grace/gracerun"
)

func main() {
	var app gracerun.App
	path := flag.String("config", "/etc/supervise.toml", "`file` with the programs")
	flag.StringVar(&app.RunDir, "rundir", "", "run `directory`")
	flag.Parse()

	// The fault waits for Setup, which runs only in a process that will watch over
	// the programs: a file with a fault keeps nobody from stopping them.
	c, fault := load(*path)
	app.Setup = func(context.Context) error {
		for _, command := range c.commands {
			app.Supervise(command)
		}
		return fault
	}
	app.Verb("check", "Say whether the file with the programs is right", func(context.Context, []string) error {
		if fault == nil {
			fmt.Printf("%s is right: %d programs\n", *path, len(c.commands))
		}
		return fault
	})
	app.DrainTimeout = c.drain
	app.Daemon.Output = c.log
	// The daemon has the same arguments, so that the names in them must have
	// the same meaning: it stays in the directory in which it was started.
	app.Daemon.Dir, _ = os.Getwd()
	app.Main()
}
