// Command river works off a queue in PostgreSQL with github.com/riverqueue/river:
//
//	psql -f schema.sql            # of the bookings; River's own tables: river migrate-up
//	river -db postgres:///app start
//	river reload    # the new process takes the jobs, the old one ends what it has
//	river stop
//
// From the moment of an upgrade the old process takes no job. One that ends by
// the deadline is let end; one that looks for the drain between its steps hands
// itself back, and the new process has it within a second; of one that does
// neither the context is ended shortly before the deadline, and River puts it
// back. None of this counts as an attempt. After a crash the jobs of the dead
// process stay as they are until RescueStuckJobsAfter, and the attempt counts: a
// job may begin more than once, so that what it does is tied to a key.
package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"github.com/gracerun/grace/gracerun"
)

func main() {
	var app gracerun.App
	url := flag.String("db", "postgres:///app", "`URL` of the database")
	workers := flag.Int("workers", 10, "how many jobs at once")
	flag.StringVar(&app.RunDir, "rundir", "", "run `directory`")
	flag.DurationVar(&app.DrainTimeout, "drain", 30*time.Second, "time for jobs in hand")
	flag.DurationVar(&app.Probation, "probation", 0, "time both generations live (0 = 500ms, <0 = none)")
	flag.Parse()
	app.Setup = func(ctx context.Context) error {
		db, err := pgxpool.New(ctx, *url)
		if err != nil {
			return err
		}
		app.Cleanup("database", func(context.Context) error { db.Close(); return nil })
		client, err := river.NewClient(riverpgxv5.New(db), config(*workers, app.DrainTimeout, db))
		if err != nil {
			return err
		}
		app.Go("queue", func(ctx context.Context) error { return consume(ctx, client) })
		return db.Ping(ctx)
	}
	app.Main()
}

// config ends the contexts of what is not done while a fifth of the drain's time
// is left: River then has the time to put it back.
func config(workers int, drain time.Duration, db *pgxpool.Pool) *river.Config {
	jobs := river.NewWorkers()
	river.AddWorker(jobs, &bookings{db: db})
	return &river.Config{
		Queues:               map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers}},
		Workers:              jobs,
		Middleware:           []rivertype.Middleware{river.WorkerMiddlewareFunc(handBack)},
		SoftStopTimeout:      drain * 4 / 5,
		JobTimeout:           time.Minute,
		RescueStuckJobsAfter: 2 * time.Minute, // must be more than JobTimeout; the default is an hour
		Logger:               slog.Default(),
	}
}

// consume takes jobs until ctx ends, with the start of the drain, and returns
// when those in hand have ended. Their contexts have the values of ctx, so that
// gracerun.Draining knows them, but not its end: that is SoftStopTimeout's doing.
func consume(ctx context.Context, client *river.Client[pgx.Tx]) error {
	if err := client.Start(ctx); err != nil {
		return err
	}
	<-client.Stopped()
	return nil
}

// handBack puts a job back as if it had never been taken.
func handBack(ctx context.Context, _ *rivertype.JobRow, work func(context.Context) error) error {
	err := work(ctx)
	if errors.Is(err, gracerun.Requeue) {
		return river.JobSnooze(0)
	}
	return err
}

// A booking is a job: it works step by step, and then books an amount.
type booking struct {
	Key    string        `json:"key"`
	Amount int64         `json:"amount"`
	Steps  int           `json:"steps"`
	Each   time.Duration `json:"each"` // how long a step takes
}

func (booking) Kind() string { return "booking" }

type bookings struct {
	river.WorkerDefaults[booking]
	db *pgxpool.Pool
}

func (w *bookings) Work(ctx context.Context, job *river.Job[booking]) error {
	slog.Info("begin", "job", job.Args.Key)
	if err := job.Args.work(ctx); err != nil {
		slog.Info("not done", "job", job.Args.Key, "why", err)
		return err
	}
	err := pgx.BeginFunc(ctx, w.db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, book, job.Args.Key, job.Args.Amount); err != nil {
			return err
		}
		_, err := river.JobCompleteTx[*riverpgxv5.Driver](ctx, tx, job)
		return err
	})
	if err == nil {
		slog.Info("done", "job", job.Args.Key)
	}
	return err
}

// work looks before each step whether it should hand the job back.
func (b *booking) work(ctx context.Context) error {
	for range b.Steps {
		select {
		case <-gracerun.Draining(ctx):
			return gracerun.Requeue
		default:
		}
		select {
		case <-time.After(b.Each): // here goes the work
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// book books an amount once, however often it is called with a key.
const book = `
WITH new AS (INSERT INTO bookings (key, amount) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING amount)
UPDATE account SET balance = balance + new.amount FROM new`
