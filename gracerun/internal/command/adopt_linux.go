package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// begin goes on where the last supervisor stopped, or was killed.
func (c *child) begin() step {
	old, err := c.remember(c.legacy)
	next := c.goOn
	switch {
	case err == nil:
		c.know(old)
		c.sink.remember(old.Output)
		c.compare()
	case isShortage(err):
		return c.beginLater(err)
	default:
		if !errors.Is(err, fs.ErrNotExist) {
			c.log.Error("the record of a command is lost", "error", err)
		}
		next = c.await
		if !c.guess() {
			return next
		}
	}
	if err := c.adopt(c.legacy); err != nil {
		return c.beginLater(err)
	}
	if c.legacy != nil {
		c.legacy.close() // what was not taken
		c.legacy = nil
	}
	if _, err := os.Lstat(c.path + ".json"); c.proc != nil && errors.Is(err, fs.ErrNotExist) { // somebody has deleted it
		c.update(func(*record) {})
	}
	switch {
	case c.proc == nil && !c.over:
		return next()
	case c.proc == nil:
		return nil
	}
	return c.takeOver()
}

// beginLater is for what cannot be known now, for want of descriptors: a program that
// cannot be looked at has not ended.
func (c *child) beginLater(err error) step {
	c.log.Error("command not adopted yet", "error", err)
	c.unknown = true
	return func() step {
		timer := time.NewTimer(beginPause)
		defer timer.Stop()
		if c.wait(timer.C, nil) == evQuit && c.s.leaving {
			return nil
		}
		if c.over {
			c.tell()
			if c.s.do.Err() != nil {
				c.s.killed(c.spec.Name)
				return nil
			}
		}
		c.unknown = false
		return c.begin
	}
}

// beginPause is how long it waits for some.
const beginPause = 200 * time.Millisecond

// isShortage reports whether err says nothing of the thing that was asked for.
func isShortage(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}

// remember returns the record of this boot.
func (c *child) remember(legacy *parcel) (record, error) {
	r, err := loadRecord(c.path + ".json")
	if legacy != nil && (err != nil || legacy.record.Change > r.Change) {
		r, err = legacy.record, nil
	}
	if err == nil && r.Boot != "" && r.Boot != c.s.boot {
		return record{}, fs.ErrNotExist
	}
	r.Name = c.spec.Name
	return r, err
}

// guess is for a program of which nothing is known. There may be FIFOs, or a keeper,
// and who has them is stopped: what it is, nobody knows.
func (c *child) guess() bool {
	r := record{Name: c.spec.Name, Boot: c.s.boot, State: Starting}
	for i := range c.streams {
		if id, fifo := inodeOf(c.streams[i].path); fifo {
			r.Streams[i] = id
		}
	}
	_, err := os.Lstat(c.path + ".keeper")
	if r.Keeper = err == nil; !r.Keeper && r.Streams == [2]inode{} {
		return false
	}
	c.changed = true
	c.know(r)
	return true
}

func (c *child) know(r record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.record = r
}

// compare finds out whether the program is what it is to be now.
func (c *child) compare() {
	if c.removed {
		return
	}
	p, err := c.spec.program(context.Background())
	if err != nil {
		c.log.Error("command not compared with what runs", "error", err)
		return
	}
	c.changed = c.spec.RestartOnUpgrade || p.definition != c.record.Definition
}

// adopt finds the process, if there is one. After an error it can be called again.
func (c *child) adopt(legacy *parcel) (err error) {
	r := c.record
	found := process{pid: r.PID, begin: r.Begin, fifos: r.Streams}
	if r.Keeper && (r.PID != 0 || r.State == Starting) {
		c.findKept(&found)
	} else if r.PID == 0 && r.State == Starting {
		if found.pid, err = findGroup(r.Streams, r.Session); err != nil {
			return err
		}
		st, _ := readStat(found.pid)
		found.begin = st.begin
	}
	if found.pid == 0 {
		return nil
	}
	if err := c.adoptOutputs(legacy, found.pid); err != nil {
		return err
	}
	if legacy != nil && legacy.record.PID == found.pid && legacy.record.Begin == found.begin {
		found.handle, legacy.files[parcelHandle] = legacy.files[parcelHandle], nil
	}
	if found.handle == nil {
		if found.handle, err = openProcess(found.pid, found.begin); isShortage(err) {
			return err
		}
	}
	c.proc = newProcess(found)
	if r.PID == 0 || len(r.Parts[0])+len(r.Parts[1]) > 0 { // which would be too old after a crash
		c.update(func(r *record) { r.PID, r.Begin, r.Parts = found.pid, found.begin, [2][]byte{} })
	}
	return nil
}

// findKept asks the keeper, which knows the pid even if the record does not.
func (c *child) findKept(found *process) {
	k, r, err := findKeeper(c.path+".keeper", *found)
	if err != nil {
		return
	}
	if found.keeper = k; found.pid == 0 && k.isParent(r.pid) {
		st, _ := readStat(r.pid)
		found.pid, found.begin = r.pid, st.begin
	}
	if found.pid == 0 {
		k.end()
	}
}

