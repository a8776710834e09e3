package gracerun

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gracerun/grace/gracerun/internal/command"
	"github.com/gracerun/grace/gracerun/internal/daemon"
	"github.com/gracerun/grace/gracerun/internal/verbs"
	"github.com/gracerun/grace/listener"
)

// App is a service. The zero value is ready to use: set fields and register
// work, then call [App.Main] or [App.Run]. The fields must not be changed after
// that. An App runs once.
type App struct {
	// Name is the service's name: of its run directory, its pid file and its
	// log records. "" means the base of os.Args[0]. It must be the same in all
	// generations, and two Apps that run at once need two names or two run
	// directories.
	Name string

	// Version is what the service calls its build. "" means the version or the
	// revision from the build information.
	Version string

	// RunDir is the directory for the pid file, the locks and the control
	// socket; it is created.
	// "" means $RUNTIME_DIRECTORY (systemd.exec(5)), /run/NAME for root,
	// $XDG_RUNTIME_DIR/NAME, or else a private directory (mode 0700) below
	// os.TempDir, called NAME-UID. The lock files in it, NAME.lock and one for
	// each Loop, Every and Cron, and for the commands, stay for ever: a lock on a
	// deleted file excludes no one.
	RunDir string

	// PIDFile is the file with the pid of the newest generation. "" means
	// RunDir/NAME.pid. The lock is beside it, with ".lock" for ".pid".
	PIDFile string

	// ReadyTimeout is how long a new generation may take until it serves.
	// 0 means 1 minute, negative no limit.
	ReadyTimeout time.Duration

	// Probation is how long a new generation serves, together with the old
	// one, before the old one lets go. If it dies in that time the old one
	// carries on. 0 means 500 ms, negative none.
	Probation time.Duration

	// DrainTimeout is how long work in hand may take to finish once the drain
	// has begun. Then its context is cancelled, and what does not end is named
	// in the error of Run. 0 means 30 s, negative no limit.
	DrainTimeout time.Duration

	// StopDelay is how long the service, when it is told to stop, goes on as before
	// while [App.ReadyHandler] says that it is not ready: so load balancers look
	// elsewhere before the drain begins. DrainTimeout counts from its end. It holds
	// for SIGTERM, the stop verb and the end of Run's context; a second SIGTERM, and
	// SIGINT, go on to the drain at once, and an upgrade has no delay: the successor
	// is ready. 0 and negative mean none.
	StopDelay time.Duration

	// Linger is how long, in a drain, an idle keep-alive connection may wait
	// for a last request. A connection that has never sent a byte gets 5 s
	// more; with TLS, one that has not asked for anything yet gets them after
	// each byte. 0 means 1 s, negative none.
	Linger time.Duration

	// Generations is how many generations may be alive at once, draining ones
	// and the new one included. At the limit an upgrade waits for the oldest.
	// 0 means 4, negative no limit; 1 allows no upgrade and is a fault.
	Generations int

	// StablePID has the process that was started stay, with its pid, over all
	// upgrades: the service runs in a child of it, and so do its successors. It
	// executes the program once more to be a small process that passes signals on,
	// reaps orphans, and ends as the service does. So main runs twice up to Run, as
	// it does for an upgrade. It is for supervisors that follow the pid which they
	// have started. It is always so in process 1 of a container, and the run verb
	// does it unasked where it sees such a supervisor: an init (its parent is process
	// 1), systemd with Type=simple or exec, supervisord. The start verb does not use
	// it. On systems without upgrades it changes nothing.
	StablePID bool

	// Setup opens what the service needs and registers work. It runs in each
	// process that will serve, before its sockets open and within
	// ReadyTimeout. An error ends the start, or refuses the upgrade, and its
	// words reach whoever asked for it. ctx lasts through the drain and
	// carries [Draining].
	Setup func(ctx context.Context) error

	// Check is the last gate before the commit: the servers run, and an error
	// means that the old generation serves on. In the first generation an
	// error ends the start. ctx ends when the start is given up.
	Check func(ctx context.Context) error

	// Health says whether the process is still of use: nil means yes. It is asked
	// by [App.LiveHandler], and the watchdog of the service manager is kept only
	// while it returns nil: after an error, or when it takes too long, the service is
	// restarted. So it is about this process (a deadlock, a pool that does not
	// recover), not about others that it needs. It is called from the first ready
	// until the first Cleanup, in the drain, too, and may be called by several at
	// once. ctx ends when nobody waits for the answer any more. nil means yes.
	Health func(ctx context.Context) error

	// Reload rereads the configuration, in this process. It should look at all
	// of it before it uses any: after an error the service goes on as before,
	// and the error reaches whoever asked. One call at a time. nil means that
	// the service is reloaded by an upgrade.
	Reload func(ctx context.Context) error

	// Hangup is what SIGHUP and the reload verb mean. The default is an
	// upgrade.
	Hangup Hangup

	// OnState is told each state that the App enters, in order. StateReady
	// comes again after a refused upgrade. The App waits for it, so that it
	// must not block, nor wait for the App: a call of Upgrade in it never
	// returns.
	OnState func(State)

	// Recover has a panic of a task (Go, Loop, Every, Cron, Work, Task) be an
	// error of that run, logged with its stack. Without it, it is a crash, as in
	// any goroutine. Those of handlers are the business of their server.
	Recover bool

	// Logger is where the App says what it does. nil means slog.Default().
	Logger *slog.Logger

	// Daemon is what the start verb does before it runs the service in the
	// background. Run does not use it.
	Daemon Daemon

	// ListenConfig opens sockets. nil means the zero net.ListenConfig. Its
	// keep-alive settings also hold for sockets that were inherited.
	ListenConfig *net.ListenConfig

	mu     sync.Mutex
	phase  phase
	faults []error
	work   registry
	ready  chan struct{} // see Ready
	life   *life         // from Run on
	set    *listener.Set
}

