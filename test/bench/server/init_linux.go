package server

import (
	"errors"
	"log"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// underInit is set in the environment of what [UnderInit] starts.
const underInit = "BENCH_UNDER_INIT"

// UnderInit starts the program once more, as the child of a process that does
// what process 1 does on a server: it adopts and reaps, and a SIGTERM does not end
// it. Some projects send one to their parent, which by then may be whoever took
// the place of a predecessor that has exited: here, that would be the benchmark.
// It returns in the child; the other process exits with its last descendant.
func UnderInit() {
	if os.Getenv(underInit) != "" {
		return
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		log.Fatal(os.NewSyscallError("prctl", err))
	}
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM)
	_, err := os.StartProcess(os.Args[0], os.Args, &os.ProcAttr{
		Env:   append(os.Environ(), underInit+"=1"),
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
	})
	if err != nil {
		log.Fatal(err)
	}
	for err == nil || errors.Is(err, syscall.EINTR) {
		_, err = syscall.Wait4(-1, nil, 0, nil)
	}
	os.Exit(0) // ECHILD: none is left
}
