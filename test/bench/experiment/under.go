package experiment

import (
	"context"
	"sync"

	"github.com/gracerun/grace/test/load"
)

// under calls f while the clients of the groups make requests, and returns what
// r has seen when the last of them is answered.
func under(ctx context.Context, r *load.Runner, groups []load.Group, f func(context.Context)) *load.Result {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { r.Run(ctx, groups...) })
	f(ctx)
	stop()
	wg.Wait()
	return r.Result()
}
