//go:build unix

package gracerun

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func notifyReopen(c chan<- os.Signal) { signal.Notify(c, syscall.SIGUSR1) }

// outliveJournal has the process survive the journal that its output goes to. systemd has
// SIGPIPE ignored in what it starts, and the Go runtime does not inherit that: a line to
// a journal that has ended would be the end of the process. Caught, it is an error of the write.
func outliveJournal() {
	stream := os.Getenv("JOURNAL_STREAM") // systemd.exec(5); others than its owner inherit it, too
	for _, f := range []*os.File{os.Stdout, os.Stderr} {
		info, err := f.Stat()
		if err != nil {
			continue
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && fmt.Sprintf("%d:%d", st.Dev, st.Ino) == stream {
			signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
			return
		}
	}
}

// ignoreTerminal is for a daemon: no terminal stops it.
func ignoreTerminal() { signal.Ignore(syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU) }
