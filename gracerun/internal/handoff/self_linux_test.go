package handoff

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/listener"
)

// These tests are in the package: they are both sides of a hand-over in one
// process, without the engine that starts another.

// handle returns a descriptor that names the process.
func handle(t *testing.T, pid int) *os.File {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	check(t, err)
	f := os.NewFile(uintptr(fd), "pidfd")
	t.Cleanup(func() { f.Close() })
	return f
}

// heir returns a successor that has read the first message, at the other end of
// ours.
func heir(t *testing.T, start message) (child *Self, ours *channel) {
	t.Helper()
	ours, theirs := pair(t)
	child = &Self{
		generation: start.Generation, in: &inheritance{start: start, ch: theirs},
		events: make(chan any), closed: make(chan struct{}), exit: make(chan struct{}),
	}
	return child, ours
}

// TestInheritance: what the old generation packs the new one unpacks, the older
// ones included.
func TestInheritance(t *testing.T) {
	t.Parallel()
	cmd, end := sleeper(t) // plays generation 1
	defer func() { end(); check(t, cmd.Wait()) }()
	proc, err := openProcess(cmd.Process.Pid)
	check(t, err)
	toFirst, first := pair(t)
	since := time.Unix(1767225600, 1)
	old := &Self{generation: 2, exit: make(chan struct{})}
	old.older = []*Peer{{Generation: 1, PID: cmd.Process.Pid, Version: "v1", Since: since, proc: proc, ch: toFirst}}
	defer proc.close()

	const sockets = 2*maxItems + 7
	estate := Estate{App: "test", Version: "v2", Since: since.Add(1), Asked: since.Add(2), Lock: open(t, os.DevNull)}
	dir := t.TempDir()
	for i := range sockets {
		f, err := os.Create(fmt.Sprintf("%s/%d", dir, i))
		check(t, err)
		t.Cleanup(func() { f.Close() })
		estate.Handles = append(estate.Handles, listener.Handle{Name: fmt.Sprint(i)})
		estate.Conns = append(estate.Conns, f)
	}
	packets, dups, err := old.packets(estate, "N", open(t, os.DevNull), handle(t, os.Getpid()))
	check(t, err)
	defer closeAll(dups)
	child, ours := heir(t, packets[0].m)
	go func() {
		for _, p := range packets[1:] {
			ours.sendFiles(p.m, p.conns, true)
		}
	}()
	check(t, child.receive())
	child.listen()
	defer child.Close()

	legacy := child.Legacy()
	defer legacy.Lock.Close()
	defer closeFDs(legacy.FDs)
	if child.Number() != 3 || legacy.From != 2 || !legacy.Asked.Equal(estate.Asked) || legacy.Lock == nil {
		t.Errorf("generation %d with the legacy of %d, asked for at %v, lock %v", child.Number(), legacy.From, legacy.Asked, legacy.Lock)
	}
	if !reflect.DeepEqual(legacy.Handles, estate.Handles) || len(legacy.FDs) != sockets {
		t.Errorf("%d handles and %d descriptors", len(legacy.Handles), len(legacy.FDs))
	}
	for i, fd := range legacy.FDs {
		if link, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); link != fmt.Sprintf("%s/%d", dir, i) {
			t.Fatalf("file %d is %s", i, link)
		}
	}
	older := child.Older()
	if len(older) != 2 || older[0].Generation != 1 || older[1].Generation != 2 {
		t.Fatalf("older generations: %v", older)
	}
	if p := older[0]; p.PID != cmd.Process.Pid || p.Version != "v1" || !p.Since.Equal(since) || !p.Alive() {
		t.Errorf("generation 1: %+v", p)
	}
	if p := older[1]; p.PID != os.Getpid() || p.Version != "v2" || !p.Since.Equal(estate.Since) {
		t.Errorf("generation 2: %+v", p)
	}
	older[0].Stop(time.Minute) // through a channel of which this side had only the other end
	if m, _, err := first.recv(); err != nil || m.Type != typeStop || m.Within != int64(time.Minute) {
		t.Errorf("generation 1 heard %+v, %v", m, err)
	}
	ours.tell(message{Type: typeGo})
	if ev := <-child.Events(); ev != (Go{}) {
		t.Errorf("the verdict: %+v", ev)
	}
}

