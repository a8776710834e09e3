package gracerun

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/gracerun/internal/handoff"
	"github.com/gracerun/grace/gracerun/internal/systemd"
)

// A fakeManager is the socket of a service manager, with what was read there.
type fakeManager struct {
	systemd.Manager
	t    *testing.T
	read chan string
}

func newFakeManager(t *testing.T) *fakeManager {
	t.Helper()
	name := fmt.Sprintf("@gracerun-%d-%s", os.Getpid(), t.Name())
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	check(t, err)
	t.Cleanup(func() { conn.Close() })
	m := &fakeManager{Manager: systemd.Manager{Socket: name}, t: t, read: make(chan string, 1000)}
	go m.hear(conn)
	return m
}

// hear also answers barriers: it closes what comes with them.
func (m *fakeManager) hear(conn *net.UnixConn) {
	text, oob := make([]byte, 8192), make([]byte, 1024)
	for {
		n, oobn, _, _, err := conn.ReadMsgUnix(text, oob)
		if err != nil {
			return
		}
		messages, _ := unix.ParseSocketControlMessage(oob[:oobn])
		for _, cm := range messages {
			fds, _ := unix.ParseUnixRights(&cm)
			for _, fd := range fds {
				unix.Close(fd)
			}
		}
		if string(text[:n]) != "BARRIER=1" {
			m.read <- string(text[:n])
		}
	}
}

// managerPatience is how long a message may take to come.
const managerPatience = 10 * time.Second

// next returns a message.
func (m *fakeManager) next() string {
	m.t.Helper()
	select {
	case text := <-m.read:
		return text
	case <-time.After(managerPatience):
		m.t.Fatal("nothing is said")
		return ""
	}
}

// expect skips what is said unasked, and returns the next message, which has lines that
// begin so.
func (m *fakeManager) expect(lines ...string) string {
	m.t.Helper()
	text, began := m.next(), time.Now()
	unasked := func() bool {
		return strings.HasPrefix(text, "STATUS=") || strings.HasPrefix(text, "EXTEND_TIMEOUT_USEC=") || text == "WATCHDOG=1" && lines[0] != text
	}
	for unasked() && time.Since(began) < managerPatience {
		text = m.next()
	}
	for _, line := range lines {
		if !strings.Contains("\n"+text, "\n"+line) {
			m.t.Fatalf("the manager read %q, want %q", text, lines)
		}
	}
	return text
}

// await skips all until a message that begins so.
func (m *fakeManager) await(begin string) {
	m.t.Helper()
	for !strings.HasPrefix(m.next(), begin) {
	}
}

// rest returns all that has been said until now.
func (m *fakeManager) rest() (list []string) {
	m.t.Helper()
	conn, err := net.Dial("unixgram", m.Socket)
	check(m.t, err)
	defer conn.Close()
	const mark = "the test"
	_, err = conn.Write([]byte(mark))
	check(m.t, err)
	for text := m.next(); text != mark; text = m.next() {
		list = append(list, text)
	}
	return list
}

// perform runs app as a service of the manager.
func (m *fakeManager) perform(app *App, self *fakeSelf) *stage {
	self.manager = m.Manager
	return perform(m.t, app, self)
}

func TestManagerOfAService(t *testing.T) {
	t.Parallel()
	m := newFakeManager(t)
	s := m.perform(&App{Version: "v7"}, &fakeSelf{})
	s.ready()
	m.expect("READY=1", "STATUS=generation 1 (v7) serves; in hand: nothing")
	s.signal(syscall.SIGTERM)
	m.expect("STOPPING=1", "STATUS=stopping: terminated")
	check(t, s.wait())
	if rest := m.rest(); len(rest) == 0 || rest[len(rest)-1] != "STATUS=stopped" {
		t.Errorf("at last the manager read %q", rest)
	}
}

func TestManagerOfAServiceThatFails(t *testing.T) {
	t.Parallel()
	m := newFakeManager(t)
	s := m.perform(&App{Setup: func(context.Context) error { return fmt.Errorf("no database: %w", syscall.ECONNREFUSED) }}, &fakeSelf{})
	if s.wait() == nil {
		t.Fatal("Run returned nil")
	}
	text := strings.Join(m.rest(), "|")
	if !strings.Contains(text, fmt.Sprintf("ERRNO=%d|STATUS=no database: connection refused", syscall.ECONNREFUSED)) || strings.Contains(text, "READY") {
		t.Errorf("the manager read %q", text)
	}
}

