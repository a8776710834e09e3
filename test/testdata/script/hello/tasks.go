package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/gracerun/grace/gracerun"
)

// addTasks registers one of each kind. Letters are files in the spool directory
// whose name ends with .letter, and which come whole; what they say is what happens to them:
//
//	hold    it is in hand until the file "go" is there, too
//	refuse  it cannot be sent
//	return  it is handed back, with the name letter.back
func (s *service) addTasks(spool string) {
	app := &s.app
	app.Go("feed", func(ctx context.Context) error {
		<-ctx.Done()
		return nil
	})
	app.Cron("report", "CRON_TZ=UTC 0 4 29 2 *", s.note("report"))
	app.Every("clean up", time.Hour, s.note("clean up"))
	app.Timeout("clean up", time.Minute)
	gracerun.Work(app, "mail", 2,
		func(ctx context.Context) (string, error) { return takeLetter(ctx, spool) },
		func(ctx context.Context, letter string) error { return s.send(ctx, spool, letter) })
}

// note is a task that says that it was done.
func (s *service) note(name string) func(context.Context) error {
	return func(context.Context) error {
		slog.Info("done", "task", name, "generation", s.app.Status().Generation)
		return nil
	}
}

// takeLetter waits for a letter, and has it to itself.
func takeLetter(ctx context.Context, spool string) (letter string, err error) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		list, err := filepath.Glob(filepath.Join(spool, "*.letter"))
		if err != nil {
			return "", err
		}
		for _, path := range list {
			if os.Rename(path, path+".taken") == nil {
				return filepath.Base(path), nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	return "", context.Cause(ctx)
}

func (s *service) send(ctx context.Context, spool, letter string) error {
	path := filepath.Join(spool, letter)
	text, err := os.ReadFile(path + ".taken")
	if err != nil {
		return err
	}
	switch strings.TrimSpace(string(text)) {
	case "hold":
		err = waitFor(ctx, filepath.Join(spool, "go"))
	case "refuse":
		err = errors.New("nobody of that name lives here")
	case "return":
		err = errors.Join(os.Rename(path+".taken", path+".back"), gracerun.Requeue)
	}
	if err == nil {
		slog.Info("sent", "letter", letter, "generation", s.app.Status().Generation)
	}
	return err
}

// addCommand registers "NAME=SCRIPT", for the shell.
func (s *service) addCommand(definition string) error {
	name, script, ok := strings.Cut(definition, "=")
	if !ok {
		return fmt.Errorf("command %q: NAME=SCRIPT is wanted", definition)
	}
	s.app.Supervise(gracerun.Command{
		Name: name, Failures: 3,
		Cmd: func(context.Context) *exec.Cmd { return exec.Command("/bin/sh", "-c", script) },
	})
	return nil
}
