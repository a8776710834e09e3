//go:build linux

// Command service is a service for tests. It does what the test says, also where
// that is wrong: see package step.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"sync"
	"time"

	"github.com/gracerun/grace/gracerun"
	"github.com/gracerun/grace/test/testdata/service/step"
)

func init() { step.At("init") } // gracerun has said hello

func main() {
	var app gracerun.App
	addr := flag.String("addr", "127.0.0.1:0", "TCP `address`")
	flag.StringVar(&app.RunDir, "rundir", "", "run `directory`; a unix socket is there, too")
	flag.DurationVar(&app.ReadyTimeout, "ready", 0, "App.ReadyTimeout")
	flag.DurationVar(&app.Probation, "probation", 0, "App.Probation")
	flag.DurationVar(&app.DrainTimeout, "drain", 0, "App.DrainTimeout")
	chdir := flag.String("chdir", "", "`directory` to go to")
	closeStdin := flag.Bool("close-stdin", false, "close os.Stdin")
	second := flag.Bool("second", false, "run a second App beside the first")
	flag.Parse()

	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})))
	app.Name = "service"
	app.Check = func(context.Context) error {
		go step.At("standby") // for an order at any time
		return step.At("check")
	}
	app.OnState = func(s gracerun.State) { step.At(s.String()) }
	if *closeStdin {
		os.Stdin.Close()
	}
	if *chdir != "" {
		if err := os.Chdir(*chdir); err != nil {
			slog.Error("chdir", "error", err)
		}
	}
	var other sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	app.Setup = func(context.Context) error {
		if *second && app.Status().Generation == 1 {
			other.Go(func() { runSecond(ctx, app.RunDir) })
		}
		return setup(&app, *addr)
	}
	app.Main()
	cancel()
	other.Wait()
}

// setup registers everything. The order "serve ADDRESS" adds an address.
func setup(app *gracerun.App, addr string) error {
	srv := &http.Server{Handler: handler(app)}
	app.Serve("tcp", addr, srv)
	app.Serve("unix", filepath.Join(app.RunDir, "web.sock"), srv)
	err := step.At("setup")
	var order *step.Order
	if errors.As(err, &order) && order.Verb == "serve" {
		app.Serve("tcp", order.Words, srv)
		return nil
	}
	return err
}

func handler(app *gracerun.App) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "generation %d pid %d\n", app.Status().Generation, os.Getpid())
	})
	mux.HandleFunc("GET /sleep", func(w http.ResponseWriter, r *http.Request) {
		d, _ := time.ParseDuration(r.FormValue("d"))
		time.Sleep(d)
		fmt.Fprintf(w, "slept %v\n", d)
	})
	mux.HandleFunc("GET /wait", func(w http.ResponseWriter, r *http.Request) { // until the test says so
		step.At("wait")
		fmt.Fprintf(w, "waited in pid %d\n", os.Getpid())
	})
	mux.HandleFunc("GET /shell", func(w http.ResponseWriter, r *http.Request) { // what a command of the service sees, and does
		text, err := exec.Command("sh", "-c", r.FormValue("c")).Output()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Write(text)
	})
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err == nil {
			w.Write(body)
		}
	})
	mux.HandleFunc("GET /goroutines", func(w http.ResponseWriter, r *http.Request) {
		runtime.GC() // closes what nobody refers to any more
		pprof.Lookup("goroutine").WriteTo(w, 1)
	})
	return mux
}

// runSecond runs another App, which is not part of the hand-over.
func runSecond(ctx context.Context, runDir string) {
	app := gracerun.App{Name: "second", RunDir: runDir}
	app.Serve("unix", filepath.Join(runDir, "second.sock"), &http.Server{Handler: handler(&app)})
	slog.Info("second App", "error", app.Run(ctx))
}