// TestManagerOfRefusedUpgrades: each RELOADING has its READY, and the reason stays.
func TestManagerOfRefusedUpgrades(t *testing.T) {
	t.Parallel()
	m := newFakeManager(t)
	self := &fakeSelf{upgrade: func(context.Context, handoff.Limits, func() handoff.Estate, func(handoff.Progress)) error {
		return &handoff.Refusal{Stage: handoff.StageCheck, Err: errors.New("no\nschema")}
	}}
	s := m.perform(&App{}, self)
	s.ready()
	m.expect("READY=1")
	for range 3 {
		s.signal(syscall.SIGHUP)
		m.expect("RELOADING=1", "MONOTONIC_USEC=", "STATUS=upgrading to ")
		text := m.expect("READY=1", "STATUS=the upgrade at ")
		if !strings.Contains(text, " failed at check: no schema; generation 1 ") {
			t.Errorf("the manager read %q", text)
		}
	}
	s.end()
	m.expect("STOPPING=1")
	check(t, s.wait())
}

// TestManagerOfJoinedUpgrades: a manager that asks for a reload by a signal takes nothing
// for an answer that was said before it has asked.
func TestManagerOfJoinedUpgrades(t *testing.T) {
	t.Parallel()
	m := newFakeManager(t)
	spawn := make(chan struct{})
	goOn := sync.OnceFunc(func() { close(spawn) })
	defer goOn()
	self := &fakeSelf{upgrade: func(context.Context, handoff.Limits, func() handoff.Estate, func(handoff.Progress)) error {
		<-spawn
		return &handoff.Refusal{Stage: handoff.StageCheck, Err: errors.New("no")}
	}}
	s := m.perform(&App{}, self)
	s.ready()
	m.expect("READY=1")
	for range 3 {
		s.signal(syscall.SIGHUP)
		m.expect("RELOADING=1", "MONOTONIC_USEC=")
	}
	goOn()
	m.expect("READY=1")
	s.end()
	m.expect("STOPPING=1")
	check(t, s.wait())
}

// TestManagerOfReloads that keep the process.
func TestManagerOfReloads(t *testing.T) {
	t.Parallel()
	m := newFakeManager(t)
	fail := errors.New("line 3: what?")
	results := []error{nil, fail, nil}
	app := &App{Version: "v7", Hangup: HangupReload}
	app.Reload = func(context.Context) (err error) {
		err, results = results[0], results[1:]
		return err
	}
	s := m.perform(app, &fakeSelf{})
	s.ready()
	m.expect("READY=1")
	for _, want := range []string{"STATUS=generation 1 (v7) serves; ", " failed: line 3: what?; generation 1 (v7) serves on; ", "STATUS=generation 1 (v7) serves; "} {
		s.signal(syscall.SIGHUP)
		m.expect("RELOADING=1", "MONOTONIC_USEC=")
		if text := m.expect("READY=1"); !strings.Contains(text, want) {
			t.Errorf("the manager read %q without %q", text, want)
		}
		if got := s.app.running().managerStatus(); !strings.Contains("STATUS="+got, want) {
			t.Errorf("the status is %q without %q", got, want)
		}
	}
	s.end()
	check(t, s.wait())
}

// TestManagerOfASuccessor: it says nothing before it is followed, and nothing of the
// manager is asked of its environment.
func TestManagerOfASuccessor(t *testing.T) {
	t.Parallel()
	m := newFakeManager(t)
	legacy := &handoff.Legacy{From: 1, Manager: fmt.Appendf(nil, `{"socket":%q,"watchdog":20000000}`, m.Socket)}
	self := &fakeSelf{legacy: legacy}
	s := perform(t, &App{}, self)
	self.events <- handoff.Go{}
	s.ready()
	if said := m.rest(); len(said) != 0 {
		t.Errorf("before it was followed it said %q", said)
	}
	self.events <- handoff.Main{Generation: 2}
	for range 3 {
		if text := m.next(); text != "WATCHDOG=1" && !strings.HasPrefix(text, "STATUS=generation 2 serves") {
			t.Errorf("the manager read %q", text)
		}
	}
	s.end()
	m.expect("STOPPING=1")
	check(t, s.wait())
}

