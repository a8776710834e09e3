package gracerun

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/gracerun/internal/handoff"
)

// An elder is an older generation: its process ends when done is closed.
type elder struct {
	*handoff.Peer
	done chan struct{}
	end  *net.UnixConn // its end of the channel
}

// newElder makes a Peer, which otherwise only a hand-over does: hence the
// reflection.
func newElder(t *testing.T, generation int) *elder {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	var conns [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "channel")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		conns[i] = c.(*net.UnixConn)
	}
	e := &elder{Peer: &handoff.Peer{Generation: generation, PID: 4000 + generation}, done: make(chan struct{}), end: conns[1]}
	peer := reflect.ValueOf(e.Peer).Elem()
	set(field(peer, "proc", "done"), e.done)
	field(peer, "proc", "watching").Addr().Interface().(*sync.Once).Do(func() {}) // the test says when it is done
	set(field(peer, "ch", "conn"), conns[0])
	return e
}

// field is v.pointer.name; a nil pointer gets a value to point to.
func field(v reflect.Value, pointer, name string) reflect.Value {
	p := v.FieldByName(pointer)
	p = reflect.NewAt(p.Type(), unsafe.Pointer(p.UnsafeAddr())).Elem()
	if p.IsNil() {
		p.Set(reflect.New(p.Type().Elem()))
	}
	f := p.Elem().FieldByName(name)
	return reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem()
}

func set(f reflect.Value, x any) { f.Set(reflect.ValueOf(x)) }

// told is what the elder was told and has not read yet.
func (e *elder) told(t *testing.T) string {
	t.Helper()
	buf := make([]byte, 1000)
	n := -1
	rc, err := e.end.SyscallConn()
	if err == nil {
		rc.Control(func(fd uintptr) { n, _, err = unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT) })
	}
	if err != nil {
		return err.Error()
	}
	return string(buf[min(8, n):n]) // after the frame's header
}

// TestNewestExitsLast: it tells all older ones, and waits for them.
func TestNewestExitsLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		first, second := newElder(t, 1), newElder(t, 2)
		self := &fakeSelf{legacy: &handoff.Legacy{From: 2}, older: []*handoff.Peer{first.Peer, second.Peer}}
		s := perform(t, &app, self)
		self.events <- handoff.Go{}
		s.ready()
		if got := len(app.Status().Generations); got != 3 {
			t.Errorf("%d generations are shown", got)
		}
		begin := time.Now()
		s.end()
		synctest.Wait()
		for _, e := range []*elder{first, second} {
			if got := e.told(t); !strings.Contains(got, `"stop"`) {
				t.Errorf("generation %d was told %s", e.Generation, got)
			}
		}
		time.AfterFunc(20*time.Second, func() { close(first.done) })
		time.AfterFunc(10*time.Second, func() { close(second.done) })
		if err := s.wait(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took != 20*time.Second {
			t.Errorf("it exited after %v", took)
		}
	})
}

// TestReplacedDoesNotWait: an older generation exits when its own work is done.
func TestReplacedDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		older, newer := newElder(t, 1), newElder(t, 3)
		self := &fakeSelf{legacy: &handoff.Legacy{From: 1}, older: []*handoff.Peer{older.Peer}}
		e := newEngine(t, self)
		s := perform(t, &app, self)
		self.events <- handoff.Go{}
		s.ready()
		s.signal(syscall.SIGHUP)
		<-e.begun
		e.start()
		self.mu.Lock()
		self.successor = newer.Peer
		self.mu.Unlock()
		begin := time.Now()
		e.result <- nil
		if err := s.wait(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("it exited after %v", took)
		}
	})
}

// TestOlderIsEndedAtTheDeadline, by force, and named.
func TestOlderIsEndedAtTheDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		older := newElder(t, 1)
		cmd := exec.Command("cat")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.PidfdOpen(cmd.Process.Pid, unix.PIDFD_NONBLOCK)
		if err != nil {
			t.Fatal(err)
		}
		handle := os.NewFile(uintptr(fd), "pidfd")
		defer handle.Close()
		set(field(reflect.ValueOf(older.Peer).Elem(), "proc", "file"), handle)
		self := &fakeSelf{legacy: &handoff.Legacy{From: 1}, older: []*handoff.Peer{older.Peer}}
		s := perform(t, &app, self)
		self.events <- handoff.Go{}
		s.ready()
		begin := time.Now()
		s.end()
		time.Sleep(30*time.Second + cutGrace)
		synctest.Wait() // it is killed by now
		exit := new(exec.ExitError)
		if err := cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Errorf("it ended with %v", err)
		}
		close(older.done)
		if err := s.wait(); !errors.Is(err, ErrDrainTimeout) || !strings.Contains(fmt.Sprint(err), "generation 1 (pid 4001)") {
			t.Errorf("Run returned %v", err)
		}
		if took := time.Since(begin); took != 30*time.Second+cutGrace {
			t.Errorf("it exited after %v", took)
		}
	})
}

