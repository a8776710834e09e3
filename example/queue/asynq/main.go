// Command asynq works off a queue in Redis with github.com/hibiken/asynq:
//
//	asynq -redis redis://127.0.0.1:6379/0 start
//	asynq reload    # the new process takes the tasks, the old one ends what it has
//	asynq stop
//
// From the moment of an upgrade the old process takes no task. One that ends by
// the deadline is let end; one that looks for the drain between its steps hands
// itself back, and the new process has it within a second; one that does neither
// is pushed back by asynq shortly before the deadline. None of this counts as a
// failed try. After a crash asynq gives the tasks of the dead process to others
// once their leases have been over for 30 s, which is a minute later and does
// count: a task may begin more than once, so that what it does is tied to a key.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/gracerun/grace/gracerun"
)

func main() {
	var app gracerun.App
	url := flag.String("redis", "redis://127.0.0.1:6379/0", "`URL` of the server")
	workers := flag.Int("workers", 10, "how many tasks at once")
	flag.StringVar(&app.RunDir, "rundir", "", "run `directory`")
	flag.DurationVar(&app.DrainTimeout, "drain", 30*time.Second, "time for tasks in hand")
	flag.DurationVar(&app.Probation, "probation", 0, "time both generations live (0 = 500ms, <0 = none)")
	flag.Parse()
	app.Setup = func(ctx context.Context) error {
		redisOpt, err := asynq.ParseRedisURI(*url)
		if err != nil {
			return err
		}
		db := redisOpt.MakeRedisClient().(redis.UniversalClient)
		app.Cleanup("redis", func(context.Context) error { return db.Close() })
		app.Go("queue", func(ctx context.Context) error {
			return consume(ctx, redisOpt, config(*workers, app.DrainTimeout), bookings{db})
		})
		return db.Ping(ctx).Err()
	}
	app.Main()
}

// config has asynq put back what is handed back, without a failed try, and push
// back the rest while a fifth of the drain's time is left: what the deadline
// itself cuts counts as a failed try.
func config(workers int, drain time.Duration) asynq.Config {
	return asynq.Config{
		Concurrency:              workers,
		ShutdownTimeout:          drain * 4 / 5,
		TaskCheckInterval:        200 * time.Millisecond, // the drain waits for it, too
		DelayedTaskCheckInterval: time.Second,            // until what was handed back is seen
		IsFailure:                func(err error) bool { return !errors.Is(err, gracerun.Requeue) },
		RetryDelayFunc: func(n int, err error, t *asynq.Task) time.Duration {
			if errors.Is(err, gracerun.Requeue) || errors.Is(err, asynq.ErrLeaseExpired) {
				return 0
			}
			return asynq.DefaultRetryDelayFunc(n, err, t)
		},
	}
}

// consume takes tasks until ctx ends, with the start of the drain, and returns
// when those in hand have ended.
func consume(ctx context.Context, redisOpt asynq.RedisConnOpt, cfg asynq.Config, h asynq.Handler) error {
	cfg.BaseContext = func() context.Context { return gracerun.ThroughDrain(ctx) }
	srv := asynq.NewServer(redisOpt, cfg)
	if err := srv.Start(handBack(h)); err != nil {
		return err
	}
	<-ctx.Done()
	srv.Shutdown()
	return nil
}

// handBack keeps a task whose last try it is. asynq would archive it, although
// the try was no failure (the counts are compared before IsFailure is asked);
// but what is not done at ShutdownTimeout it pushes back as it was, and then
// ends the task's context.
func handBack(h asynq.Handler) asynq.Handler {
	return asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error {
		err := h.ProcessTask(ctx, t)
		if errors.Is(err, gracerun.Requeue) {
			tried, _ := asynq.GetRetryCount(ctx)
			if most, _ := asynq.GetMaxRetry(ctx); tried >= most {
				<-ctx.Done()
			}
		}
		return err
	})
}

// bookings is the handler: a task works step by step, and then books an amount.
type bookings struct{ db redis.UniversalClient }

type booking struct {
	Amount int64         `json:"amount"`
	Steps  int           `json:"steps"`
	Each   time.Duration `json:"each"` // how long a step takes
}

func (h bookings) ProcessTask(ctx context.Context, t *asynq.Task) error {
	id, _ := asynq.GetTaskID(ctx)
	var b booking
	if err := json.Unmarshal(t.Payload(), &b); err != nil {
		return fmt.Errorf("%w: %w", asynq.SkipRetry, err)
	}
	slog.Info("begin", "task", id)
	if err := b.work(ctx); err != nil {
		slog.Info("not done", "task", id, "why", err)
		return err
	}
	if err := h.db.Eval(ctx, book, []string{"bookings", "balance"}, id, b.Amount).Err(); err != nil {
		return err
	}
	slog.Info("done", "task", id)
	return nil
}

// work looks before each step whether it should hand the task back.
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

// book books an amount once, however often it is called for a task: Redis makes
// one transaction of the key and the effect.
const book = `
if redis.call("HSETNX", KEYS[1], ARGV[1], ARGV[2]) == 1 then
	redis.call("INCRBY", KEYS[2], ARGV[2])
end
return 1`
