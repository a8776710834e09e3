package gracerun

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/gracerun/grace/gracerun/internal/control"
	"github.com/gracerun/grace/gracerun/internal/handoff"
	"github.com/gracerun/grace/gracerun/internal/systemd"
)

// UpgradeError says why an upgrade failed. Nothing has changed: the generation
// that tried it goes on as before.
type UpgradeError struct {
	// PID is that of the new process; 0 if there was none, or it never spoke.
	PID int
	// Stage is where it failed: "wait" (at the limit of generations), "start",
	// "init", "setup", "listen", "check", "probation" or "commit".
	Stage string
	// Err is the reason: the new process's own words where it had any.
	Err error
}

func (e *UpgradeError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("gracerun: upgrade failed at %s: %v", e.Stage, e.Err)
	}
	return fmt.Sprintf("gracerun: upgrade failed at %s (pid %d): %v", e.Stage, e.PID, e.Err)
}

// Unwrap returns e.Err.
func (e *UpgradeError) Unwrap() error { return e.Err }

func upgradeError(r *handoff.Refusal) *UpgradeError {
	return &UpgradeError{PID: r.PID, Stage: r.Stage, Err: r.Err}
}

// A request is one demand for an upgrade: by a signal, by a call of Upgrade, or
// by an older generation.
type request struct {
	at    time.Time
	reply chan error // of a call; gets one answer
	from  *handoff.Peer
	its   uint64 // from's number for it
	id    uint64 // ours, once it is passed on

	reload   bool               // for App.Reload, not an upgrade
	moves    bool               // who asked goes to the successor, if this generation is replaced first
	progress chan control.Event // nil, or what a caller wants to see; never waited for
	gaveUp   error              // the call's context ended
}

func (r *request) answer(err error) {
	switch {
	case r.reply != nil:
		if err != nil && r.gaveUp != nil && !errors.Is(err, r.gaveUp) {
			err = fmt.Errorf("%w (%w)", err, r.gaveUp)
		}
		r.reply <- err
	case r.from != nil:
		var refusal *handoff.Refusal
		if up := new(UpgradeError); errors.As(err, &up) {
			refusal = &handoff.Refusal{PID: up.PID, Stage: up.Stage, Err: up.Err}
		} else if err != nil {
			refusal = &handoff.Refusal{Err: err}
		}
		r.from.Upgraded(r.its, refusal)
	}
}

// Upgrade replaces this process by the program that is now where it was started
// from. It returns nil when the successor has committed: then this generation
// is draining, and Run will return. An error is an [*UpgradeError], or
// [ErrNotReady], or [ErrDraining]: nothing has changed.
//
// A call that comes before the new process is started joins the upgrade under
// way; one that comes after asks for one more, so that the program installed
// last ends up running.
//
// When ctx ends, the upgrade is given up if it is not too late, and Upgrade
// returns when that is done. If somebody else asked for it, too, it goes on, and
// the error wraps [ErrUpgrading].
func (a *App) Upgrade(ctx context.Context) error { return a.upgrade(ctx, nil) }

// upgrade is Upgrade with a view of its steps, for who can ask the successor himself.
func (a *App) upgrade(ctx context.Context, progress func(control.Event)) error {
	l := a.running()
	if l == nil {
		return ErrNotReady
	}
	r := &request{at: time.Now(), reply: make(chan error, 1)}
	if progress != nil {
		r.progress, r.moves = make(chan control.Event, 32), true
	}
	if !l.post(occurrence{event: evUpgrade, request: r}) {
		return ErrDraining
	}
	done := ctx.Done()
	for {
		select {
		case ev := <-r.progress:
			progress(ev)
			continue
		case err := <-r.reply:
			for len(r.progress) > 0 {
				progress(<-r.progress)
			}
			return err
		case <-done:
			done = nil
			l.post(occurrence{call: func() { l.giveUp(r, context.Cause(ctx)) }})
			continue
		case <-l.done:
		}
		select { // Run ended, maybe because of this very upgrade
		case err := <-r.reply:
			return err
		default:
			return ErrDraining
		}
	}
}

// show tells the callers that wait for the upgrade how it goes.
func (l *life) show(ev control.Event) {
	ev.At = time.Now()
	for _, r := range l.up.current {
		select {
		case r.progress <- ev:
		default: // nobody looks, or not fast enough
		}
	}
}

// upgrades is what the owner of the state knows of upgrades. What the attempt or
// the drain look at, too, is guarded by life.mu.
type upgrades struct {
	current   []*request // who waits for the attempt under way
	queue     []*request // who asked after its child was started
	cancel    context.CancelCauseFunc
	spawned   bool // life.mu
	began     time.Time
	idle      chan struct{} // life.mu; closed while no attempt is under way
	forwarded map[uint64]*request
	lastID    uint64
}

