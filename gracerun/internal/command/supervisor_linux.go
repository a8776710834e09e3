package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Supervisor watches over programs.
type Supervisor struct {
	options  Options
	log      *slog.Logger
	boot     string
	children []*child // in the order of registration
	mailbox  *mailbox // nil: it was not made, or is closed
	files    map[string]*logFile

	// Of Run.
	keeper  bool
	leaving bool // a successor has taken over; set before any quit is closed
	do      context.Context

	mu    sync.Mutex
	begun bool
	late  []string // killed at the deadline

	used struct { // by groups; counting costs a look at every process
		sync.Mutex
		at     time.Time
		groups map[int]usage
	}
}

// supported returns why programs could not be known again.
func supported() error {
	if bootID() == "" {
		return fmt.Errorf("commands need /proc, which is not mounted: %w", errors.ErrUnsupported)
	}
	return nil
}

// Left returns the programs that have a record, in order; the PID is 0 where none runs.
// Nothing is changed.
func Left(o Options) (list []Status) {
	s := &Supervisor{options: o, log: slog.New(slog.DiscardHandler)}
	names := s.recorded()
	if len(names) == 0 { // as in each start of a service without programs
		return nil
	}
	boot := bootID()
	for _, name := range names {
		st := Status{Name: name}
		if r, err := loadRecord(s.path(name) + ".json"); err == nil && r.Boot == boot {
			if p, err := readStat(r.PID); err == nil && p.begin == r.Begin && !p.gone() {
				st.PID = r.PID
			}
		}
		list = append(list, st)
	}
	return list
}

// New returns a Supervisor that does nothing yet but wait for what a predecessor hands
// over. So it is made before the predecessor lets go. Close it if it never runs.
func New(o Options, specs []Spec) *Supervisor {
	s := &Supervisor{options: o, log: cmp.Or(o.Log, slog.Default()), boot: bootID(), files: map[string]*logFile{}}
	for _, spec := range specs {
		c := newChild(s, spec)
		for i, path := range []string{spec.Output, cmp.Or(spec.ErrorOutput, spec.Output)} {
			if path != "" {
				if s.files[path] == nil {
					s.files[path] = &logFile{path: path}
				}
				c.sink.files[i] = s.files[path]
			}
		}
		s.children = append(s.children, c)
	}
	var err error
	if s.mailbox, err = openMailbox(o.Dir, o.Name); err != nil {
		s.log.Warn("commands that end in an upgrade may lose their last words", "error", err)
		s.mailbox = nil
	}
	return s
}

// Close is for a Supervisor that does not run, or no longer.
func (s *Supervisor) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mailbox != nil {
		s.mailbox.close()
		s.mailbox = nil
	}
}

// path is that of the files of a program, but for their endings.
func (s *Supervisor) path(name string) string {
	return filepath.Join(s.options.Dir, s.prefix()+url.PathEscape(name))
}

func (s *Supervisor) prefix() string { return s.options.Name + ".command." }

// Run supervises until take ends. Then, if keep reports that a successor has taken
// over, it leaves the programs running, and returns at once. Else it stops them, the
// last one first, and kills what is left on schedule, and at the latest when do ends:
// then the error is a [*DeadlineError]. Run can be called once.
//
// A goroutine may outlive it for each program that goes on and that this process has
// started: its parent has to reap it.
func (s *Supervisor) Run(take, do context.Context, keep func() bool) error {
	if err := supported(); err != nil {
		return err
	}
	s.do = do
	s.keeper = s.options.Keeper || !kernelTells()
	s.openFiles()
	defer s.closeFiles()
	gone := s.receive()
	all := slices.Concat(s.children, gone)
	s.mu.Lock()
	s.begun = true
	s.mu.Unlock()
	var running sync.WaitGroup
	for _, c := range all {
		running.Go(c.run)
	}
	running.Go(func() { s.takeTurns(take, gone) })
	<-take.Done()
	if keep != nil && keep() {
		s.leaving = true
		for _, c := range all {
			close(c.quit)
		}
		running.Wait()
		s.bequeath(all)
		return nil
	}
	for _, c := range slices.Backward(all) {
		close(c.quit)
		<-c.told
	}
	running.Wait()
	if len(s.late) > 0 {
		return &DeadlineError{s.late}
	}
	return nil
}

// receive distributes what a predecessor has left, and returns the programs that are
// no longer registered.
func (s *Supervisor) receive() (gone []*child) {
	parcels := map[string]*parcel{}
	s.mu.Lock()
	if s.mailbox != nil {
		parcels = s.mailbox.take()
	}
	s.mu.Unlock()
	s.Close()
	sweep(s.options.Dir, s.options.Name)
	names := map[string]bool{}
	for _, c := range s.children {
		names[c.spec.Name] = true
		c.legacy = parcels[c.spec.Name]
		delete(parcels, c.spec.Name)
	}
	for _, name := range s.recorded() {
		if !names[name] {
			gone = append(gone, s.goneChild(name, parcels[name]))
			delete(parcels, name)
		}
	}
	for _, p := range parcels {
		p.close()
	}
	return gone
}

