package handoff

import (
	"cmp"
	"context"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/gracerun/internal/handoff/early"
)

// Start starts a daemon, and returns its pid when it has taken the service over.
// The launcher is generation 0: it hands over to generation 1 as each generation
// does to the next, without a probation, so that the daemon's own words are the
// reason of a failure. An error is a *Refusal, and nothing is left. The end of ctx
// gives the start up, if it is not too late.
//
// All descriptors from 3 on become close-on-exec. SIGHUP is ignored for a moment,
// and who was notified of it then no longer is.
func Start(ctx context.Context, l Launch, limits Limits, e Estate, progress func(Progress)) (pid int, err error) {
	d, err := prepare(l, e)
	if err != nil {
		return 0, &Refusal{Stage: StageStart, Err: err}
	}
	limits.Probation = 0
	a := d.birth.attempt(limits, progress)
	a.start, a.kill, a.words = d.start, d.kill, d.words
	if err = a.run(ctx); err == nil {
		pid = a.pid
	}
	d.end(err == nil)
	return pid, err
}

// A delivery is the birth of a daemon. The launcher does not start it itself: a
// process between the two leads the session, so that the daemon, which does not,
// never gets a terminal again by opening one.
type delivery struct {
	Launch
	birth *birth

	files   []*os.File // of the process between, from 0 on; those after Channel are its own
	handed  []*os.File // those of them that are of no use here once it runs
	ready   *os.File   // the daemon's ready byte
	reports *os.File   // orders out, reports in
	memory  *os.File   // the daemon's output until the commit, where it has none; or nil

	between *os.Process
	mu      sync.Mutex
	daemon  *process // once it is reported
}

func prepare(l Launch, e Estate) (*delivery, error) {
	d := &delivery{Launch: l}
	e.Daemon, e.Between = true, false // a launch has its own
	err := d.openOutput(&e)
	if err == nil {
		err = d.openPipes()
	}
	if err == nil {
		d.birth, err = (&Self{}).conceive(e)
	}
	closeAll([]*os.File{e.null}) // it is queued, or not needed
	if err != nil {
		d.close()
		return nil, err
	}
	d.files[early.Channel] = d.birth.theirs
	return d, nil
}

// openOutput gives the daemon its standard files. Where it is to have the null
// device, it has memory until it has taken over, for its last lines. The null
// device comes with the inheritance: in a chroot there may be none.
func (d *delivery) openOutput(e *Estate) error {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	d.give(null)
	if d.Output == nil || d.ErrorOutput == nil {
		if d.memory, err = newMemory("output"); err != nil {
			return err
		}
		if e.null, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
			return err
		}
	}
	if d.Output == nil {
		e.silent = append(e.silent, kindOutput)
	}
	if d.ErrorOutput == nil {
		e.silent = append(e.silent, kindErrorOutput)
	}
	d.files = append(d.files, cmp.Or(d.Output, d.memory), cmp.Or(d.ErrorOutput, d.memory))
	return nil
}

// openPipes opens what stands where the engine has its own pipes in a child, and
// the line to the process between.
func (d *delivery) openPipes() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	d.ready = r
	d.give(w)
	if r, w, err = os.Pipe(); err != nil {
		return err
	}
	w.Close() // the daemon writes its list of files itself
	d.give(r)
	d.give(nil) // the channel's place
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	d.reports = os.NewFile(uintptr(p[0]), "reports")
	d.give(os.NewFile(uintptr(p[1]), "reports"))
	return nil
}

// give makes f the next descriptor of the process between, and nobody else's.
func (d *delivery) give(f *os.File) { d.files, d.handed = append(d.files, f), append(d.handed, f) }

// start starts the process between. The answer is the result: nil when the daemon
// has taken over, else an error when it is gone.
func (d *delivery) start() <-chan error {
	result := make(chan error, 1)
	go d.birth.listen()
	d.birth.logs, d.birth.unseen = []logMark{markLog(d.files[2]), markLog(d.files[1])}, d.ErrorOutput == nil
	err := d.spawn()
	closeAll(d.handed)
	if err != nil {
		result <- err
		return result
	}
	go d.birth.sendLate()
	go func() { result <- d.watch() }()
	return result
}

// spawn has the daemon born with SIGHUP ignored: until it is caught, a terminal
// that closes would end it.
func (d *delivery) spawn() (err error) {
	if err := closeOnExec(early.Ready); err != nil {
		return err
	}
	defer ignoreHUP()()
	attr := &os.ProcAttr{
		Env: append(d.environ(), early.Launch+"=yes"), Files: d.files,
		Sys: &syscall.SysProcAttr{Setsid: true, Chroot: d.Chroot},
	}
	if d.Chroot != "" {
		attr.Dir = "/"
	}
	if c := d.Credential; c != nil {
		attr.Sys.Credential = &syscall.Credential{Uid: c.UID, Gid: c.GID, Groups: c.Groups}
	}
	d.between, err = os.StartProcess(d.Program, d.Args, attr)
	return err
}

// environ is the environment without the variables of the hand-over, which
// somebody may have leaked.
func (d *delivery) environ() []string {
	return slices.DeleteFunc(slices.Clone(d.Env), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return name == early.Launch || name == early.Sentinel
	})
}

// kill ends a daemon that spoke, or was reported. Otherwise it is only being
// started, maybe, by the process between.
func (d *delivery) kill(int) error {
	if d.birth.child != nil {
		return d.birth.child.kill()
	}
	if daemon := d.reported(); daemon != nil {
		return daemon.kill()
	}
	d.between.Kill()
	d.birth.sweep()
	return nil
}

// end removes what is left of the process between, which is all of it that is of
// no use to a daemon that has taken over.
func (d *delivery) end(committed bool) {
	if !committed {
		if child := d.birth.child; child != nil {
			child.kill()
			<-child.exited()
		}
		d.birth.sweep()
	}
	if d.between != nil {
		d.between.Kill()
		d.between.Wait() // then the daemon has its new parent
	}
	d.birth.flush()
	d.close()
}

func (d *delivery) close() {
	if d.birth != nil {
		d.birth.close()
	}
	if d.daemon != nil {
		d.daemon.close()
	}
	closeAll(append(d.handed, d.ready, d.reports, d.memory))
}
