package listener

import (
	"os"
	"runtime"
	"sync"
)

// adoptAll makes entries of inherited descriptors. All processors help: a
// thousand sockets take one of them some milliseconds, in which no new process
// answers.
func adoptAll(handles []Handle, fds []int) []*entry {
	entries := make([]*entry, len(fds))
	share := max(64, len(fds)/runtime.GOMAXPROCS(0)+1) // a goroutine for fewer costs more than it saves
	var wg sync.WaitGroup
	for from := 0; from < len(fds); from += share {
		to := min(from+share, len(fds))
		adopt := func() {
			var a adopter
			defer a.close()
			for i := from; i < to; i++ {
				entries[i] = a.adopt(handles[i], fds[i])
			}
		}
		if to < len(fds) {
			wg.Go(adopt)
		} else {
			adopt()
		}
	}
	wg.Wait()
	return entries
}

// adopt takes fd over.
func (a *adopter) adopt(h Handle, fd int) *entry {
	e := &entry{Handle: h, owner: predecessor}
	if h.Name == "" {
		if e.conn, e.err = a.socket(h.Network, fd); e.err == nil {
			if h.Parked && h.Path == "" { // it comes from who kept it
				e.identify() // without its file nobody finds it anyway
			}
			return e
		}
	}
	f := os.NewFile(uintptr(fd), e.name())
	closeOnExec(f)
	e.conn = f
	return e
}
