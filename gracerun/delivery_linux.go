package gracerun

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// awaitDelivery returns when package signal has each of these signals that was sent to this
// process until now, or after 100 ms. The kernel may have one that no thread has taken; and
// the thread that took one may not have told the runtime yet, of which nothing bears witness.
// But all signals are blocked in a handler: a thread that takes another signal has done with
// those before. SIGURG is the runtime's own, for its preemption, and means nothing. See
// proc_pid_status(5).
func awaitDelivery(signals ...unix.Signal) {
	const patience = 100 * time.Millisecond // a thread of C may block all of them
	limit := time.Now().Add(patience)
	await := func(status, set string, signals ...unix.Signal) {
		for isPending(status, set, signals) && time.Now().Before(limit) {
			time.Sleep(100 * time.Microsecond)
		}
	}
	await("/proc/self/status", "ShdPnd", signals...)
	threads, _ := filepath.Glob("/proc/self/task/*")
	for _, thread := range threads {
		id, _ := strconv.Atoi(filepath.Base(thread))
		_ = unix.Tgkill(os.Getpid(), id, unix.SIGURG) // it may have ended
	}
	for _, thread := range threads {
		await(thread+"/status", "SigPnd", unix.SIGURG)
	}
}

// isPending reports whether one of them is in that set of a process, or a thread.
func isPending(status, set string, signals []unix.Signal) bool {
	text, _ := os.ReadFile(status)
	_, rest, _ := strings.Cut(string(text), "\n"+set+":\t")
	line, _, _ := strings.Cut(rest, "\n")
	mask, _ := strconv.ParseUint(line, 16, 64)
	return slices.ContainsFunc(signals, func(s unix.Signal) bool { return mask&(1<<(s-1)) != 0 })
}
