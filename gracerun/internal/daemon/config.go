package daemon

import (
	"errors"
	"os"
)

// ErrConfig is what [Config.Resolve] finds: a daemon that cannot run as it is
// described.
var ErrConfig = errors.New("the daemon cannot run as it is configured")

// Where output may go instead of into a file.
const (
	Journal = "journal"
	Syslog  = "syslog"
)

// Config describes a daemon. Paths are absolute, and with Chroot those inside it.
type Config struct {
	Name    string   // of the service
	Args    []string // its command line; the name in it is absolute, as an upgrade will look for it
	RunDir  string   // "" means none
	PIDFile string   // "" means none

	// As in gracerun.Daemon.
	Dir                 string
	Umask               int
	User, Group         string
	Chroot              string
	Output, ErrorOutput string
	Env                 []string
	NoNewPrivs          bool
	CoreLimit           int64
}

// A Plan is a Config in which nothing was found wrong, in the terms of the
// system.
type Plan struct {
	Program    string // as seen inside Chroot
	Args       []string
	Env        []string // all of it
	Dir        string
	Chroot     string    // "" means none
	Identity   *Identity // nil means unchanged
	Umask      int       // negative means unchanged
	NoNewPrivs bool
	CoreLimit  int64 // in bytes, negative means unchanged

	// Output and ErrorOutput are open for appending once [Plan.Prepare] has
	// succeeded, and may be one file. nil means that it is no file.
	Output, ErrorOutput *os.File

	config Config
}

// Identity is whom a process runs as.
type Identity struct {
	UID, GID uint32
	Groups   []uint32 // the supplementary ones

	name, home string
}

// A fault is one thing that is wrong with a Config.
type fault struct {
	what   string // the field, and its value
	err    error
	remedy string
}

func (f *fault) Error() string        { return f.what + ": " + f.err.Error() + ": " + f.remedy }
func (f *fault) Unwrap() error        { return f.err }
func (f *fault) Is(target error) bool { return target == ErrConfig }
