package gracerun

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gracerun/grace/gracerun/internal/command"
	"github.com/gracerun/grace/gracerun/internal/daemon"
	"github.com/gracerun/grace/gracerun/internal/handoff"
	"github.com/gracerun/grace/gracerun/internal/systemd"
	"github.com/gracerun/grace/listener"
	"github.com/gracerun/grace/pidfile"
)

// Run runs the service in the foreground: it takes the lock, calls Setup, opens
// the sockets, serves, and begins tasks. SIGHUP upgrades it. SIGTERM, SIGINT and
// the end of ctx drain it; a second SIGINT ends it at once.
//
// Run returns nil after an orderly drain, whether the service stopped or a
// successor took over; the process should then exit. It returns all faults of
// registration; a *[pidfile.LockedError] when the service runs already; the
// error of Setup, of a socket, of Check, of a server or a task that failed; and an error that wraps
// [ErrDrainTimeout], and names what was late, when the drain's deadline cut work.
func (a *App) Run(ctx context.Context) error {
	if err := a.keepPIDFirst(ctx); err != nil {
		return err
	}
	return a.run(ctx, outside())
}

// world is what the App needs from outside, so that a test can stand in for it.
type world struct {
	manager func() (systemd.Manager, systemd.Sockets, error) // nothing in a process that a predecessor started
	claim   func(name string) (generations, error)
	notify  func(signals)
	flush   func(signals)
	silent  func(signals)

	openControl func(*life)
}

// generations is a *handoff.Self.
type generations interface {
	Number() int
	Legacy() *handoff.Legacy
	Upgrade(context.Context, handoff.Limits, func() handoff.Estate, func(handoff.Progress)) error
	Events() <-chan any
	HUP() bool
	Stage(string)
	Serving(version string)
	Failed(stage string, err error)
	Commit(own func())
	Older() []*handoff.Peer
	Successor() *handoff.Peer
	Close()
}

func outside() world {
	return world{
		manager: func() (systemd.Manager, systemd.Sockets, error) { return readManager(startedPID()) },
		claim: func(name string) (generations, error) {
			self, err := handoff.Claim(name)
			if self == nil { // no interface around a nil pointer
				return nil, err
			}
			return self, err
		},
		notify: signals.notify,
		flush:  signals.flush,
		silent: signals.silence,

		openControl: (*life).openControl,
	}
}

// A life is one run of an App. Its goroutine, loop, owns the state; everybody
// else posts what happened.
type life struct {
	app          *App
	world        world
	log          *slog.Logger
	name         string
	version      string
	since        time.Time
	readyTimeout time.Duration // these are 0 for no limit, or none
	probation    time.Duration
	drainTimeout time.Duration
	stopDelay    time.Duration
	linger       time.Duration
	generations  int

	self     generations
	pid      *pidfile.File // nil where there are none
	lockLost bool          // the inherited lock's file was deleted, with those of tasks
	sockets  *listener.Set
	logs     *daemon.Logs // nil in the foreground
	work     registry     // as it is after Setup
	jobs     *jobs
	yield    yield

	herald   *herald // nil where no service manager listens
	anchored bool    // the process that was started is another one, which stays

	end         *end
	base        string // relative paths begin here, in all generations
	runDir      string
	controlPath string
	controlSet  *listener.Set // what the predecessor had there

	manager systemd.Manager // zero where there is none
	passed  systemd.Sockets // by the manager, to this generation or to one before
	parking parking

	stopTaking context.CancelFunc
	cut        context.CancelCauseFunc

	cleaning atomic.Bool // the cleanups have begun

	signals   signals
	caught    chan struct{} // closed when they are caught
	inbox     chan occurrence
	done      chan struct{} // closed when loop has ended
	broughtUp chan struct{} // closed when bringUp has ended

	// Of the loop alone.
	up        upgrades
	re        reloads
	interrupt bool // there was a SIGINT
	announced bool
	orphan    bool // the predecessor died before this generation served
	owner     bool
	stopping  bool // while an upgrade was under way
	fault     error
	delayed   *occurrence // the stop that App.StopDelay holds back

	toldManager string // last, as the status

	mu        sync.Mutex
	state     State
	stage     string // of the start
	served    bool   // accept loops run
	control   *controlSocket
	commands  *command.Supervisor // nil where there are none
	deadline  time.Time
	takesEnd  time.Time // of App.StopDelay; zero = it is not under way
	leaving   error     // why the service takes no new work; nil = it does
	leftAt    time.Time // since when
	history   []UpgradeResult
	failed    int                      // upgrades, in this process
	said      map[*handoff.Peer]report // by older generations, last
	waitsFor  *handoff.Peer            // an upgrade does, for room
	child     handoff.Progress         // of the upgrade under way
	lateNames []string

	reloadFailed time.Time // when App.Reload failed
	reloadError  string    // of its last call; "" = it succeeded, or there was none

	followed      bool      // by the service manager: this is its main process
	followedUntil time.Time // when it was the last time
	handedOver    bool      // the manager follows the successor

	changed chan struct{} // closed, and made anew, when the status has changed
}