// TestManagerOfAnOrphan: a predecessor that dies with a reload open has had no READY.
func TestManagerOfAnOrphan(t *testing.T) {
	t.Parallel()
	m := newFakeManager(t)
	older := newElder(t, 1)
	self := &fakeSelf{legacy: &handoff.Legacy{From: 1, Manager: fmt.Appendf(nil, `{"socket":%q}`, m.Socket)}}
	s := perform(t, &App{}, self)
	self.events <- handoff.Go{Orphan: true}
	s.ready()
	self.events <- handoff.Exited{Peer: older.Peer}
	m.expect("READY=1", "STATUS=generation 2 (")
	self.events <- handoff.Exited{Peer: older.Peer} // followed already
	s.end()
	m.expect("STOPPING=1")
	check(t, s.wait())
}

// TestManagerOfOvertaken: whose predecessor says that it is followed when its successor
// reads the channel hears of it all the same.
func TestManagerOfOvertaken(t *testing.T) {
	t.Parallel()
	first, second := newElder(t, 1), newElder(t, 2)
	self := &fakeSelf{legacy: &handoff.Legacy{From: 2}, older: []*handoff.Peer{first.Peer, second.Peer}}
	s := perform(t, &App{}, self)
	self.events <- handoff.Go{}
	s.ready()
	self.events <- handoff.Main{Generation: 2}
	s.app.running().post(occurrence{call: func() {}}) // it has been dealt with
	if got := second.told(t); !strings.Contains(got, `"type":"main","generation":2`) {
		t.Errorf("generation 2 was told %s", got)
	}
	if got := first.told(t); strings.Contains(got, "main") {
		t.Errorf("generation 1 was told %s", got)
	}
	self.older = nil
	s.end()
	check(t, s.wait())
}

// TestManagerFollowsAnOlder: who is not followed waits for nobody at the end, for those in
// between wait for it.
func TestManagerFollowsAnOlder(t *testing.T) {
	t.Parallel()
	m := newFakeManager(t)
	first, second := newElder(t, 1), newElder(t, 2)
	self := &fakeSelf{
		legacy: &handoff.Legacy{From: 2, Manager: fmt.Appendf(nil, `{"socket":%q}`, m.Socket)},
		older:  []*handoff.Peer{first.Peer, second.Peer},
	}
	s := perform(t, &App{}, self)
	self.events <- handoff.Go{}
	s.ready()
	s.end()
	check(t, s.wait())
	for _, e := range []*elder{first, second} {
		if got := e.told(t); !strings.Contains(got, `"stop"`) {
			t.Errorf("generation %d was told %s", e.Generation, got)
		}
	}
}

// TestManagerFollowsTheReplaced, because it could not be handed over: it exits last.
func TestManagerFollowsTheReplaced(t *testing.T) {
	t.Parallel()
	m := newFakeManager(t)
	older, newer := newElder(t, 1), newElder(t, 3) // the newer one is no process, and nobody's child
	self := &fakeSelf{
		legacy: &handoff.Legacy{From: 1, Manager: fmt.Appendf(nil, `{"socket":%q}`, m.Socket)},
		older:  []*handoff.Peer{older.Peer},
	}
	self.upgrade = func(context.Context, handoff.Limits, func() handoff.Estate, func(handoff.Progress)) error {
		self.mu.Lock()
		defer self.mu.Unlock()
		self.successor = newer.Peer
		return nil
	}
	s := perform(t, &App{}, self)
	self.events <- handoff.Go{}
	self.events <- handoff.Main{Generation: 2}
	s.ready()
	check(t, s.app.Upgrade(t.Context()))
	self.events <- handoff.Stop{}
	m.expect("RELOADING=1")
	m.expect("READY=1")
	m.expect("STOPPING=1")
	close(newer.done)
	for !strings.Contains(older.told(t), `"stop"`) {
		select {
		case <-s.done:
			t.Fatal("it has not waited for the older generation")
		case <-time.After(time.Millisecond):
		}
	}
	select {
	case <-s.done:
		t.Error("it has told the older generation, and not waited")
	default:
	}
	close(older.done)
	check(t, s.wait())
}

