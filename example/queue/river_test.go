//go:build linux

package queue_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// Each job has its effect once, however often the service is upgraded and killed.
func TestRiver(t *testing.T) {
	t.Parallel()
	startRiver(t, 4*time.Second).run()
}

// A job that hands itself back on its last attempt is not discarded.
func TestRiverLastTry(t *testing.T) {
	t.Parallel()
	startRiver(t, 2*time.Second).deadline(true)
}

// Nor is one that knows nothing of the drain.
func TestRiverDeadline(t *testing.T) {
	t.Parallel()
	startRiver(t, 2*time.Second).deadline(false)
}

type riverQueue struct {
	t      *testing.T
	ctx    context.Context
	db     *pgxpool.Pool
	client *river.Client[pgx.Tx]
}

func startRiver(t *testing.T, drain time.Duration) *trial {
	t.Helper()
	url := postgres(t)
	db, err := pgxpool.New(t.Context(), url)
	q := &riverQueue{t: t, ctx: t.Context(), db: db}
	q.must(err)
	t.Cleanup(db.Close)
	awaitServer(t, func() error { return db.Ping(t.Context()) })
	driver := riverpgxv5.New(db)
	migrator, err := rivermigrate.New(driver, nil)
	q.must(err)
	_, err = migrator.Migrate(t.Context(), rivermigrate.DirectionUp, nil)
	q.must(err)
	schema, err := os.ReadFile("river/schema.sql")
	q.must(err)
	q.exec(string(schema))
	q.client, err = river.NewClient(driver, &river.Config{})
	q.must(err)
	return newTrial(start(t, "river", drain, "-db", url+"&application_name=worker"), q)
}

func (q *riverQueue) must(err error) {
	q.t.Helper()
	if err != nil {
		q.t.Fatal(err)
	}
}

func (q *riverQueue) exec(sql string) {
	q.t.Helper()
	_, err := q.db.Exec(q.ctx, sql)
	q.must(err)
}

// one is the one value that a query returns.
func one[T any](q *riverQueue, sql string) (v T) {
	q.t.Helper()
	q.must(q.db.QueryRow(q.ctx, sql).Scan(&v))
	return v
}

type bookingArgs struct {
	Key    string        `json:"key"`
	Amount int64         `json:"amount"`
	Steps  int           `json:"steps"`
	Each   time.Duration `json:"each"`
}

func (bookingArgs) Kind() string { return "booking" }

func (q *riverQueue) add(j job) {
	opts := river.InsertOpts{MaxAttempts: 100}
	if j.once {
		opts.MaxAttempts = 1
	}
	_, err := q.client.Insert(q.ctx, bookingArgs{j.key, j.amount, j.steps, j.each}, &opts)
	q.must(err)
}

// forget moves the attempts that nobody will end, and the term of the leader, an
// hour back, unless there is the time to wait for that.
func (q *riverQueue) forget() {
	if patient() {
		return
	}
	awaitServer(q.t, func() error { // what the dead have asked for is done all the same
		if n := one[int](q, `SELECT count(*) FROM pg_stat_activity WHERE application_name = 'worker'`); n > 0 {
			return fmt.Errorf("the server has %d connections of the dead", n)
		}
		return nil
	})
	q.exec(`UPDATE river_job SET attempted_at = attempted_at - interval '1 hour' WHERE state = 'running'`)
	q.exec(`UPDATE river_leader SET expires_at = expires_at - interval '1 hour'`)
}

func (q *riverQueue) due() {
	q.exec(`UPDATE river_job SET scheduled_at = now() WHERE state = 'retryable' AND scheduled_at > now()`)
}

func (q *riverQueue) failed() int {
	return one[int](q, `SELECT coalesce(sum(cardinality(errors)), 0) FROM river_job`)
}

func (q *riverQueue) booked() (jobs int, balance int64) {
	return one[int](q, `SELECT count(*) FROM bookings`), one[int64](q, `SELECT balance FROM account`)
}

func (q *riverQueue) rest() string {
	return one[string](q, `SELECT coalesce(string_agg(n || ' ' || state, ', '), '') FROM
		(SELECT count(*) AS n, state FROM river_job WHERE state <> 'completed' GROUP BY state) AS counts`)
}