// Daemon describes the process that the start verb makes. Paths must be absolute;
// with Chroot they are those inside it, as are App.RunDir and App.PIDFile.
type Daemon struct {
	// Dir is the working directory. "" means "/".
	Dir string

	// Umask is the file mode creation mask, umask(2). 0 means 022, negative
	// leaves that of the shell.
	Umask int

	// User and Group are whom the service runs as, by name or number, with the
	// supplementary groups of the user. "" leaves them; with User alone the
	// group is the user's own. Addresses that were registered before Main are
	// opened first, so that a privileged port can be among them. Only root can
	// change them.
	User, Group string

	// Chroot is the root directory, chroot(2). "" means none. The program must
	// be there, too, at the same path, or no upgrade could find it.
	Chroot string

	// Output is where standard output goes: a file, which is opened for
	// appending and again on SIGUSR1 (logrotate(8)), or "journal" or "syslog",
	// which get each line with its level. "" means the null device.
	Output string

	// ErrorOutput is where standard error goes. "" means the same as Output.
	ErrorOutput string

	// Env is added to the environment of the shell, "KEY=value".
	Env []string

	// NoNewPrivs keeps the service, and what it starts, from gaining privileges
	// by execve(2) (PR_SET_NO_NEW_PRIVS in prctl(2)).
	NoNewPrivs bool

	// CoreLimit is the largest core dump in bytes (RLIMIT_CORE in
	// getrlimit(2)). 0 leaves that of the shell, negative means none.
	CoreLimit int64
}

// Hangup is what SIGHUP means.
type Hangup int

const (
	// HangupUpgrade replaces the process by the program that is now where it
	// was started from.
	HangupUpgrade Hangup = iota
	// HangupReload calls App.Reload, in this process.
	HangupReload
)

// phase says whether work may be registered.
type phase int

const (
	phaseNew phase = iota
	phaseBegun
	phaseSetup
	phaseFixed
)

// registry is what was registered, in order.
type registry struct {
	names     map[string]bool // of tasks, addresses and verbs
	addresses []*address
	servers   []server
	tasks     []*task
	timeouts  []timeout
	commands  []command.Spec
	cleanups  []cleanup
	verbs     []verbs.Verb
}

type cleanup struct {
	name string
	f    func(context.Context) error
}