// TestWatchdog: a sign of life needs an owner of the state that answers, and Health.
func TestWatchdog(t *testing.T) {
	t.Parallel()
	m := newFakeManager(t)
	m.Watchdog = 50 * time.Millisecond
	var ill atomic.Bool
	asked := make(chan bool, 100)
	app := &App{Version: "v7", Health: func(context.Context) error {
		if asked <- ill.Load(); ill.Load() {
			return errors.New("no disk")
		}
		return nil
	}}
	s := m.perform(app, &fakeSelf{})
	s.ready()
	m.expect("READY=1")
	m.expect("WATCHDOG=1")
	m.expect("WATCHDOG=1")
	ill.Store(true)
	for !<-asked { // what was sent before is on its way
	}
	<-asked
	m.rest()
	for range 3 {
		<-asked
	}
	if said := strings.Join(m.rest(), "|"); strings.Contains(said, "WATCHDOG") {
		t.Errorf("ill, it said %q", said)
	}
	m.await("STATUS=no sign of life for the watchdog: no disk")
	ill.Store(false)
	m.await("STATUS=generation 1 (v7) serves")
	m.expect("WATCHDOG=1")
	block := make(chan struct{})
	stuck := make(chan struct{})
	app.running().post(occurrence{call: func() { close(stuck); <-block }})
	<-stuck
	m.rest() // at most one
	<-time.After(4 * m.Watchdog)
	if said := strings.Join(m.rest(), "|"); strings.Contains(said, "WATCHDOG") {
		t.Errorf("stuck, it said %q", said)
	}
	m.await("STATUS=no sign of life for the watchdog: the App itself does not answer: no answer within 12.5ms")
	close(block)
	m.expect("WATCHDOG=1")
	s.end()
	check(t, s.wait())
}

// TestHandOver: after it nothing is said any more, and before it the successor's
// predecessor has had its turn.
func TestHandOver(t *testing.T) {
	t.Parallel()
	m := newFakeManager(t)
	h := newHerald(m.Manager, slog.New(slog.DiscardHandler))
	h.reloading("upgrading")
	done := make(chan error, 1)
	go func() { done <- h.handOver(4711, "generation 2 serves") }()
	if said := m.rest(); len(said) > 0 {
		t.Errorf("before its turn it said %q", said)
	}
	h.own()
	m.expect("RELOADING=1")
	if text := m.expect("MAINPID"); text != "MAINPID=4711\nREADY=1\nSTATUS=generation 2 serves" {
		t.Errorf("the manager read %q", text)
	}
	check(t, <-done)
	h.ready("unheard")
	h.close(errors.New("unheard"))
	if said := m.rest(); len(said) > 0 {
		t.Errorf("after the hand-over it said %q", said)
	}
	if err := h.handOver(4712, ""); err == nil {
		t.Error("after the end it hands over")
	}
}

// TestHandOverTooLate: a manager that was told of the end keeps its main process.
func TestHandOverTooLate(t *testing.T) {
	t.Parallel()
	m := newFakeManager(t)
	h := newHerald(m.Manager, slog.New(slog.DiscardHandler))
	h.own()
	h.stop("stopping")
	if err := h.handOver(4711, ""); !errors.Is(err, errStopping) {
		t.Errorf("handOver returned %v", err)
	}
	h.ready("unheard")
	m.expect("STOPPING=1")
	h.close(nil)
	if said := m.rest(); !slices.Equal(said, []string{"EXTEND_TIMEOUT_USEC=10000000", "STATUS=stopped"}) {
		t.Errorf("the manager read %q", said)
	}
}

// TestStatuses: a manager that is busy gets the last.
func TestStatuses(t *testing.T) {
	t.Parallel()
	m := newFakeManager(t)
	h := newHerald(m.Manager, slog.New(slog.DiscardHandler))
	h.own()
	gate := make(chan struct{})
	taken := make(chan struct{})
	h.tell(notice{send: func(*systemd.Notifier) error { close(taken); <-gate; return nil }})
	<-taken
	for i := range 100 {
		h.status(fmt.Sprintf("%d in hand", i))
	}
	h.ready("ready")
	close(gate)
	h.close(nil)
	if said := m.rest(); !slices.Equal(said, []string{"STATUS=99 in hand", "READY=1\nSTATUS=ready", "STATUS=stopped"}) {
		t.Errorf("the manager read %q", said)
	}
}

// TestDeafManager: one that does not read, or is gone, costs the end some seconds.
func TestDeafManager(t *testing.T) {
	t.Parallel()
	name := fmt.Sprintf("@gracerun-%d-%s", os.Getpid(), t.Name())
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	check(t, err)
	defer conn.Close()
	self := &fakeSelf{manager: systemd.Manager{Socket: name}}
	self.upgrade = func(context.Context, handoff.Limits, func() handoff.Estate, func(handoff.Progress)) error {
		return &handoff.Refusal{Stage: handoff.StageCheck, Err: errors.New("no")}
	}
	s := perform(t, &App{}, self)
	s.ready()
	for range 30 { // more than a queue of the kernel takes
		s.signal(syscall.SIGHUP)
	}
	began := time.Now()
	s.end()
	check(t, s.wait())
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the end took %v", took)
	}
}