// startUpgrade begins an attempt for r and for those in the queue.
func (l *life) startUpgrade(r *request) {
	u := &l.up
	u.current, u.queue = append(u.queue, r), nil
	u.began = u.current[0].at
	idle := make(chan struct{})
	var ctx context.Context
	ctx, u.cancel = context.WithCancelCause(context.Background())
	l.mu.Lock()
	u.spawned, u.idle, l.child = false, idle, handoff.Progress{}
	l.mu.Unlock()
	l.log.Info("upgrade asked for", "program", os.Args[0])
	l.sayUpgrading()
	limits := handoff.Limits{Ready: l.readyTimeout, Probation: l.probation, Drain: l.drainTimeout, Generations: l.generations}
	go func() {
		defer close(idle)
		err := l.self.Upgrade(ctx, limits, l.estate, l.progress)
		if err != nil {
			l.post(occurrence{event: evRefused, err: err})
		} else {
			l.giveManagerOver()
			l.post(occurrence{event: evCommitted})
		}
	}()
}

func (l *life) sayUpgrading() { l.herald.reloading("upgrading to " + os.Args[0]) }

// estate is called when the child is about to be started: from now on a request
// may mean a newer program than the one that runs.
func (l *life) estate() handoff.Estate {
	l.mu.Lock()
	l.up.spawned = true
	l.mu.Unlock()
	e := handoff.Estate{
		App: l.name, Version: l.version, Since: l.since, Asked: l.up.began, Lock: l.pid,
		Daemon: l.logs != nil, Dir: l.base, RunDir: l.runDir, History: l.handOnHistory(),
	}
	if l.manager != (systemd.Manager{}) {
		e.Manager, _ = json.Marshal(l.manager)
	}
	e.Between = l.herald != nil || l.anchored
	e.Handles, e.Conns = l.sockets.Handles()
	l.socket().estate(&e)
	return e
}

// handOnHistory is what the successor is to know of earlier upgrades.
func (l *life) handOnHistory() json.RawMessage {
	l.mu.Lock()
	defer l.mu.Unlock()
	text, err := json.Marshal(each(l.history, wireUpgrade))
	if err != nil {
		return nil
	}
	return text
}

// inheritHistory keeps what the predecessor knew.
func (l *life) inheritHistory(text json.RawMessage) {
	var list []control.Upgrade
	if json.Unmarshal(text, &list) == nil {
		l.history = each(list, upgradeOf)
	}
}

func (l *life) progress(p handoff.Progress) {
	if p.Stage == handoff.StageWait {
		l.log.Warn("upgrade waits: too many generations are alive", "limit", l.generations,
			"generation", p.For.Generation, "pid", p.For.PID)
	} else {
		l.log.Debug("upgrade", "stage", p.Stage, "pid", p.PID)
	}
	switch p.Stage {
	case handoff.StageProbation:
		l.yield.begin()
	case handoff.StageCommit:
		l.socket().pause()
	}
	l.mu.Lock()
	l.waitsFor = p.For
	l.child = p
	l.mu.Unlock()
	l.post(occurrence{call: func() { l.showProgress(p) }})
}

// showProgress says it in the words of the control socket.
func (l *life) showProgress(p handoff.Progress) {
	ev := control.Event{Event: "stage", PID: p.PID, Generation: l.self.Number() + 1, Version: p.Version, Stage: p.Stage}
	switch p.Stage {
	case handoff.StageWait:
		ev.Event, ev.PID, ev.Generation, ev.Stage = "waiting", p.For.PID, p.For.Generation, ""
	case handoff.StageStart, handoff.StageCommit:
		return // there is nothing to see yet; the result follows at once
	case handoff.StageInit:
		ev.Event, ev.Stage = "started", ""
	case handoff.StageProbation:
		ev.Event, ev.Stage = "serving", ""
		l.show(ev)
		if l.probation == 0 {
			return
		}
		ev.Event = "probation"
	}
	l.show(ev)
	l.touch()
}

// queueUpgrade joins the attempt under way, or asks for one more after it.
func (l *life) queueUpgrade(r *request) {
	l.mu.Lock()
	spawned := l.up.spawned
	l.mu.Unlock()
	if spawned {
		l.up.queue = append(l.up.queue, r)
		return
	}
	l.up.current = append(l.up.current, r)
	l.sayUpgrading() // the manager may ask, and what it has not read yet is older than that
}

// deferUpgrade keeps a signal until this generation is ready; a call gets its
// answer.
func (l *life) deferUpgrade(r *request) {
	if r.reply != nil {
		r.answer(ErrNotReady)
		return
	}
	l.up.queue = append(l.up.queue, r)
}

// giveUp takes back r, whose context has ended.
func (l *life) giveUp(r *request, cause error) {
	if i := slices.Index(l.up.queue, r); i >= 0 {
		l.up.queue = slices.Delete(l.up.queue, i, i+1)
		r.answer(&UpgradeError{Stage: handoff.StageWait, Err: cause})
		return
	}
	if l.up.forwarded[r.id] == r {
		delete(l.up.forwarded, r.id)
		r.answer(fmt.Errorf("%w: %w", ErrUpgrading, cause))
		return
	}
	i := slices.Index(l.up.current, r)
	if i < 0 {
		return // it has its answer
	}
	r.gaveUp = cause
	wanted := slices.ContainsFunc(l.up.current, func(r *request) bool { return r.gaveUp == nil })
	if wanted {
		l.up.current = slices.Delete(l.up.current, i, i+1)
		r.reply <- fmt.Errorf("%w: %w", ErrUpgrading, cause)
		return
	}
	l.up.cancel(fmt.Errorf("given up by who asked for it: %w", cause))
}