// recorded returns the names of the programs that have a record, in order.
func (s *Supervisor) recorded() (names []string) {
	entries, err := os.ReadDir(s.options.Dir)
	if err != nil {
		s.log.Error("records of commands", "error", err)
	}
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Name(), s.prefix())
		name, isRecord := strings.CutSuffix(name, ".json")
		if name, err := url.PathUnescape(name); ok && isRecord && err == nil {
			names = append(names, name)
		}
	}
	return names
}

// goneChild is one that is only to be stopped.
func (s *Supervisor) goneChild(name string, legacy *parcel) *child {
	spec := Spec{Name: name, StopTimeout: 10 * time.Second}
	if r, err := loadRecord(s.path(name) + ".json"); err == nil {
		spec.StopSignal, spec.StopTimeout = syscall.Signal(r.StopSignal), cmp.Or(r.StopTimeout, spec.StopTimeout)
	}
	c := newChild(s, spec)
	c.removed, c.legacy = true, legacy
	c.log.Info("command is no longer registered")
	return c
}

// takeTurns lets the programs start, one after another: those that are gone may hold
// what the others need, and end first.
func (s *Supervisor) takeTurns(take context.Context, gone []*child) {
	for _, c := range gone {
		if !comes(take, c.settled) {
			return
		}
	}
	for _, c := range s.children {
		if take.Err() != nil { // nothing is started only to be stopped
			return
		}
		close(c.turn)
		if !comes(take, c.settled) {
			return
		}
		// One that is not fresh runs since long ago, or does not.
		if c.fresh && c.spec.Stagger > 0 && !comes(take, time.After(c.spec.Stagger)) {
			return
		}
	}
}

// comes reports whether something does before ctx ends.
func comes[T any](ctx context.Context, something <-chan T) bool {
	select {
	case <-something:
		return true
	case <-ctx.Done():
		return false
	}
}

// bequeath hands all over.
func (s *Supervisor) bequeath(all []*child) {
	var parcels []*parcel
	for _, c := range all {
		if c.legacy != nil {
			parcels = append(parcels, c.legacy)
			defer c.legacy.close()
		}
	}
	send(s.options.Dir, s.options.Name, parcels)
}

func (s *Supervisor) killed(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.late = append(s.late, name)
}

// openFiles opens the outputs. One that cannot be opened hinders nothing.
func (s *Supervisor) openFiles() {
	for _, path := range slices.Sorted(maps.Keys(s.files)) {
		if err := s.files[path].reopen(); err != nil {
			s.log.Error("output of commands goes to the log", "error", err)
		}
	}
}

// Reopen opens the output files again, as logrotate(8) asks for.
func (s *Supervisor) Reopen() error {
	if !s.Begun() {
		return nil
	}
	var errs []error
	for _, path := range slices.Sorted(maps.Keys(s.files)) {
		errs = append(errs, s.files[path].reopen())
	}
	return errors.Join(errs...)
}

func (s *Supervisor) closeFiles() {
	for _, f := range s.files {
		f.close()
	}
}

// Begun reports whether Run was called.
func (s *Supervisor) Begun() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun
}

// Names returns those of the programs, in the order of registration.
func (s *Supervisor) Names() []string {
	names := make([]string, 0, len(s.children))
	for _, c := range s.children {
		names = append(names, c.spec.Name)
	}
	return names
}

func (s *Supervisor) find(name string) (*child, error) {
	for _, c := range s.children {
		if c.spec.Name == name {
			return c, nil
		}
	}
	return nil, fmt.Errorf("there is no command %q: %w", name, fs.ErrNotExist)
}

// Pause stops a program, and keeps it so, over generations and crashes, until Resume.
// Like Resume and Trigger, it does not wait, and may be called in any generation: Look
// makes the one that runs see it at once.
func (s *Supervisor) Pause(name string) error {
	c, err := s.find(name)
	if err != nil {
		return err
	}
	return c.say(pausedFile)
}

// Resume ends a pause, and gives one more chance to a program that was given up.
func (s *Supervisor) Resume(name string) error {
	c, err := s.find(name)
	if err != nil {
		return err
	}
	if err := os.Remove(c.path + pausedFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return c.say(resumedFile)
}

// Trigger restarts a program, or starts one that does not run.
func (s *Supervisor) Trigger(name string) error {
	c, err := s.find(name)
	switch {
	case err != nil:
		return err
	case c.isPaused():
		return fmt.Errorf("the command %q is paused: resume it", name)
	}
	return c.say(triggeredFile)
}

// Look looks again at what is asked of the programs, which another generation may have
// heard.
func (s *Supervisor) Look() {
	for _, c := range s.children {
		c.look()
	}
}

func (c *child) say(file string) error {
	if err := os.WriteFile(c.path+file, nil, 0o600); err != nil {
		return err
	}
	c.look()
	return nil
}
