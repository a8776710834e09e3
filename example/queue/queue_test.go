//go:build linux

package queue_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/test/harness"
)

// A job works step by step and then books its amount, once.
type job struct {
	key    string
	amount int64
	steps  int
	each   time.Duration
	once   bool // the queue may try it once only
}

// A queue is what a service takes its jobs from.
type queue interface {
	// add gives it a job.
	add(job)
	// forget lets the time pass after which the jobs of a dead process are
	// given to others. No process of the service is alive.
	forget()
	// due makes jobs due that wait for their next try.
	due()
	// failed counts the tries that failed and that cost a job one of those it has.
	failed() int
	// booked returns what the jobs did: how many have booked, and the sum.
	booked() (jobs int, balance int64)
	// rest describes what is in the queue, "" if there is nothing.
	rest() string
}

// builder compiles each program once for all tests.
var builder harness.Builder

func TestMain(m *testing.M) {
	if signal.Ignored(syscall.SIGHUP) { // under nohup(1): no service is to inherit that
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	code := m.Run()
	if err := builder.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// A trial feeds a service while it is upgraded and killed, and keeps the books.
type trial struct {
	*service
	queue  queue
	random *rand.Rand
	jobs   int
	sum    int64
}

// patient says that the tests are to wait for the minutes that forget else lets
// pass at once.
func patient() bool { return os.Getenv("GRACERUN_PATIENT") != "" }

func newTrial(s *service, q queue) *trial {
	seed := rand.Uint64()
	s.t.Logf("seed %d", seed)
	return &trial{service: s, queue: q, random: rand.New(rand.NewPCG(seed, 0))}
}

func (tr *trial) add(j job) {
	tr.jobs++
	j.key = fmt.Sprintf("job-%d", tr.jobs)
	j.amount = 1 + tr.random.Int64N(1000)
	tr.sum += j.amount
	tr.queue.add(j)
}

// feed adds jobs that take up to 150 ms, in up to four steps.
func (tr *trial) feed() {
	for range 20 {
		steps := 1 + tr.random.IntN(4)
		tr.add(job{steps: steps, each: time.Duration(5+tr.random.IntN(145)) * time.Millisecond / time.Duration(steps)})
	}
}

// run is the proof: 50 upgrades and 20 kills at random moments, among jobs of
// which some take longer than the drain may.
func (tr *trial) run() {
	upgrades, kills := 50, 20
	if testing.Short() {
		upgrades, kills = 8, 3
	}
	for range 6 {
		tr.add(job{steps: 60, each: 100 * time.Millisecond}) // and drain is 4 s
	}
	for range upgrades / 2 {
		tr.feed()
		tr.upgrade()
		tr.pause(50)
	}
	if n := tr.queue.failed(); n > 0 {
		tr.t.Errorf("%d upgrades cost %d tries", upgrades/2, n)
	}
	events := slices.Repeat([]func(){tr.upgrade}, upgrades-upgrades/2)
	events = append(events, slices.Repeat([]func(){tr.kill}, kills-1)...)
	tr.random.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
	for _, event := range append(events, tr.killOwner) { // in no upgrade: nobody lives on, and forget is called
		tr.feed()
		event()
	}
	tr.finish()
	tr.report()
	if tr.handedBack() < upgrades {
		tr.t.Error("too few jobs were handed back to prove anything")
	}
}

// kill is killOwner, often in the middle of an upgrade.
func (tr *trial) kill() {
	if tr.random.IntN(3) > 0 {
		tr.must(tr.Signal(tr.ready().PID, syscall.SIGHUP))
	}
	tr.pause(200)
	tr.killOwner()
}

// killOwner ends the process that owns the service, and starts the service anew
// if no successor lives on.
func (tr *trial) killOwner() {
	var owner int
	tr.await("a kill", func() (err error) {
		if owner, err = tr.Owner(tr.ctx); err == nil {
			err = tr.Signal(owner, syscall.SIGKILL) // it may have left meanwhile
		}
		return err
	})
	tr.kills++
	if tr.lives(owner) {
		tr.heirs++
		return
	}
	tr.queue.forget()
	tr.must(tr.Restart())
	tr.ready()
}

// pause waits for a random time: what follows is to happen at any moment.
func (tr *trial) pause(most int) {
	select {
	case <-time.After(time.Duration(tr.random.IntN(most)) * time.Millisecond):
	case <-tr.ctx.Done():
	}
}

// finish waits until all jobs are done, stops the service, and compares the books.
func (tr *trial) finish() {
	tr.t.Helper()
	tr.await("the jobs", func() error {
		tr.queue.due()
		if n, _ := tr.queue.booked(); n < tr.jobs {
			return fmt.Errorf("%d of %d are done; in the queue: %s", n, tr.jobs, tr.queue.rest())
		}
		return nil
	})
	tr.must(tr.Stop(tr.ctx))
	if n, balance := tr.queue.booked(); n != tr.jobs || balance != tr.sum {
		tr.t.Errorf("%d jobs of %d in all have booked %d of %d", tr.jobs, tr.sum, n, balance)
	}
	if rest := tr.queue.rest(); rest != "" {
		tr.t.Errorf("in the queue are left: %s", rest)
	}
}

func (tr *trial) report() {
	begun := tr.begun()
	again := 0
	for _, n := range begun {
		again += n - 1
	}
	tr.t.Logf("%d upgrades, %d kills (%d survived by a successor): %d jobs; begun again %d times: %d were handed back, %d tries failed",
		tr.upgrades, tr.kills, tr.heirs, tr.jobs, again, tr.handedBack(), tr.queue.failed())
	if again == 0 {
		tr.t.Error("no job began more than once: this proves nothing")
	}
}

// begun returns how often each job was begun, by its key.
func (s *service) begun() map[string]int {
	count := map[string]int{}
	for line := range strings.Lines(s.Log()) {
		if _, rest, ok := strings.Cut(line, " INFO begin "); ok {
			_, key, _ := strings.Cut(strings.TrimSpace(rest), "=")
			count[key]++
		}
	}
	return count
}

func (s *service) handedBack() (n int) {
	for line := range strings.Lines(s.Log()) {
		if strings.Contains(line, " INFO not done ") && strings.Contains(line, "handed back") {
			n++
		}
	}
	return n
}

// deadline upgrades while a job goes on that may be tried once only and is
// longer than the drain: it is put back, and done later. patient says that the
// job looks for the drain.
func (tr *trial) deadline(patient bool) {
	j := job{steps: 1, each: 3 * time.Second, once: true}
	if patient {
		j.steps, j.each = 30, 100*time.Millisecond
	}
	tr.add(j)
	_, err := tr.Logged(tr.ctx, 0, "begin", "job-1")
	tr.must(err)
	tr.upgrade()
	tr.finish()
	if n := tr.begun()["job-1"]; n != 2 {
		tr.t.Errorf("the job began %d times", n)
	}
	if got := tr.handedBack() > 0; got != patient {
		tr.t.Errorf("handed back: %v", got)
	}
}
