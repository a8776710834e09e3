//go:build linux

// Command systemd is a service for a systemd to run. Files in its directory, NAME.WORD,
// are how a test tells it what to do:
//
//	refuse   the check of a new generation fails, with the words in the file
//	stay     the check waits until the file is gone
//	sick     App.Health fails
//	wedge    the run loop stands still from the next state on
//	release  GET /hold is answered
//
// At its end a generation prints "pid P ends".
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/gracerun/grace/gracerun"
	"github.com/gracerun/grace/test/load/web"
)

// A service is an App and what the test says.
type service struct {
	app gracerun.App
	dir string
}

func main() {
	s := &service{app: gracerun.App{Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}}
	flag.StringVar(&s.dir, "dir", "/run/bench", "`directory` of the test")
	network := flag.String("network", "tcp", "network to serve on")
	address := flag.String("addr", "127.0.0.1:0", "`address`, or the name of a socket unit")
	setup := flag.Duration("setup", 0, "`time` that the setup takes")
	sleeper := flag.Bool("sleeper", false, "supervise a program")
	flag.DurationVar(&s.app.ReadyTimeout, "ready", 0, "App.ReadyTimeout")
	flag.DurationVar(&s.app.Probation, "probation", 20*time.Millisecond, "App.Probation")
	flag.DurationVar(&s.app.DrainTimeout, "drain", 20*time.Second, "App.DrainTimeout")
	flag.DurationVar(&s.app.Linger, "linger", 200*time.Millisecond, "App.Linger")
	flag.StringVar(&s.app.Daemon.Output, "output", "", "App.Daemon.Output")
	flag.BoolVar(&s.app.StablePID, "stable", false, "App.StablePID")
	flag.Parse()

	s.app.Setup = func(context.Context) error {
		time.Sleep(*setup)
		return nil
	}
	s.app.Check, s.app.Health = s.check, s.health
	s.app.OnState = func(gracerun.State) {
		if _, is := s.told("wedge"); is {
			fmt.Fprintf(os.Stderr, "pid %d stands still\n", os.Getpid())
			select {}
		}
	}
	s.app.Verb("environment", "print it", func(context.Context, []string) error {
		fmt.Println(strings.Join(os.Environ(), "\n"))
		return nil
	})
	s.app.Verb("sleep", "sleep", func(ctx context.Context, _ []string) error {
		<-ctx.Done()
		return nil
	})
	if *sleeper {
		s.app.Command("sleeper", func(context.Context) *exec.Cmd { return self("sleep") })
	}
	s.app.Serve(*network, *address, &http.Server{Handler: s.handler()})
	s.app.Main()
	if s.app.Status().Generation > 0 { // it was no verb
		fmt.Fprintf(os.Stderr, "pid %d ends\n", os.Getpid())
	}
}

func self(verb string) *exec.Cmd { return exec.Command("/proc/self/exe", verb) }

// told returns the words of a file.
func (s *service) told(word string) (string, bool) {
	text, err := os.ReadFile(filepath.Join(s.dir, filepath.Base(os.Args[0])+"."+word))
	return strings.TrimSpace(string(text)), err == nil
}

func (s *service) check(ctx context.Context) error {
	fmt.Fprintf(os.Stderr, "pid %d checks\n", os.Getpid())
	if words, is := s.told("refuse"); is {
		return errors.New(words)
	}
	for {
		if _, is := s.told("stay"); !is || ctx.Err() != nil {
			return context.Cause(ctx)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// health is asked for by the watchdog.
func (s *service) health(context.Context) error {
	if words, is := s.told("sick"); is {
		return errors.New(words)
	}
	return nil
}

func (s *service) handler() http.Handler {
	mux := web.Handler(func() int { return s.app.Status().Generation })
	mux.HandleFunc("GET /hold", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "pid %d\n", os.Getpid())
		http.NewResponseController(w).Flush() // it is in hand
		for {
			if _, is := s.told("release"); is {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		fmt.Fprintln(w, "released")
	})
	mux.HandleFunc("GET /print", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(os.Stderr, "line %s\n", r.FormValue("line"))
	})
	mux.HandleFunc("GET /environment", func(w http.ResponseWriter, r *http.Request) {
		text, err := self("environment").Output()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
		w.Write(text)
	})
	mux.HandleFunc("GET /exit", func(w http.ResponseWriter, r *http.Request) { os.Exit(3) })
	mux.HandleFunc("GET /kill", func(w http.ResponseWriter, r *http.Request) { syscall.Kill(os.Getpid(), syscall.SIGKILL) })
	return mux
}
