package handoff

import "os"

// A Launch is how the first generation of a daemon is started.
type Launch struct {
	Program     string      // the file to execute, as seen inside Chroot
	Args        []string    // argv; Args[0] is the absolute, unresolved name
	Env         []string    // the whole environment; no name in it twice
	Dir         string      // working directory, as seen inside Chroot; "" = unchanged
	Chroot      string      // "" = none
	Credential  *Credential // nil = unchanged
	Umask       int         // negative = unchanged
	NoNewPrivs  bool        // PR_SET_NO_NEW_PRIVS in prctl(2)
	CoreLimit   int64       // bytes; negative = unchanged
	Output      *os.File    // open for appending; nil = the null device
	ErrorOutput *os.File
}

// Credential is who a daemon runs as.
type Credential struct {
	UID, GID uint32
	Groups   []uint32 // the supplementary groups
}