// register runs f, which adds to a.work, where registration is allowed. An error
// of f is a fault that Run returns.
func (a *App) register(what string, f func(*registry) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.phase == phaseBegun || a.phase == phaseFixed {
		panic("gracerun: " + what + " after Run has begun: register work before Run or inside Setup")
	}
	if a.work.names == nil {
		a.work.names = map[string]bool{}
	}
	if err := f(&a.work); err != nil {
		a.faults = append(a.faults, fmt.Errorf("%s: %w", what, err))
	}
}

func (r *registry) take(name string) error {
	if r.names[name] {
		return errors.New("it is registered twice")
	}
	r.names[name] = true
	return nil
}

// Cleanup has f run when all work has ended, before Run returns: the last
// registered first. Each has 5 seconds; what fails or is late keeps no other
// from running, and is part of Run's error. In a new process that is refused
// before it serves, all of them together have 2 seconds: then it is killed.
func (a *App) Cleanup(name string, f func(context.Context) error) {
	a.register(fmt.Sprintf("Cleanup(%q)", name), func(r *registry) error {
		if f == nil {
			return errors.New("the function is nil")
		}
		r.cleanups = append(r.cleanups, cleanup{name, f})
		return nil
	})
}

// isNil also finds the nil *http.Server in an interface.
func isNil(v any) bool {
	if v == nil {
		return true
	}
	switch rv := reflect.ValueOf(v); rv.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Func, reflect.Chan, reflect.Interface:
		return rv.IsNil()
	}
	return false
}

// Ready returns a channel that is closed when the App is ready for the first
// time. If it never is, Run returns the reason.
func (a *App) Ready() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ready == nil {
		a.ready = make(chan struct{})
	}
	return a.ready
}

// Sockets returns the App's own set of descriptors, from Setup on: a socket that
// it opens, or a file that is added to it, is handed to the next generation,
// too. It is nil before.
func (a *App) Sockets() *listener.Set {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.set
}

func (a *App) name() string {
	if a.Name != "" {
		return a.Name
	}
	return filepath.Base(os.Args[0])
}

func (a *App) version() string {
	if a.Version != "" {
		return a.Version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(len(s.Value), 12)]
		}
	}
	return strings.Trim(info.Main.Version, "()") // "(devel)" without version control
}

func (a *App) logger() *slog.Logger {
	if a.Logger != nil {
		return a.Logger
	}
	return slog.Default()
}

// running returns the App's life, from Run on, else nil.
func (a *App) running() *life {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.life
}

// cleanups returns those registered until now: a Setup that hangs may still
// register more.
func (a *App) cleanups() []cleanup {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.work.cleanups)
}

// fix ends registration and returns what was registered.
func (a *App) fix() registry {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.phase = phaseFixed
	return a.work
}

// limit resolves a time: 0 is the default, negative no limit or none, which is 0
// from here on.
func limit(d, byDefault time.Duration) time.Duration {
	switch {
	case d == 0:
		return byDefault
	case d < 0:
		return 0
	}
	return d
}

// The times that the App goes by; 0 is no limit, or none.
func (a *App) readyLimit() time.Duration     { return limit(a.ReadyTimeout, time.Minute) }
func (a *App) probationLimit() time.Duration { return limit(a.Probation, 500*time.Millisecond) }
func (a *App) drainLimit() time.Duration     { return limit(a.DrainTimeout, 30*time.Second) }
func (a *App) delayLimit() time.Duration     { return limit(a.StopDelay, 0) }

// check returns all that is wrong with the App before it runs.
func (a *App) check() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	faults := a.faults
	if n := a.name(); n == "" || n == "." || n == ".." || strings.ContainsAny(n, "/\x00") {
		faults = append(faults, fmt.Errorf("the name %q cannot be that of a file: set App.Name", n))
	}
	if a.Generations == 1 {
		faults = append(faults, errors.New("the limit Generations is 1: an upgrade needs two, the old one and the new"))
	}
	if a.Hangup == HangupReload && a.Reload == nil {
		faults = append(faults, errors.New("Hangup is HangupReload, and Reload is nil: set it"))
	}
	if len(faults) > 0 {
		return &faultError{errors.Join(faults...)}
	}
	return nil
}

// A faultError is what is wrong with an App, whatever it runs as: Exec has an exit
// status for it.
type faultError struct{ error }

func (e *faultError) Unwrap() error        { return e.error }
func (e *faultError) Is(target error) bool { return target == daemon.ErrConfig }
