package command

import (
	"context"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// launch starts the program. If this process dies on the way, the record that is
// written first has the next one look for who has the FIFOs.
func (c *child) launch() (err error) {
	p, err := c.spec.program(context.Background())
	if err != nil {
		return err
	}
	files, theirs, err := c.files(p)
	defer closeFiles(theirs)
	if err == nil {
		err = c.openNotify(p)
	}
	if err == nil {
		err = c.enter(Starting, func(r *record) { c.intend(r, p) })
	}
	if err == nil {
		err = c.spawn(p, files)
	}
	if err != nil {
		c.closeOutputs()
		return p.explain(err)
	}
	return nil
}

// intend writes down what is about to be started.
func (c *child) intend(r *record, p *program) {
	r.PID, r.Begin, r.Met, r.Parts, r.Notify = 0, 0, nil, [2][]byte{}, ""
	r.Boot, r.StartedAt, r.Definition = c.s.boot, time.Now(), p.definition
	r.StopSignal, r.StopTimeout = int(c.spec.StopSignal), c.spec.StopTimeout
	r.Keeper, r.Session = c.needsKeeper(), 0
	if !p.attr.Setsid {
		r.Session, _ = unix.Getsid(0)
	}
	for i := range c.streams {
		r.Streams[i] = c.streams[i].inode()
	}
	if c.notify != nil {
		r.Notify = c.notify.name
	}
}

// needsKeeper reports whether a process of ours must stand between: the kernel does
// not tell enough, or nothing else would prove whose the program is.
func (c *child) needsKeeper() bool {
	return c.s.keeper || c.streams[0].file == nil && c.streams[1].file == nil
}

// files returns the program's descriptors, from 0 on, and which of them are of no use
// here once it is started.
func (c *child) files(p *program) (files, theirs []*os.File, err error) {
	stdin := p.stdin
	if stdin == nil {
		if stdin, err = os.Open(os.DevNull); err != nil {
			return nil, nil, err
		}
		theirs = append(theirs, stdin)
	}
	files = append(files, stdin)
	user := -1
	if p.attr.Credential != nil {
		user = int(p.attr.Credential.Uid)
	}
	for i, f := range p.outputs {
		if f == nil {
			if f, err = c.streams[i].make(user); err != nil {
				return nil, theirs, err
			}
			theirs = append(theirs, f)
		}
		files = append(files, f)
	}
	return append(files, p.extra...), theirs, nil
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

func (c *child) openNotify(p *program) (err error) {
	if !c.spec.ReadyNotify {
		return nil
	}
	if c.notify, err = listenNotify(""); err != nil {
		return err
	}
	p.env = setenv(p.env, notifySocket+"=@"+c.notify.name)
	return nil
}

// spawn starts the process, and writes down which it is.
func (c *child) spawn(p *program, files []*os.File) error {
	// What a library outside Go's control has opened is not for the program.
	unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	found := process{child: true}
	if c.needsKeeper() {
		pid, k, err := startKeeper(p, files, c.path+".keeper")
		if err != nil {
			return err
		}
		found = process{pid: pid, keeper: k}
	} else {
		proc, err := os.StartProcess(p.path, p.args, &os.ProcAttr{Dir: p.dir, Env: p.env, Files: files, Sys: &p.attr})
		if err != nil {
			return err
		}
		found.pid = proc.Pid
		proc.Release() // we have a handle of our own
	}
	// Nobody reaps it before we do, or the keeper: the pid is its own.
	fd, err := unix.PidfdOpen(found.pid, unix.PIDFD_NONBLOCK)
	if err != nil { // there are no descriptors left
		unix.Kill(-found.pid, unix.SIGKILL)
		found.reap()
		found.keeper.end()
		return os.NewSyscallError("pidfd_open", err)
	}
	found.handle = os.NewFile(uintptr(fd), "pidfd")
	st, _ := readStat(found.pid)
	found.begin = st.begin
	c.proc = newProcess(found)
	c.update(func(r *record) { r.PID, r.Begin = found.pid, found.begin })
	return nil
}

// closeOutputs is for a program that was not started.
func (c *child) closeOutputs() {
	for i := range c.streams {
		c.streams[i].close()
		os.Remove(c.streams[i].path)
	}
	if c.notify != nil {
		c.notify.close()
		c.notify = nil
	}
}
