//go:build linux

package queue_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// Each task has its effect once, however often the service is upgraded and killed.
func TestAsynq(t *testing.T) {
	t.Parallel()
	startAsynq(t, 4*time.Second).run()
}

// A task that hands itself back on its last try is not archived.
func TestAsynqLastTry(t *testing.T) {
	t.Parallel()
	startAsynq(t, 2*time.Second).deadline(true)
}

// Nor is one that knows nothing of the drain.
func TestAsynqDeadline(t *testing.T) {
	t.Parallel()
	startAsynq(t, 2*time.Second).deadline(false)
}

type asynqQueue struct {
	t         *testing.T
	ctx       context.Context
	db        *redis.Client
	client    *asynq.Client
	inspector *asynq.Inspector
}

func startAsynq(t *testing.T, drain time.Duration) *trial {
	t.Helper()
	socket := redisServer(t)
	q := &asynqQueue{t: t, ctx: t.Context(), db: redis.NewClient(&redis.Options{Network: "unix", Addr: socket})}
	t.Cleanup(func() { q.db.Close() })
	q.client, q.inspector = asynq.NewClientFromRedisClient(q.db), asynq.NewInspectorFromRedisClient(q.db)
	awaitServer(t, func() error { return q.db.Ping(t.Context()).Err() })
	return newTrial(start(t, "asynq", drain, "-redis", "redis-socket://"+socket), q)
}

func (q *asynqQueue) must(err error) {
	q.t.Helper()
	if err != nil {
		q.t.Fatal(err)
	}
}

func (q *asynqQueue) add(j job) {
	payload, err := json.Marshal(map[string]int64{"amount": j.amount, "steps": int64(j.steps), "each": int64(j.each)})
	q.must(err)
	tries := 100
	if j.once {
		tries = 0
	}
	_, err = q.client.Enqueue(asynq.NewTask("booking", payload), asynq.TaskID(j.key), asynq.MaxRetry(tries))
	q.must(err)
}

// forget moves the leases, which asynq gives out for 30 s and honours for 30 s
// more, a minute back, unless there is the time to wait for that.
func (q *asynqQueue) forget() {
	if patient() {
		return
	}
	const leases = "asynq:{default}:lease"
	tasks, err := q.db.ZRange(q.ctx, leases, 0, -1).Result()
	q.must(err)
	for _, id := range tasks {
		q.must(q.db.ZIncrBy(q.ctx, leases, -60, id).Err())
	}
}

func (q *asynqQueue) due() {}

func (q *asynqQueue) info() *asynq.QueueInfo {
	info, err := q.inspector.GetQueueInfo("default")
	q.must(err)
	return info
}

func (q *asynqQueue) failed() int { return q.info().FailedTotal }

func (q *asynqQueue) booked() (jobs int, balance int64) {
	n, err := q.db.HLen(q.ctx, "bookings").Result()
	q.must(err)
	if balance, err = q.db.Get(q.ctx, "balance").Int64(); err != redis.Nil {
		q.must(err)
	}
	return int(n), balance
}

func (q *asynqQueue) rest() string {
	i := q.info()
	var rest []string
	for _, of := range []struct {
		n     int
		state string
	}{{i.Active, "active"}, {i.Pending, "pending"}, {i.Retry, "to be retried"}, {i.Scheduled, "scheduled"}, {i.Archived, "archived"}} {
		if of.n > 0 {
			rest = append(rest, fmt.Sprint(of.n, " ", of.state))
		}
	}
	return strings.Join(rest, ", ")
}