// TestBadInheritance: a list that is not whole is refused with the reason.
func TestBadInheritance(t *testing.T) {
	t.Parallel()
	pred := item{Kind: kindProcess, Generation: 1, PID: os.Getpid()}
	for want, items := range map[string][]item{
		"the predecessor's handle did not come":                 {{Kind: kindLock}},
		"generation 3 came without a handle or a channel":       {pred, {Kind: kindProcess, Generation: 3}},
		"a socket came without its address":                     {{Kind: kindSocket}, pred},
		"channel to generation 3: ":                             {{Kind: kindChannel, Generation: 3}, pred},
		"receive descriptors: ":                                 nil,
		"" /* a newer build sends something unknown as well */ : {{Kind: "ticket_keys"}, pred},
	} {
		child, ours := heir(t, message{Type: typeStart, Generation: 2, Total: max(len(items), 1)})
		if items == nil {
			ours.close()
		} else {
			conns := slices.Repeat([]syscall.Conn{handle(t, os.Getpid())}, len(items))
			check(t, ours.sendFiles(message{Type: typeFiles, Items: items}, conns, false))
		}
		err := child.receive()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("receive returned %v, want %q", err, want)
		}
		child.Close()
		if f := child.legacy.Lock; f != nil {
			f.Close()
		}
	}
}

// TestVerdict of a predecessor that speaks, or dies, or both.
func TestVerdict(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		says []message
		dies bool
		want any
	}{
		"go":                {[]message{{Type: typeGo}}, false, Go{}},
		"abort":             {[]message{{Type: typeAbort, Error: "TERM"}}, false, Abort{Reason: "TERM"}},
		"the first counts":  {[]message{{Type: "mood"}, {Type: typeAbort}, {Type: typeGo}}, false, Abort{}},
		"dies":              {nil, true, Go{Orphan: true}},
		"last words: go":    {[]message{{Type: typeGo}}, true, Go{}},
		"last words: abort": {[]message{{Type: typeAbort, Error: "TERM"}}, true, Abort{Reason: "TERM"}},
		"other last words":  {[]message{{Type: "mood"}}, true, Go{Orphan: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd, end := sleeper(t)
			child, ours := heir(t, message{Type: typeStart, Generation: 2, Total: 1})
			conns := []syscall.Conn{handle(t, cmd.Process.Pid)}
			check(t, ours.sendFiles(message{Type: typeFiles, Items: []item{{Kind: kindProcess, Generation: 1, PID: cmd.Process.Pid}}}, conns, false))
			for _, m := range c.says {
				check(t, ours.send(m))
			}
			if c.dies {
				end()
			}
			check(t, child.receive())
			child.listen()
			if got := <-child.Events(); got != c.want {
				t.Errorf("the verdict: %+v, want %+v", got, c.want)
			}
			child.Close()
			end()
			check(t, cmd.Wait())
		})
	}
}

// TestCloseWithoutAVerdict: who waits for it is told to stop.
func TestCloseWithoutAVerdict(t *testing.T) {
	t.Parallel()
	child, ours := heir(t, message{Type: typeStart, Generation: 2, Total: 1})
	conns := []syscall.Conn{handle(t, os.Getpid())}
	check(t, ours.sendFiles(message{Type: typeFiles, Items: []item{{Kind: kindProcess, Generation: 1}}}, conns, false))
	check(t, child.receive())
	child.listen()
	child.Close()
}

// TestWaitForRoom: at the cap the oldest is told to hurry, and waited for.
func TestWaitForRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &Self{generation: 4, exit: make(chan struct{})}
		var ends []*channel
		for i := range 3 {
			ours, theirs := pair(t)
			ends = append(ends, theirs)
			s.older = append(s.older, &Peer{Generation: i + 1, PID: 4001 + i, proc: &process{done: make(chan struct{})}, ch: ours})
		}
		exits := func(p *Peer) { close(p.proc.done); s.bury(p) }
		var waited []int
		progress := func(p Progress) {
			if p.Stage != StageWait {
				t.Errorf("progress: %+v", p)
			}
			waited = append(waited, p.For.Generation)
		}
		for _, most := range []int{0, -1, 5} {
			check(t, s.waitForRoom(t.Context(), most, progress))
		}
		if waited != nil {
			t.Errorf("it waited for %v although there was room", waited)
		}
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("lost patience"))
		defer cancel()
		err := s.waitForRoom(ctx, 4, progress)
		refusal := new(Refusal)
		if !errors.As(err, &refusal) || refusal.Stage != StageWait || refusal.PID != 0 ||
			refusal.Err.Error() != "4 generations are alive, the oldest is generation 1 (pid 4001): lost patience" {
			t.Errorf("waitForRoom returned %v", err)
		}
		waited = nil
		oldest, second := s.older[0], s.older[1]
		time.AfterFunc(time.Second, func() { exits(second) })
		time.AfterFunc(2*time.Second, func() { exits(oldest) })
		check(t, s.waitForRoom(t.Context(), 3, progress))
		if !slices.Equal(waited, []int{1, 1}) {
			t.Errorf("it waited for %v", waited)
		}
		var heard []string
		ends[0].readQueued(func(m message) { heard = append(heard, m.Type) })
		if !slices.Contains(heard, typeHurry) {
			t.Errorf("the oldest heard %q", heard)
		}
	})
}

