package harness

import (
	"fmt"
	"strings"
)

// A Process is one of a service.
type Process struct {
	PID    int
	Parent int
	Group  int
	State  byte     // of /proc/PID/stat: R, S, D, T stopped, Z not reaped yet by its parent
	Args   []string // none for a zombie

	begin uint64 // in ticks after the boot
}

// String returns "pid 12 (S) svc -addr :0".
func (p Process) String() string {
	return strings.TrimSpace(fmt.Sprintf("pid %d (%c) %s", p.PID, p.State, strings.Join(p.Args, " ")))
}
