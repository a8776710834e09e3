package systemd

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// Adopted reports whether the process pid has the same parent as this one: for the main
// process of a unit that is the manager. Only then is [Notifier.HandOver] to it safe.
// systemd calls any other main process alien: it does not notice its end, and has no
// patience with it, but kills it in the moment after it has told it to stop (seen with
// systemd 252 and 257). A process is adopted when its parent has exited.
func Adopted(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(text[bytes.LastIndexByte(text, ')')+1:], []byte(" ")) // the name may have anything in it
	fields := bytes.Fields(rest)
	return len(fields) > 1 && string(fields[1]) == strconv.Itoa(os.Getppid())
}