// TestEvents: each message of another generation becomes one event.
func TestEvents(t *testing.T) {
	t.Parallel()
	p, due := new(Peer), time.Unix(1767225600, 1)
	for _, c := range []struct {
		m    message
		want any
	}{
		{message{Type: typeHurry}, Hurry{From: p}},
		{message{Type: typeInHand, Work: []work{{Name: "mail", Count: 1, Since: due.UnixNano()}}, Names: []string{"mail: 1"}},
			InHand{From: p, Work: []Work{{Name: "mail", Count: 1, Since: due}}}},
		{message{Type: typeInHand, Names: []string{"mail: 1"}}, InHand{From: p, Work: []Work{{Name: "mail: 1"}}}},
		{message{Type: typeInHand}, InHand{From: p}},
		{message{Type: typeReopen}, Reopen{}},
		{message{Type: typeMain, Generation: 2}, Main{Generation: 2}},
		{message{Type: typeStop, Within: 5}, Stop{Within: 5}},
		{message{Type: typeReleased, Name: "tick"}, Released{Name: "tick"}},
		{message{Type: typeReleased, Name: "tick", Due: due.UnixNano()}, Released{Name: "tick", Due: due}},
		{message{Type: typeUpgrade, ID: 7}, Upgrade{From: p, ID: 7}},
		{message{Type: typeUpgrade, ID: 7, Reload: true}, Upgrade{From: p, ID: 7, Reload: true}},
		{message{Type: typeUpgraded, ID: 7}, Upgraded{ID: 7}},
		{message{Type: "mood"}, nil},
	} {
		if got := event(p, c.m); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s became %+v, want %+v", c.m.Type, got, c.want)
		}
	}
	got, ok := event(p, message{Type: typeUpgraded, ID: 7, PID: 1, Stage: "setup", Error: "no database"}).(Upgraded)
	if !ok || got.ID != 7 || got.Refusal == nil || got.Refusal.PID != 1 || got.Refusal.Error() != "setup: no database" {
		t.Errorf("a refusal became %+v", got)
	}
}

// TestExitText: the engine's words are not ours.
func TestExitText(t *testing.T) {
	t.Parallel()
	for words, want := range map[string]string{
		"child pid=7 exited: exit status 1":  "the child ended with exit status 1",
		"child pid=7 exited: signal: killed": "the child ended with signal: killed",
		"child pid=7 exited":                 "the child ended with exit status 0",
		"can't start child: can't start process /svc: fork/exec /svc: permission denied": "can't start process /svc: fork/exec /svc: permission denied",
	} {
		if got := exitText(errors.New(words)); got != want {
			t.Errorf("%q became %q, want %q", words, got, want)
		}
	}
}

// TestCrashText is the reason without the stacks.
func TestCrashText(t *testing.T) {
	t.Parallel()
	f, err := newMemory("crash")
	check(t, err)
	defer f.Close()
	if got := crashText(f, true); got != "" {
		t.Errorf("nothing crashed: %q", got)
	}
	const text, stack = "panic: no database [recovered]\n\tpanic: really", "\n\ngoroutine 1 [running]:\nmain.main()"
	fmt.Fprint(f, text+stack+"\n\ngoroutine 2 [select]:\nmain.other()\n")
	for withStack, want := range map[bool]string{false: text, true: text + stack} {
		if got := crashText(f, withStack); got != want {
			t.Errorf("the text is %q, want %q", got, want)
		}
	}
}

