//go:build linux

// Command fate is a service with one task of each kind, all of which meet the same
// fate. They leave a trace of it, and so does the service when it has ended.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gracerun/grace/gracerun"
	"github.com/gracerun/grace/test/testdata/task/trace"
)

type service struct {
	*gracerun.App
	trace *trace.Writer
	fate  string
	limit time.Duration
}

func main() {
	s := &service{App: &gracerun.App{
		Probation: 10 * time.Millisecond, Linger: -1,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}}
	flag.StringVar(&s.RunDir, "dir", ".", "`directory` of all files")
	flag.BoolVar(&s.Recover, "recover", false, "App.Recover")
	flag.DurationVar(&s.DrainTimeout, "drain", 0, "App.DrainTimeout")
	flag.DurationVar(&s.limit, "limit", 0, "App.Timeout of all tasks")
	flag.StringVar(&s.fate, "fate", "wait", "panic, wait or requeue")
	kinds := flag.String("kinds", "work,loop,every,cron,task", "which tasks there are")
	flag.Parse()
	var err error
	s.trace, err = trace.Open(s.RunDir, sync.OnceValue(func() int { return s.Status().Generation }))
	check(err)
	for kind := range strings.SplitSeq(*kinds, ",") {
		s.register(kind)
	}
	s.OnState = func(state gracerun.State) {
		if state == gracerun.StateDraining {
			s.trace.Say("drain", 0, "")
		}
	}
	s.Serve("unix", filepath.Join(s.RunDir, "http.sock"), &http.Server{Handler: trace.Handler(s.App)})
	err = s.Run(context.Background())
	s.trace.Say("returned", 0, strings.ReplaceAll(fmt.Sprint(err), "\n", "; "))
	for _, task := range s.Status().Tasks {
		s.trace.Say("requeued", int64(task.Requeued), task.Name)
		s.trace.Say("failed", int64(task.Failed), task.Name)
	}
	if err != nil {
		os.Exit(1)
	}
}

// register makes the task whose name is its kind.
func (s *service) register(kind string) {
	meet := func(ctx context.Context) error { return s.meet(ctx, kind) }
	switch kind {
	case "work":
		take := func(ctx context.Context) (struct{}, error) { return struct{}{}, ctx.Err() }
		gracerun.Work(s.App, kind, 1, take, func(ctx context.Context, _ struct{}) error { return meet(ctx) })
	case "loop":
		s.Loop(kind, meet)
	case "every":
		s.Every(kind, 20*time.Millisecond, meet)
	case "cron":
		s.Cron(kind, "* * * * *", meet)
		s.Go("prodder", func(context.Context) error {
			<-s.Ready()
			return s.Trigger(kind)
		})
	case "task":
		s.Go("beginner", func(context.Context) error { return s.Task(kind, meet) })
		return
	}
	if s.limit > 0 {
		s.Timeout(kind, s.limit)
	}
}

// meet is one run.
func (s *service) meet(ctx context.Context, task string) error {
	s.trace.Say("begin", 0, task)
	switch s.fate {
	case "panic":
		panic("as it is to be")
	case "wait":
		<-ctx.Done()
		s.trace.Say("ended", 0, task+": "+context.Cause(ctx).Error())
		return context.Cause(ctx)
	case "requeue":
		select {
		case <-gracerun.Draining(ctx):
			s.trace.Say("back", 0, task)
			return fmt.Errorf("as it is to be: %w", gracerun.Requeue)
		case <-ctx.Done():
			s.trace.Say("ended", 0, task+": "+context.Cause(ctx).Error())
		}
	}
	return nil
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