// adoptOutputs opens what the program writes to.
func (c *child) adoptOutputs(legacy *parcel, pid int) (err error) {
	for i := range c.streams {
		s := &c.streams[i]
		if c.record.Streams[i] == (inode{}) || s.file != nil {
			continue
		}
		s.lines.part = c.record.Parts[i]
		if legacy != nil {
			s.file, legacy.files[parcelOutput+i] = legacy.files[parcelOutput+i], nil
		}
		for _, path := range []string{s.path, fmt.Sprintf("/proc/%d/fd/%d", pid, i+1)} {
			if id, fifo := inodeOf(path); s.file == nil && fifo && id == c.record.Streams[i] {
				if s.file, err = openFIFO(path); isShortage(err) {
					return err
				}
			}
		}
	}
	if c.record.Notify == "" || c.notify != nil {
		return nil
	}
	if legacy != nil && legacy.files[parcelNotify] != nil {
		c.notify = &notifySock{name: c.record.Notify, file: legacy.files[parcelNotify]}
		legacy.files[parcelNotify] = nil
		return nil
	}
	if c.notify, err = listenNotify(c.record.Notify); isShortage(err) {
		return err
	} else if err != nil {
		c.log.Error("command can no longer say that it is ready", "error", err)
	}
	return nil
}

// takeOver goes on with a program that runs, or ran.
func (c *child) takeOver() step {
	asked, paused := c.wants()
	if c.over { // the service stopped before it was adopted
		c.listen(func() {})
		return c.stop(nil)
	}
	again := c.changed || asked == trigger
	c.log.Info("command adopted", "pid", c.proc.pid, "running", c.proc.lives())
	if c.record.State == Starting && !again && !paused && !c.removed && c.proc.running() {
		return c.starting
	}
	c.listen(func() {})
	switch {
	case c.removed:
		return c.stop(nil)
	case paused:
		return c.stop(c.pause)
	case !c.proc.running() && again:
		return c.stop(c.await)
	case asked == trigger:
		return c.stop(c.start)
	case c.record.State == Stopping && c.record.Then == Done && !c.changed:
		return c.stopFor(Done, c.rest)
	case c.record.State == Stopping:
		return c.stop(c.start)
	case !c.proc.running():
		return c.ended
	}
	return c.running
}

// goOn goes on with a program that does not run.
func (c *child) goOn() step {
	if k, _, err := findKeeper(c.path+".keeper", process{}); err == nil {
		k.end() // it was not, before the last supervisor was killed
	}
	switch asked, paused := c.wants(); {
	case c.removed:
		return nil
	case paused:
		return c.pause
	case c.changed, asked == trigger:
		return c.await
	case c.record.State == Done:
		return c.rest
	case c.record.State == Failed: // this generation may be what it takes
		c.update(func(r *record) { r.history = history{} })
	case c.record.State == Waiting && c.record.Due.After(time.Now()):
		return c.retry(c.record.Due)
	}
	return c.await
}

// findGroup returns the leader of the group that has the FIFOs, 0 if there is none. A
// process that is about to be a program has them, but not yet where a program has.
func findGroup(fifos [2]inode, session int) (leader int, err error) {
	const patience = time.Second
	for limit := time.Now().Add(patience); time.Now().Before(limit); time.Sleep(time.Millisecond) {
		if _, err := os.ReadDir("/proc/self/fd"); isShortage(err) {
			return 0, err
		}
		coming := false
		for p := range allProcesses() {
			if p.pid == os.Getpid() || p.gone() {
				continue
			}
			standard, elsewhere := p.has(fifos)
			if standard && (session == 0 || p.session == session) {
				return p.group, nil
			}
			coming = coming || elsewhere
		}
		if !coming {
			break
		}
	}
	return 0, nil
}

// isOutput reports whether any process has one of the FIFOs as its output. Who only has
// it open may be on its way to be another program, and closes it then.
func isOutput(fifos [2]inode) bool {
	for p := range allProcesses() {
		if standard, _ := p.has(fifos); standard {
			return true
		}
	}
	return false
}

// bequeath leaves the program to a successor: it goes on, and its output waits.
func (c *child) bequeath() {
	c.unwatch()
	c.legacy = &parcel{}
	for i := range c.streams {
		s := &c.streams[i]
		s.pause()
		c.legacy.files[parcelOutput+i], s.file = s.file, nil
	}
	if c.notify != nil {
		c.notify.pause()
		c.legacy.files[parcelNotify] = c.notify.file
	}
	part := false // else the parcel's record does
	c.legacy.record = c.note(func(r *record) {
		for i := range c.streams {
			r.Parts[i] = c.streams[i].lines.part
			part = part || len(r.Parts[i]) > 0
		}
	})
	if part {
		c.update(func(*record) {})
	}
	if c.proc != nil {
		c.legacy.files[parcelHandle] = c.proc.duplicate()
		c.proc.close()
	}
}

// duplicate returns the handle once more, nil if there is none.
func (p *process) duplicate() (copied *os.File) {
	if p.handle != nil {
		withFD(p.handle, func(fd int) error {
			n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
			if err == nil {
				copied = os.NewFile(uintptr(n), "pidfd")
			}
			return err
		})
	}
	return copied
}
