// Package gracerun turns a network service into a daemon that replaces itself
// without dropping work. On SIGHUP it starts the program that is now where this one
// was started from, hands every socket over, and leaves when what it had in hand is
// finished. Until the new process has proved itself, the old one serves on.
//
// A whole service:
//
//	package main
//
//	import (
//		"fmt"
//		"net/http"
//		"os"
//
//		"github.com/gracerun/grace/gracerun"
//	)
//
//	func main() {
//		http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
//			fmt.Fprintln(w, "hello from pid", os.Getpid())
//		})
//		var app gracerun.App
//		app.Serve("tcp", ":8080", &http.Server{})
//		app.Main()
//	}
//
// Built as hello, it is operated by hello start, stop, restart, reload and status.
//
// # Take and do
//
// Every unit of work is a take and a do: accept and handle, receive and process,
// tick and run. A drain, which an upgrade or a stop begins, cancels the take at
// once. Only the drain's deadline ([App.DrainTimeout]) cancels the do. Contexts
// carry both moments: [UntilDrain] is the one to wait for work with, [ThroughDrain]
// the one to finish it with, and [Draining] is for handlers that would not end by
// themselves, as one that streams.
//
// [App.Serve] takes connections, [App.ServePacket] packets. [Work] takes items of a
// queue, [App.Loop], [App.Every] and [App.Cron] run a task again and again, [App.Go]
// runs one until the drain, and [App.Task] adds to the work in hand at any time.
// [App.Command] and [App.Supervise] keep programs running, which outlive an upgrade.
// What may fail or is expensive belongs in [App.Setup], which runs only in a process
// that will serve.
//
// Tasks and programs can be steered while they run: [App.Pause], [App.Resume] and
// [App.Trigger], or the verbs of these names. [App.Timeout] limits each run of a task,
// and one that would not end in time gives its item back with [Requeue].
//
// # Upgrades
//
// Each process of a service is a generation. The new one runs Setup, adopts the
// sockets, opens those that are new, serves, and passes [App.Check]. Then both
// serve for the time of [App.Probation]. Then the new one commits: it owns the
// service, the pid file names it, and its tasks begin. The old one closes its
// listeners and drains. Older generations may still be draining: up to
// [App.Generations] are alive at once.
//
// An upgrade that fails before the commit changes nothing, and whoever asked for
// it gets the reason: the error of the new process, the text of its panic, or its
// exit status, with its last lines if standard error is a file.
//
// # Verbs, and the daemon
//
// [App.Main] does what the first argument says. The verb run, the default, runs the
// service in the foreground. start runs it as a daemon, which [App.Daemon]
// describes, and returns when that is ready, or prints the daemon's own error. stop
// returns when all generations have ended. restart, reload and upgrade replace the
// process and return when it is decided; with [HangupReload] a reload calls
// [App.Reload] in the process that runs. status says what the service does, tasks
// what it runs, and pause, resume and trigger steer that. All have --json and the
// exit status of an LSB init script; [App.Verb] adds others, and [App.Exec] is for
// a program with a command line of its own.
//
// Every verb runs the same program. What only the service needs belongs in Setup,
// so that a broken configuration keeps nobody from stopping it.
//
// The service answers on a control socket in its run directory, to its own user
// and root: HTTP, with the status, the progress of an upgrade, metrics, and a page
// for people. [App.Handler] is what of it may be shown to others.
//
// # What holds
//
//   - Nothing is given up before its successor has proved itself: not a socket, not
//     the lock, not the pid file, not the file of a unix socket.
//   - A connection of an *[http.Server] ends only after an answer that announced it,
//     because the client left, because it was idle for longer than [App.Linger] (or
//     had never sent a byte for 5 seconds more), or at the drain's deadline.
//   - Loop, Every and Cron run in one generation at a time, whatever a process dies of.
//   - A program is supervised by one generation at a time, and the next start adopts
//     what still runs.
//   - The lock is held for as long as any generation lives. There is no moment at
//     which a second service could start.
//   - If the old process dies during an upgrade, the new one carries on.
//   - The newest generation exits last.
//   - A command that the service starts inherits no descriptor and no variable of
//     the hand-over.
//
// # Signals
//
// [App.Run] takes four. SIGHUP upgrades, unless [App.Hangup] says otherwise. One
// that comes during an upgrade, before the new process is started, joins it; a
// later one asks for one more upgrade, so that the program installed last ends up
// running. SIGTERM and SIGINT drain the service and end it. A second SIGINT ends it
// at once; a repeated SIGTERM changes nothing. SIGUSR1 has the log files of a daemon
// opened again. All other signals do what they do in any Go program, but that no
// terminal suspends a daemon.
//
// # Under a supervisor
//
// Where NOTIFY_SOCKET names a service manager's socket (sd_notify(3)), it is told of
// each step, and follows each new process. Sockets that it passed are found by their
// address, or by name: [App.Serve]. A process that nobody can be told of keeps its pid:
// process 1 of a container does so by itself, others with [App.StablePID]. The verbs
// unit and install make a unit for systemd.
//
// # What it does not do
//
// It upgrades, and makes daemons, on Linux (5.10 or later) alone. Elsewhere the same
// program serves in the foreground and drains; start and an upgrade fail with an
// error that wraps [errors.ErrUnsupported].
//
// Death after the commit is not undone: nobody serves until something starts the
// service again. Probation is the time in which a crash costs nothing but what the
// new process had in hand.
//
// A server in [Funcs], one of another library, or a type that embeds an
// *http.Server, is drained by its own Shutdown and loses what that loses. The
// lossless drain is for an *http.Server as such and for [TLS]. A client that stays
// idle for longer than Linger, and does not look whether its connection has ended
// before it sends, can lose a request, as with any server that closes idle
// connections.
//
// It does not recover panics, but with [App.Recover] those of tasks: before the commit
// a crash is a failed upgrade, after it a crash. It reads no configuration files, and
// rotates no log files.
//
// The repository's docs/tasks.md says which kind of work takes which call, and has
// recipes for queues; docs/operate.md is for those who run a service, docs/systemd.md
// and docs/containers.md for where it runs; docs/design.md says why things are as they
// are, docs/handoff.md what two generations say to each other.
package gracerun