// TestForwardedUpgrade: who asks an older generation asks the newest.
func TestForwardedUpgrade(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		newer := newElder(t, 2)
		s, e := performUpgrades(t, &app)
		work := make(chan struct{})
		s.app.Task("long", func(context.Context) error { <-work; return nil })
		s.signal(syscall.SIGHUP)
		<-e.begun
		e.start()
		queued := s.call(t.Context())
		s.self.mu.Lock()
		s.self.successor = newer.Peer
		s.self.mu.Unlock()
		e.result <- nil
		synctest.Wait()
		late := s.call(t.Context())
		if got := newer.told(t); !strings.Contains(got, `"in_hand"`) || !strings.Contains(got, `{"name":"long","count":1,`) {
			t.Errorf("the successor was told %s, not what is in hand", got)
		}
		for id := uint64(1); id <= 2; id++ {
			if got, want := newer.told(t), fmt.Sprintf(`{"type":"upgrade","id":%d}`, id); got != want {
				t.Errorf("the successor was told %s, want %s", got, want)
			}
		}
		s.self.events <- handoff.Upgraded{ID: 2, Refusal: &handoff.Refusal{PID: 4711, Stage: "setup", Err: errNoDatabase}}
		if err := <-late; !errors.Is(err, errNoDatabase) {
			t.Errorf("the late one: %v", err)
		}
		s.self.events <- handoff.Upgraded{ID: 2} // an answer to nobody
		s.self.events <- handoff.Upgraded{ID: 1}
		if err := <-queued; err != nil {
			t.Errorf("the queued one: %v", err)
		}
		close(work)
		if err := s.wait(); err != nil {
			t.Error(err)
		}
	})
}

// TestForwardedUpgradeEnds with the context of its call, and with the successor:
// neither answer may hold who asked, whose handler may hold the drain.
func TestForwardedUpgradeEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		newer := newElder(t, 2)
		self := &fakeSelf{successor: newer.Peer}
		e := newEngine(t, self)
		s := perform(t, &app, self)
		s.ready()
		work := make(chan struct{})
		s.app.Task("long", func(context.Context) error { <-work; return nil })
		s.signal(syscall.SIGHUP)
		<-e.begun
		e.start()
		e.result <- nil
		synctest.Wait()

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		err := <-s.call(ctx)
		if !errors.Is(err, ErrUpgrading) || !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}

		waiting := s.call(t.Context())
		synctest.Wait()
		close(newer.done)
		self.events <- handoff.Exited{Peer: newer.Peer}
		if err := <-waiting; !errors.Is(err, ErrDraining) {
			t.Errorf("the successor is dead: %v", err)
		}
		close(work)
		if err := s.wait(); err != nil {
			t.Error(err)
		}
	})
}

// TestRequestOfAnOlder is answered there, with the reason.
func TestRequestOfAnOlder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var app App
		older := newElder(t, 1)
		self := &fakeSelf{legacy: &handoff.Legacy{From: 1}, older: []*handoff.Peer{older.Peer}}
		e := newEngine(t, self)
		s := perform(t, &app, self)
		self.events <- handoff.Go{}
		s.ready()
		self.events <- handoff.Upgrade{From: older.Peer, ID: 7}
		<-e.begun
		e.result <- refusal()
		synctest.Wait()
		if got, want := older.told(t), `{"type":"upgraded","pid":4711,"stage":"setup","error":"no database","id":7}`; got != want {
			t.Errorf("it was told %s, want %s", got, want)
		}
		self.events <- handoff.Hurry{From: older.Peer}
		synctest.Wait()
		if got := older.told(t); !strings.Contains(got, `"in_hand"`) {
			t.Errorf("asked what is in hand it says %s", got)
		}
		close(older.done)
		self.events <- handoff.Exited{Peer: older.Peer}
		s.end()
		if err := s.wait(); err != nil {
			t.Error(err)
		}
	})
}

// TestLateStop: a TERM by way of the anchor that comes when the predecessor has nothing
// left to do but exit is for the successor.
func TestLateStop(t *testing.T) {
	t.Parallel()
	newer := newElder(t, 2)
	self := &fakeSelf{late: true}
	self.upgrade = func(context.Context, handoff.Limits, func() handoff.Estate, func(handoff.Progress)) error {
		self.mu.Lock()
		defer self.mu.Unlock()
		self.successor = newer.Peer
		return nil
	}
	var app App
	app.OnState = func(s State) { app.life.anchored = app.life.anchored || s == StateStarting }
	s := perform(t, &app, self)
	s.ready()
	if err := app.Upgrade(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.wait(); err != nil {
		t.Error(err)
	}
	for got := ""; !strings.Contains(got, `"stop"`); {
		if got = newer.told(t); got == unix.EAGAIN.Error() {
			t.Fatal("the successor was not told")
		}
	}
}