// An occurrence is an event with what came with it.
type occurrence struct {
	event   event
	err     error
	why     string   // evStop
	now     bool     // evStop: without App.StopDelay
	request *request // evUpgrade, evReload
	call    func()   // no event: the loop only calls it
}

func (a *App) run(ctx context.Context, w world) error {
	if !a.begin() {
		return errors.New("gracerun: Run was called twice: an App runs once")
	}
	if err := handoff.AbsoluteName(); err != nil { // first: it may settle the name
		return fmt.Errorf("gracerun: %w", err)
	}
	l := a.newLife(ctx)
	l.world = w
	l.askManager()
	go func() { // before anything slow, for an early HUP kills, but beside the rest
		w.notify(l.signals)
		close(l.caught)
	}()
	defer func() {
		<-l.caught
		w.silent(l.signals)
	}()
	err := l.claim()
	if err == nil {
		err = l.loop(ctx)
	}
	close(l.done)
	l.herald.close(err)
	return err
}

// claim makes this process a generation of its service.
func (l *life) claim() (err error) {
	if l.self, err = l.world.claim(l.name); err == nil {
		err = l.prepare()
	}
	if err != nil {
		if held := new(pidfile.LockedError); errors.As(err, &held) && held.PID != 0 {
			err = &runningError{held, handoff.Inherited()}
		}
		if l.self != nil {
			l.self.Failed(handoff.StageInit, err)
			l.self.Close()
		}
		return fmt.Errorf("gracerun: %w", err)
	}
	l.app.mu.Lock()
	l.app.life = l
	l.app.mu.Unlock()
	if !l.replaces() { // else when the sockets are adopted, and when it owns the service
		l.world.openControl(l)
		l.socket().serve(l.service(), l.log)
	}
	return nil
}

// begin reports whether the App has not run yet.
func (a *App) begin() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.phase != phaseNew {
		return false
	}
	a.phase = phaseBegun
	if a.ready == nil {
		a.ready = make(chan struct{})
	}
	return true
}

func (a *App) setPhase(p phase) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.phase = p
}

func (a *App) newLife(ctx context.Context) *life {
	l := &life{
		app: a, name: a.name(), version: a.version(), since: time.Now(),
		readyTimeout: a.readyLimit(),
		probation:    a.probationLimit(),
		drainTimeout: a.drainLimit(),
		stopDelay:    a.delayLimit(),
		linger:       limit(a.Linger, time.Second),
		generations:  a.Generations,
		jobs:         newJobs(),
		signals:      newSignals(),
		caught:       make(chan struct{}),
		inbox:        make(chan occurrence),
		done:         make(chan struct{}),
		broughtUp:    make(chan struct{}),
		changed:      make(chan struct{}),
		said:         map[*handoff.Peer]report{},
	}
	if l.generations == 0 {
		l.generations = 4
	}
	_, l.anchored = handoff.Anchored()
	l.up.idle = make(chan struct{})
	close(l.up.idle)
	l.end, l.stopTaking, l.cut = newEnd(ctx)
	return l
}

// prepare takes what must be had before Setup: the lock, and the inheritance.
func (l *life) prepare() error {
	a := l.app
	l.log = a.logger().With("service", l.name, "generation", l.self.Number())
	legacy := l.self.Legacy()
	if legacy != nil && legacy.Daemon {
		if err := l.beDaemon(); err != nil {
			return err
		}
	}
	if legacy != nil && legacy.Manager != nil {
		if err := json.Unmarshal(legacy.Manager, &l.manager); err != nil {
			return fmt.Errorf("what the predecessor says of the service manager: %w", err)
		}
	}
	l.beginHerald()
	if err := a.check(); err != nil {
		return err
	}
	l.inherit(legacy)
	place, err := a.placeIn(l.base, l.runDir)
	if err != nil {
		return err
	}
	if place.private && l.herald != nil && !l.replaces() {
		l.log.Warn("root's verbs do not find this service: set RuntimeDirectory= in its unit", "run_dir", place.dir)
	}
	if err := place.make(); err != nil {
		return err
	}
	l.runDir, l.controlPath = place.dir, place.socket
	l.pid, err = l.takeLock(place.pidFile, legacy)
	if errors.Is(err, errors.ErrUnsupported) {
		l.log.Warn("no pid file, and no lock against a second start", "error", err)
		err = nil
	}
	return err
}

// inherit takes what a predecessor left, if there is one.
func (l *life) inherit(legacy *handoff.Legacy) {
	l.base = workingDirectory()
	var handles []listener.Handle
	var fds []int
	if legacy != nil {
		l.base, l.runDir = cmp.Or(legacy.Dir, l.base), legacy.RunDir
		l.inheritHistory(legacy.History)
	}
	if l.controlSet, handles, fds = takeControl(legacy); legacy == nil {
		handles, fds = l.inheritPassed()
	} else {
		l.passed = systemd.Passed(handles)
	}
	l.sockets = listener.Inherit(handles, fds)
	l.sockets.ListenConfig = l.app.ListenConfig
	l.app.mu.Lock()
	defer l.app.mu.Unlock()
	l.app.set = l.sockets
}

