//go:build linux

// Command children is a service that starts commands at every time of its life.
package main

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/gracerun/grace/gracerun"
	"github.com/gracerun/grace/test/load/web"
	"github.com/gracerun/grace/test/testdata/loss/children/probe"
)

var _ = probe.Look("package variable")

func init() { probe.Look("init") }

func main() {
	// Package time opens the file of the local zone without close-on-exec, when
	// the first log record is written: not what is looked for here.
	time.Local = time.UTC
	probe.Look("main")
	app := &gracerun.App{
		RunDir:    os.Getenv("DIR"),
		Probation: 20 * time.Millisecond,
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	app.Setup = func(ctx context.Context) error {
		probe.Look("setup")
		go always(ctx, app)
		return nil
	}
	app.Check = func(context.Context) error { return probe.Look("check") }
	app.OnState = func(s gracerun.State) {
		if s == gracerun.StateDraining {
			app.Task("probe", func(context.Context) error {
				for range 5 {
					probe.Look("drain")
				}
				return nil
			})
		}
	}
	app.Go("probe", func(context.Context) error { return probe.Look("task") })
	app.Cleanup("probe", func(context.Context) error { return probe.Look("cleanup") })
	app.Serve("unix", os.Getenv("DIR")+"/http.sock",
		&http.Server{Handler: web.Handler(func() int { return app.Status().Generation })})
	app.Main()
}

// always starts one command after another, also while the service is replaced.
func always(ctx context.Context, app *gracerun.App) {
	for ctx.Err() == nil {
		probe.Look("while " + app.Status().State.String())
	}
}