// endUpgrade records how the attempt went and answers those who asked for it.
func (l *life) endUpgrade(err error) {
	number := l.self.Number()
	result := UpgradeResult{From: number, To: number + 1, Took: time.Since(l.up.began), At: time.Now()}
	l.mu.Lock()
	result.PID = l.child.PID
	l.mu.Unlock()
	if refusal := new(handoff.Refusal); errors.As(err, &refusal) {
		l.socket().resume()
		l.repairPID(refusal.Stage)
		err = upgradeError(refusal)
		result.PID, result.Stage, result.Error = refusal.PID, refusal.Stage, refusal.Err.Error()
		reason := []any{"stage", refusal.Stage, "error", refusal.Err}
		if refusal.PID != 0 {
			reason = append([]any{"pid", refusal.PID}, reason...)
		}
		if l.state == StateDraining {
			l.log.Warn("upgrade given up: this generation is ending", reason...)
		} else {
			l.log.Error("upgrade failed: this generation serves on", reason...)
		}
	} else {
		l.log.Info("upgrade committed", "pid", result.PID, "took", result.Took)
	}
	l.mu.Lock()
	l.waitsFor = nil
	l.record(result)
	l.mu.Unlock()
	for _, r := range l.up.current {
		r.answer(err)
	}
	l.up.current = nil
	l.up.cancel(nil)
}

// repairPID is for the end of a successor, which may have written the pid file, but not
// lived until this process knew of its commit. What it had prepared goes, too.
func (l *life) repairPID(stage string) {
	switch {
	case l.pid == nil:
	case l.state == StateUpgrading && stage == handoff.StageCommit: // else the file is about to be removed
		l.writePID()
	default:
		l.pid.Sweep()
	}
}

// nextAfterRefusal says that the upgrade is over, and serves the queue.
func (l *life) nextAfterRefusal() {
	l.herald.ready(l.managerStatus())
	l.nextUpgrade()
}

// nextUpgrade serves the queue: what is this generation's business at once, the
// rest by passing it on.
func (l *life) nextUpgrade() {
	queue := l.up.queue
	l.up.queue = nil
	for _, r := range queue {
		switch {
		case l.state != StateReady:
			l.forwardUpgrade(r)
		case r.reload:
			l.handle(occurrence{event: evReload, request: r})
		default:
			l.up.queue = append(l.up.queue, r)
		}
	}
	if n := len(l.up.queue); n > 0 {
		r := l.up.queue[n-1]
		l.up.queue = l.up.queue[:n-1]
		l.handle(occurrence{event: evUpgrade, request: r})
	}
}

// forwardUpgrade passes r on to the successor: the program installed last is to
// end up running, whoever was asked.
func (l *life) forwardUpgrade(r *request) {
	s := l.self.Successor()
	switch {
	case s == nil || !s.Alive():
		if r.reply == nil && r.from == nil { // a signal, which nobody answers
			l.log.Warn("no upgrade: this generation is ending, and has no successor")
		}
		r.answer(ErrDraining)
		return
	case r.moves: // this generation may not live until it would have the answer
		r.answer(ErrDraining)
		return
	}
	l.up.lastID++
	if l.up.forwarded == nil {
		l.up.forwarded = map[uint64]*request{}
	}
	r.id = l.up.lastID
	l.up.forwarded[r.id] = r
	s.Upgrade(r.id, r.reload)
}

// forwardRest passes on what came in the last moment.
func (l *life) forwardRest() {
	if len(l.signals.hangup) > 0 { // nobody else reads it
		l.up.queue = append(l.up.queue, l.hangup().request)
	}
	l.nextUpgrade()
	if !l.meantForSuccessor() {
		return
	}
	if l.world.flush(l.signals); len(l.signals.stop) > 0 {
		l.stopAgain(l.stopSignal(<-l.signals.stop))
	}
}

// forwardedUpgrade is the answer of the successor.
func (l *life) forwardedUpgrade(ev handoff.Upgraded) {
	r := l.up.forwarded[ev.ID]
	if r == nil {
		return
	}
	delete(l.up.forwarded, ev.ID)
	if ev.Refusal == nil {
		r.answer(nil)
		return
	}
	r.answer(upgradeError(ev.Refusal))
}

// refuseForwarded answers what the successor no longer can.
func (l *life) refuseForwarded() {
	for _, id := range slices.Sorted(maps.Keys(l.up.forwarded)) {
		l.up.forwarded[id].answer(ErrDraining)
	}
	clear(l.up.forwarded)
}

// upgradeIdle returns a channel that is closed when no attempt is under way.
func (l *life) upgradeIdle() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.up.idle
}

func describe(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}
