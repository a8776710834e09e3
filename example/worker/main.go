// Command worker does the three kinds of work that are no connections: items of
// a queue, a loop, and something periodic. It logs when each begins and ends.
package main

import (
	"context"
	"flag"
	"log/slog"
	"time"

	"github.com/gracerun/grace/gracerun"
)

func main() {
	var app gracerun.App
	flag.StringVar(&app.RunDir, "rundir", "", "run `directory`")
	flag.Parse()
	queue := make(chan int)
	run := func(task string, item int, d time.Duration) error {
		log := slog.With("task", task, "item", item, "generation", app.Status().Generation)
		log.Info("begin")
		defer log.Info("end")
		time.Sleep(d)
		return nil
	}
	go func() {
		for i := 0; ; i++ {
			queue <- i // in this process alone: a real queue outlives it
		}
	}()
	gracerun.Work(&app, "consumer", 2, func(ctx context.Context) (int, error) {
		select {
		case item := <-queue:
			return item, nil
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}, func(ctx context.Context, item int) error { return run("consumer", item, 300*time.Millisecond) })
	app.Loop("loop", func(context.Context) error { return run("loop", 0, 500*time.Millisecond) })
	app.Every("tick", time.Second, func(context.Context) error { return run("tick", 0, 200*time.Millisecond) })
	app.Main()
}
