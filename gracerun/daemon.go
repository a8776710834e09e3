package gracerun

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gracerun/grace/gracerun/internal/daemon"
	"github.com/gracerun/grace/gracerun/internal/handoff"
	"github.com/gracerun/grace/gracerun/internal/systemd"
	"github.com/gracerun/grace/listener"
	"github.com/gracerun/grace/pidfile"
)

// launch starts the service as a daemon, and returns its pid when it is ready.
// The launcher is generation 0: it takes the lock, opens the ports that only root
// may open, and hands both over as in an upgrade.
func (a *App) launch(ctx context.Context, passed systemd.Sockets) (pid int, err error) {
	if err := handoff.AbsoluteName(); err != nil {
		return 0, err
	}
	if err := a.check(); err != nil {
		return 0, err
	}
	base := workingDirectory()
	where, err := a.place(base)
	if err != nil {
		return 0, err
	}
	plan, err := a.plan(where)
	if err != nil {
		return 0, err
	}
	if err := plan.Prepare(); err != nil {
		return 0, err
	}
	defer plan.Close()
	lock, err := pidfile.Acquire(plan.Outside(where.pidFile))
	if err != nil {
		return 0, err
	}
	defer lock.Close()
	pid, err = a.deliver(ctx, plan, passed, base, where.dir, lock)
	if err != nil {
		lock.Remove() // what the daemon had prepared
		clearFiles(plan, where)
	}
	return pid, startError(err)
}

// deliver starts the daemon, and leaves it the lock and the sockets.
func (a *App) deliver(ctx context.Context, plan *daemon.Plan, passed systemd.Sockets, base, runDir string, lock *pidfile.File) (pid int, err error) {
	sockets, err := a.privileged(ctx, plan, passed)
	if err != nil {
		return 0, err
	}
	now := time.Now()
	e := handoff.Estate{App: a.name(), Version: a.version(), Since: now, Asked: now, Lock: lock, Daemon: true, Dir: base, RunDir: runDir}
	e.Handles, e.Conns = sockets.Handles()
	pid, err = handoff.Start(ctx, launchOf(plan), a.startLimits(), e, func(handoff.Progress) {})
	if err == nil {
		sockets.Release() // their files are the daemon's
	}
	return pid, errors.Join(err, sockets.Close())
}

// clearFiles removes what a daemon left that was killed in its start. The launcher
// still has the lock, so that the files are nobody's.
func clearFiles(plan *daemon.Plan, where place) {
	for _, path := range []string{where.pidFile, where.socket} {
		path = plan.Outside(path)
		if info, err := os.Lstat(path); err == nil && info.Mode()&(fs.ModeDir|fs.ModeSymlink) == 0 {
			os.Remove(path)
		}
	}
}

func (a *App) plan(where place) (*daemon.Plan, error) {
	d := a.Daemon
	return daemon.Config{
		Name: a.name(), Args: os.Args, RunDir: where.dir, PIDFile: where.pidFile,
		Dir: d.Dir, Umask: d.Umask, User: d.User, Group: d.Group, Chroot: d.Chroot,
		Output: d.Output, ErrorOutput: d.ErrorOutput, Env: d.Env, NoNewPrivs: d.NoNewPrivs, CoreLimit: d.CoreLimit,
	}.Resolve()
}

func launchOf(p *daemon.Plan) handoff.Launch {
	l := handoff.Launch{
		Program: p.Program, Args: p.Args, Env: p.Env, Dir: p.Dir, Chroot: p.Chroot,
		Umask: p.Umask, NoNewPrivs: p.NoNewPrivs, CoreLimit: p.CoreLimit,
		Output: p.Output, ErrorOutput: p.ErrorOutput,
	}
	if id := p.Identity; id != nil {
		l.Credential = &handoff.Credential{UID: id.UID, GID: id.GID, Groups: id.Groups}
	}
	return l
}

func (a *App) startLimits() handoff.Limits {
	return handoff.Limits{Ready: a.readyLimit(), Drain: a.drainLimit()}
}

// privileged opens what is registered already, if the daemon will not be the
// user who may do so. Files of unix sockets are left to it: they are to be its
// own. What a service manager passed is the daemon's in any case.
func (a *App) privileged(ctx context.Context, plan *daemon.Plan, passed systemd.Sockets) (*listener.Set, error) {
	set := listener.Inherit(handlesOf(passed))
	set.ListenConfig = a.ListenConfig
	if plan.Identity == nil {
		return set, nil
	}
	work := a.work
	if err := work.activate(passed); err != nil {
		return nil, errors.Join(err, set.Close())
	}
	for _, ad := range work.addresses {
		var err error
		switch {
		case strings.HasPrefix(ad.network, "tcp"):
			_, err = set.Listen(ctx, ad.network, ad.address)
		case strings.HasPrefix(ad.network, "udp"):
			_, err = set.ListenPacket(ctx, ad.network, ad.address)
		}
		if err != nil {
			return nil, errors.Join(err, set.Close())
		}
	}
	return set, nil
}

// startError is a Refusal in the words of a start.
func startError(err error) error {
	r := new(handoff.Refusal)
	if !errors.As(err, &r) {
		return err
	}
	return fmt.Errorf("start failed at %s: %w", r.Stage, r.Err)
}

// found is where the verbs look for the service: in its own place or, for a user
// who asks after what root runs, in root's.
func (a *App) found() (place, error) {
	p, err := a.outside()
	if err != nil || a.Daemon.Chroot != "" {
		return p, err
	}
	if a.RunDir != "" || a.PIDFile != "" || os.Geteuid() == 0 || os.Getenv(runtimeDirectory) != "" {
		return p, nil
	}
	if held, _ := pidfile.Held(p.pidFile); held {
		return p, nil
	}
	roots := p
	roots.dir = systemDir(a.name())
	roots.pidFile = filepath.Join(roots.dir, filepath.Base(p.pidFile))
	roots.socket = filepath.Join(roots.dir, filepath.Base(p.socket))
	if held, _ := pidfile.Held(roots.pidFile); held {
		return roots, nil
	}
	return p, nil
}

// outside is the App's own place as it is seen from outside of a chroot.
func (a *App) outside() (place, error) {
	p, err := a.place(workingDirectory())
	if root := a.Daemon.Chroot; err == nil && root != "" {
		p.dir, p.pidFile, p.socket = filepath.Join(root, p.dir), filepath.Join(root, p.pidFile), filepath.Join(root, p.socket)
	}
	return p, err
}

// beDaemon is what each generation of a daemon does first.
func (l *life) beDaemon() (err error) {
	ignoreTerminal()
	d := l.app.Daemon
	l.logs, err = daemon.OpenLogs(d.Output, d.ErrorOutput, l.name)
	return err
}

// ownLogs is the commit for the logs: after the pid file, which says whom
// logrotate(8) tells, and before the launcher is told, who has our output until then.
func (l *life) ownLogs() {
	if l.logs == nil {
		return
	}
	if err := l.logs.Commit(); err != nil {
		l.log.Error("opening the logs", "error", err)
	}
}
