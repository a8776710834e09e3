//go:build linux

// Command supervisor is a service that supervises programs: as many of each kind as
// the file "commands" in its directory says, "count:20,crash:1". With -init as its first argument it has a parent that does what the
// first process of a system does: it adopts those that have lost theirs.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gracerun/grace/gracerun"
	"github.com/gracerun/grace/test/testdata/task/trace"
)

type service struct {
	*gracerun.App
	child string
}

func main() {
	beInit()
	s := &service{App: &gracerun.App{
		Probation: 10 * time.Millisecond, Linger: -1, Generations: 6,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}}
	flag.StringVar(&s.RunDir, "dir", ".", "`directory` of all files")
	flag.StringVar(&s.child, "child", "", "the `program` of most commands")
	flag.Parse()
	commands, err := os.ReadFile(filepath.Join(s.RunDir, "commands"))
	check(err)
	for command := range strings.SplitSeq(string(commands), ",") {
		kind, count, _ := strings.Cut(command, ":")
		n, err := strconv.Atoi(count)
		check(err)
		for i := range n {
			s.supervise(kind, i)
		}
	}
	s.Serve("unix", filepath.Join(s.RunDir, "http.sock"), &http.Server{Handler: trace.Handler(s.App)})
	s.Main()
}

// supervise adds the ith command of a kind. Of those that have output every other
// one has files for it.
func (s *service) supervise(kind string, i int) {
	c := gracerun.Command{Name: fmt.Sprint(kind, i)}
	c.Cmd = func(context.Context) *exec.Cmd { return exec.Command(s.child, kind, c.Name, s.RunDir) }
	switch kind {
	case "count":
		c.Restart = gracerun.RestartNever
		if i%2 == 0 {
			c.Output = filepath.Join(s.RunDir, c.Name+".stdout")
			c.ErrorOutput = filepath.Join(s.RunDir, c.Name+".stderr")
		}
	case "flood":
		c.Restart, c.Output = gracerun.RestartNever, filepath.Join(s.RunDir, c.Name+".stdout")
	case "flicker":
		c.Backoff, c.Failures = -1, -1
	case "crash":
		c.Backoff, c.MaxBackoff, c.Failures = 40*time.Millisecond, 5*time.Second, 5 // who runs for so long begins anew
	case "stubborn":
		c.StopTimeout = 300 * time.Millisecond
	case "bomb":
		c.Backoff, c.Failures, c.StopTimeout = 10*time.Millisecond, -1, 100*time.Millisecond
	case "shell":
		// It opens nothing by itself.
		c.Cmd = func(context.Context) *exec.Cmd {
			return exec.Command("/bin/sh", "-c", "while :; do sleep 1000 & wait; done")
		}
		c.RestartOnUpgrade = true
	}
	s.Supervise(c)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