// TestWordsInTheLog: who reads the pipe of a daemon has them, and not its parent.
func TestWordsInTheLog(t *testing.T) {
	t.Parallel()
	crash, err := newMemory("crash")
	check(t, err)
	defer crash.Close()
	b := &birth{crash: crash, piped: true}
	want := "the child ended with exit status 1; its last lines are in the log of the service"
	if got := b.words(errors.New("child pid=12 exited: exit status 1")).Error(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestLastLines of a log that others wrote before.
func TestLastLines(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/log"
	check(t, os.WriteFile(path, []byte("of the old generation\n"), 0o600))
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	check(t, err)
	defer f.Close()
	mark := markLog(f)
	if got := mark.tail(); got != "" {
		t.Errorf("nothing was written, and the tail is %q", got)
	}
	cmd := exec.Command("sh", "-c", "for i in 1 2 3 4 5 6 7; do echo line $i; done")
	cmd.Stdout = f
	check(t, cmd.Run())
	if got, want := mark.tail(), "line 3\nline 4\nline 5\nline 6\nline 7"; got != want {
		t.Errorf("the tail is %q, want %q", got, want)
	}
	r, _ := pipe(t)
	if got := markLog(r).tail(); got != "" {
		t.Errorf("the tail of a pipe is %q", got)
	}
}

// TestLastWords: what an older generation says before it exits is heard, however
// late that is.
func TestLastWords(t *testing.T) {
	t.Parallel()
	cmd, end := sleeper(t)
	child, ours := heir(t, message{Type: typeStart, Generation: 2, Total: 1})
	conns := []syscall.Conn{handle(t, cmd.Process.Pid)}
	check(t, ours.sendFiles(message{Type: typeFiles, Items: []item{{Kind: kindProcess, Generation: 1, PID: cmd.Process.Pid}}}, conns, false))
	check(t, child.receive())
	names := []string{"a", "b", "c"}
	for _, name := range names {
		check(t, ours.send(message{Type: typeReleased, Name: name}))
	}
	older := child.Older()[0]
	child.wg.Go(func() { child.follow(older) })
	end()
	<-older.Done()
	for _, name := range names {
		if got := <-child.Events(); got != (Released{Name: name}) {
			t.Errorf("heard %+v, want %q released", got, name)
		}
	}
	if got := <-child.Events(); got != (Exited{Peer: older}) {
		t.Errorf("heard %+v, want the exit", got)
	}
	check(t, cmd.Wait())
	child.Close()
}

// TestNewestIsHeard: the successor has exited and has handed its end of the
// channel on, so that its successor speaks through it.
func TestNewestIsHeard(t *testing.T) {
	t.Parallel()
	cmd, end := sleeper(t) // plays generation 2
	proc, err := openProcess(cmd.Process.Pid)
	check(t, err)
	ours, theirs := pair(t) // at the other end are generations 2 and 3
	s := &Self{generation: 1, events: make(chan any), closed: make(chan struct{})}
	s.successor = &Peer{Generation: 2, proc: proc, ch: ours}
	b := &birth{ch: ours, messages: make(chan message)}
	go b.listen()
	s.wg.Go(func() { s.followSuccessor(s.successor, b.messages) })
	check(t, theirs.send(message{Type: typeLeaving}))
	end()
	if got, want := <-s.Events(), (Exited{Peer: s.successor, Leaving: true}); got != want {
		t.Errorf("heard %+v, want %+v", got, want)
	}
	check(t, theirs.send(message{Type: typeReopen}))
	if got := <-s.Events(); got != (Reopen{}) {
		t.Errorf("heard %+v of generation 3", got)
	}
	s.successor.InHand([]Work{{Name: "mail", Count: 1}}, time.Time{})
	if m, _, err := theirs.recv(); err != nil || m.Type != typeInHand {
		t.Errorf("generation 3 heard %+v, %v", m, err)
	}
	check(t, cmd.Wait())
	s.Close()
}

// TestLongHistory is left out rather than a reason to fail.
func TestLongHistory(t *testing.T) {
	t.Parallel()
	null := open(t, os.DevNull)
	for name, c := range map[string]struct {
		history string
		kept    bool
	}{
		"short":   {`[{"error":"<none>"}]`, true},
		"long":    {`["` + strings.Repeat("<", maxFrame/6) + `"]`, false},
		"no JSON": {`[`, false},
	} {
		p := new(Self).startPacket(Estate{History: []byte(c.history)}, "N", null, 0)
		if _, err := encode(p.m); err != nil || (p.m.History != nil) != c.kept {
			t.Errorf("%s: %v, kept %t", name, err, p.m.History != nil)
		}
	}
}

// TestManagerIsKept: what the App needs to know of its service manager is the last
// to be left out.
func TestManagerIsKept(t *testing.T) {
	t.Parallel()
	null, long := open(t, os.DevNull), json.RawMessage(`["`+strings.Repeat("x", maxFrame*2/3)+`"]`)
	p := new(Self).startPacket(Estate{History: long, Manager: long}, "N", null, 0)
	if _, err := encode(p.m); err != nil || p.m.History != nil || len(p.m.Manager) != len(long) {
		t.Errorf("%v, with a history of %d and a manager of %d bytes", err, len(p.m.History), len(p.m.Manager))
	}
	b, err := (&Self{exit: make(chan struct{})}).conceive(Estate{Manager: append(append(json.RawMessage(`[`), long...), append(append(json.RawMessage(`,`), long...), ']')...)})
	if err == nil || b != nil || !strings.HasPrefix(err.Error(), "queue start: encode start: ") {
		t.Errorf("a manager that is too long: %v", err)
	}
}

// TestMuchWork: as much is told as fits into a message.
func TestMuchWork(t *testing.T) {
	t.Parallel()
	ours, theirs := pair(t)
	list := slices.Repeat([]Work{{Name: strings.Repeat("x", 200), Count: 1 << 30, Since: time.Now()}}, 1000)
	(&Peer{ch: ours}).InHand(list, time.Time{})
	if m, _, err := theirs.recv(); err != nil || len(m.Work) != maxWork || len(inHand(m)) != maxWork {
		t.Errorf("received %d, %v", len(m.Work), err)
	}
}