// replaces reports whether this generation has a predecessor that serves: the
// launcher of a daemon does not.
func (l *life) replaces() bool {
	legacy := l.self.Legacy()
	return legacy != nil && !legacy.Launched
}

// takeLock inherits the lock, or takes it. A lock whose file was deleted (by a
// cleaner of temporary directories, say) excludes nobody any more: then a new
// one is taken, so that an upgrade makes the service whole again.
func (l *life) takeLock(path string, legacy *handoff.Legacy) (*pidfile.File, error) {
	if legacy == nil || legacy.Lock == nil {
		return pidfile.Acquire(path)
	}
	if !deleted(legacy.Lock) {
		return pidfile.Adopt(path, legacy.Lock)
	}
	l.log.Warn("the lock file was deleted: taking a new one", "file", pidfile.LockPath(path))
	l.lockLost = true
	legacy.Lock.Close()
	return pidfile.Acquire(path)
}

// loop owns the state until the life is done.
func (l *life) loop(ctx context.Context) error {
	l.enter(StateStarting)
	<-l.caught // before Setup, which may be slow, and before HUP ends the child's own handler
	go l.start()
	if l.self.HUP() {
		l.up.queue = append(l.up.queue, l.hangup().request)
	}
	if l.herald != nil {
		go l.beatForManager()
	}
	ended := ctx.Done()
	for l.state != StateDone {
		select {
		case sig := <-l.signals.stop:
			l.handle(l.stopSignal(sig))
		case <-l.signals.hangup:
			l.handle(l.hangup())
		case <-l.signals.reopen:
			l.reopenBeside(l.reopenAll)
		case ev := <-l.self.Events():
			l.hear(ev)
		case o := <-l.inbox:
			if o.call != nil {
				o.call()
				continue
			}
			l.handle(o)
		case <-ended:
			ended = nil
			l.handle(occurrence{event: evStop, why: "Run's context ended: " + context.Cause(ctx).Error()})
		}
	}
	return l.fault
}

// post tells the loop. It returns false when the loop has ended.
func (l *life) post(o occurrence) bool {
	select {
	case l.inbox <- o:
		return true
	case <-l.done:
		return false
	}
}

func (l *life) stopSignal(sig os.Signal) occurrence {
	person := sig == syscall.SIGINT // who waits
	if person && l.interrupt {
		return occurrence{event: evQuit}
	}
	l.interrupt = l.interrupt || person
	return occurrence{event: evStop, why: sig.String(), now: person}
}

// hangup is what SIGHUP asks for.
func (l *life) hangup() occurrence {
	if l.app.Hangup == HangupReload {
		return occurrence{event: evReload, request: &request{at: time.Now(), reload: true}}
	}
	return occurrence{event: evUpgrade, request: &request{at: time.Now()}}
}

// handle is the one place where the state changes.
func (l *life) handle(o occurrence) {
	to, act := next(l.state, o.event)
	switch o.event {
	case evRefused:
		l.endUpgrade(o.err)
	case evCommitted:
		l.endUpgrade(nil)
		if l.stopping { // too late to give it up: the stop is the successor's
			l.self.Successor().Stop(l.app.stopLimit())
		}
		if l.delayed != nil { // it is the successor's
			l.endDelay(o)
		}
	case evGo:
		if act == doOwn {
			l.own()
		}
	}
	if to != l.state {
		if to == StateDraining && o.event != evCommitted {
			l.leave(o)
			if l.owner {
				l.herald.stop(l.leaving.Error())
			}
		}
		l.enter(to)
	}
	l.perform(act, o)
}

func (l *life) enter(s State) {
	l.mu.Lock()
	l.state = s
	l.mu.Unlock()
	l.touch()
	if l.app.OnState != nil {
		l.app.OnState(s)
	}
	if s == StateReady && !l.isReady() {
		close(l.app.ready)
	}
}

func (l *life) isReady() bool {
	select {
	case <-l.app.ready:
		return true
	default:
		return false
	}
}

func (l *life) perform(act action, o occurrence) {
	switch act {
	case doAnnounce:
		l.announce()
	case doOwn:
		l.beginOwning()
	case doDefer:
		l.deferUpgrade(o.request)
	case doUpgrade:
		l.startUpgrade(o.request)
	case doReload:
		l.startReload(o.request)
	case doWait:
		l.up.queue = append(l.up.queue, o.request)
	case doQueue:
		l.queueUpgrade(o.request)
	case doForward:
		l.forwardUpgrade(o.request)
	case doResume:
		l.nextAfterRefusal()
	case doAbort:
		l.stopping = true
		l.up.cancel(errors.New("the service is stopping"))
		l.beginDrain(o)
	case doDrain:
		l.beginDrain(o)
	case doIgnore:
		l.stopAgain(o)
	case doNote:
		l.failInDrain(o)
	case doCut:
		l.cutWork()
	case doExit:
		l.exit(o.err)
	case doQuit:
		err := fmt.Errorf("gracerun: interrupted twice; in hand were: %s", describe(l.inHandNames()))
		l.fault = errors.Join(l.fault, err)
	}
}
