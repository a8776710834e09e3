// Command hello is the service that the scripts operate: it greets, as its
// configuration says. What its release is, and what is wrong with it, is written
// beside the program, as a deployment would have it:
//
//	releases/2/hello
//	releases/2/version    2
//	releases/2/fault      how this release goes wrong, see fault.go
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync/atomic"

	"github.com/gracerun/grace/gracerun"
)

func main() {
	s := service{release: findRelease()}
	addr, configFile := s.flags()
	s.release.exitEarly()

	s.app.Version = s.release.version
	s.app.Setup = func(ctx context.Context) error {
		if err := s.release.setUp(ctx); err != nil {
			return err
		}
		s.app.Serve("tcp", addr, &http.Server{Handler: s.handler()})
		if s.spool != "" {
			s.addTasks(s.spool)
		}
		for _, c := range s.commands {
			if err := s.addCommand(c); err != nil {
				return err
			}
		}
		return s.configure(configFile)
	}
	s.app.OnState = s.release.onState
	if s.app.Hangup == gracerun.HangupReload {
		s.app.Reload = func(context.Context) error { return s.configure(configFile) }
	}
	s.app.Verb("greet", "print the greeting, and the names to greet", func(_ context.Context, args []string) error {
		if err := s.configure(configFile); err != nil {
			return err
		}
		_, err := fmt.Println(*s.greeting.Load(), args)
		return err
	})
	s.app.Main()
}

// service is a greeting that can be changed, and an App that serves it.
type service struct {
	app      gracerun.App
	release  release
	greeting atomic.Pointer[string]
	spool    string   // "" = there are no tasks
	commands []string // to be supervised
}

// flags sets the App's fields. What a script does not say in each line comes
// from the environment.
func (s *service) flags() (addr, configFile string) {
	app := &s.app
	flag.StringVar(&addr, "addr", cmp.Or(os.Getenv("HELLO_ADDR"), "127.0.0.1:0"), "`address` to listen on")
	flag.StringVar(&configFile, "config", os.Getenv("HELLO_CONFIG"), "configuration `file`")
	flag.StringVar(&app.Name, "name", "hello", "`name` of the instance")
	flag.StringVar(&app.RunDir, "rundir", os.Getenv("HELLO_RUNDIR"), "run `directory`")
	flag.StringVar(&app.PIDFile, "pidfile", "", "pid `file`")
	flag.DurationVar(&app.ReadyTimeout, "ready", 0, "App.ReadyTimeout")
	flag.DurationVar(&app.Probation, "probation", -1, "App.Probation")
	flag.DurationVar(&app.DrainTimeout, "drain", 0, "App.DrainTimeout")
	flag.DurationVar(&app.StopDelay, "stop-delay", 0, "App.StopDelay")
	flag.StringVar(&s.spool, "tasks", os.Getenv("HELLO_TASKS"), "have tasks, see tasks.go, with this spool `directory`")
	flag.Func("command", "have a command, `NAME=SCRIPT`; may be repeated", func(v string) error {
		s.commands = append(s.commands, v)
		return nil
	})
	flag.BoolFunc("hup-reloads", "reload in this process", func(string) error {
		app.Hangup = gracerun.HangupReload
		return nil
	})

	d := &app.Daemon
	flag.StringVar(&d.Dir, "dir", "", "Daemon.Dir")
	flag.IntVar(&d.Umask, "umask", 0, "Daemon.Umask, 077 is octal")
	flag.StringVar(&d.User, "user", "", "Daemon.User")
	flag.StringVar(&d.Group, "group", "", "Daemon.Group")
	flag.StringVar(&d.Chroot, "chroot", "", "Daemon.Chroot")
	flag.StringVar(&d.Output, "output", os.Getenv("HELLO_OUTPUT"), "Daemon.Output")
	flag.Func("env", "Daemon.Env, may be repeated", func(v string) error {
		d.Env = append(d.Env, v)
		return nil
	})
	flag.Parse()
	return addr, configFile
}

func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s from generation %d, version %s\n", *s.greeting.Load(), s.app.Status().Generation, s.release.version)
	})
	// A request that is in hand until the file exists.
	mux.HandleFunc("GET /hold", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "begun")
		http.NewResponseController(w).Flush()
		if waitFor(r.Context(), r.FormValue("until")) == nil {
			slog.Info("held until the end", "version", s.release.version)
			fmt.Fprintln(w, "done")
		}
	})
	// A task that goes on after the answer, until the file exists.
	mux.HandleFunc("GET /backup", func(w http.ResponseWriter, r *http.Request) {
		until := r.FormValue("until")
		err := s.app.Task("backup", func(ctx context.Context) error { return waitFor(ctx, until) })
		fmt.Fprintln(w, "backup:", err)
	})
	mux.HandleFunc("GET /env", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, os.Getenv(r.FormValue("name")))
	})
	mux.HandleFunc("GET /log", func(w http.ResponseWriter, r *http.Request) {
		slog.Info(r.FormValue("text"), "version", s.release.version)
	})
	return mux
}
