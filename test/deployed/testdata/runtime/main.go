//go:build linux

// Command runtime is what podman takes for crun in the tests: it takes out of a
// container's description what a machine may not permit, and is crun then.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
)

func main() {
	args := os.Args[1:]
	for i, arg := range args {
		switch {
		case arg == "create":
			args = append([]string{"--cgroup-manager", "disabled"}, args...)
			simplify(filepath.Join(after(os.Args, "--bundle"), "config.json"))
		case arg == "exec":
			simplify(after(os.Args, "--process"))
		case arg == "--cgroup-manager" && i+1 < len(args):
			args[i+1] = "disabled"
		}
	}
	os.Setenv("PATH", "/usr/local/bin:/usr/bin:/bin") // conmon gives none
	crun, err := exec.LookPath("crun")
	if err == nil {
		err = syscall.Exec(crun, append([]string{"crun"}, args...), os.Environ())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// after is the word that follows a flag.
func after(args []string, flag string) string {
	i := slices.Index(args, flag)
	if i < 0 || i+1 == len(args) {
		return "."
	}
	return args[i+1]
}

// simplify takes limits out of a container's description, or of a process's in it.
func simplify(name string) {
	text, err := os.ReadFile(name)
	if err != nil {
		return // crun says what is missing
	}
	var spec map[string]any
	json.Unmarshal(text, &spec)
	for _, part := range []any{spec, spec["process"], spec["linux"]} {
		if m, ok := part.(map[string]any); ok {
			for _, key := range []string{"rlimits", "oomScoreAdj", "resources", "cgroupsPath"} {
				delete(m, key)
			}
		}
	}
	if text, err = json.Marshal(spec); err == nil {
		os.WriteFile(name, text, 0o600)
	}
}
