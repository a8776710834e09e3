//go:build linux

// Package probe writes down what a command inherits: a line to the file PROBES,
// with the time of the service's life, the descriptors from 3 on, and the names
// of the variables, separated by tabs.
//
// It does so for the first time when it is initialised. It imports little, so
// that Go initialises it before most packages, all that need the network for
// example (the Go specification, "Program initialization").
package probe

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

func init() { Look("imported package") }

// Look starts a shell that waits for a line, and looks at it: it opens nothing by
// itself, and has closed what its start needed. The result is always nil.
func Look(when string) error {
	cmd := exec.Command("/bin/sh", "-c", "echo; read line")
	in, err := cmd.StdinPipe()
	check(err)
	out, err := cmd.StdoutPipe()
	check(err)
	check(cmd.Start())
	_, err = out.Read(make([]byte, 1))
	check(err)
	record(when, cmd.Process.Pid)
	in.Close()
	cmd.Wait() // "read" fails at the end of its input
	return nil
}

func record(when string, pid int) {
	proc := fmt.Sprintf("/proc/%d/", pid)
	entries, err := os.ReadDir(proc + "fd")
	check(err)
	var fds, names []string
	for _, e := range entries {
		if n := e.Name(); n != "0" && n != "1" && n != "2" {
			target, _ := os.Readlink(proc + "fd/" + n)
			fds = append(fds, n+"="+target)
		}
	}
	environ, err := os.ReadFile(proc + "environ")
	check(err)
	// What the kernel could not read whole (all of it ends with a zero) has names
	// that are cut: a shell that waits says nothing then, one that is gone too much.
	whole := strings.TrimSuffix(string(environ), "\x00")
	if len(whole) == len(environ) {
		stat, err := os.ReadFile(proc + "stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			panic(fmt.Sprintf("%s: the shell ended by itself: %s%v", when, stat, err))
		}
		return
	}
	for v := range strings.SplitSeq(whole, "\x00") {
		name, _, _ := strings.Cut(v, "=")
		names = append(names, name)
	}
	f, err := os.OpenFile(os.Getenv("PROBES"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	check(err)
	defer f.Close()
	_, err = fmt.Fprintf(f, "%s\t%s\t%s\n", when, strings.Join(fds, " "), strings.Join(names, " "))
	check(err)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
