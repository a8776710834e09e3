//go:build unix

package control

import (
	"os"
	"syscall"
)

// ownerIs reports whether the file belongs to the user.
func ownerIs(path string, uid int) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == uid
}
