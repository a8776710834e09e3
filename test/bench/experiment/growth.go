package experiment

import (
	"context"
	"fmt"
	"strconv"

	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/bench/report"
)

const growthText = "*Listeners*: signal to first answer as in [speed](#speed), with 1 to 1,000 addresses. *First* is the answer at the\n" +
	"first address of the list, *last* the one at the last, asked when the first has answered. The raw limit and gracerun\n" +
	"serve when they have all their listeners; others serve each as soon as they have it, and answer at the first before\n" +
	"they have the last.\n\n" +
	"*Idle connections*: so many keep-alive connections are open when the upgrade begins. Each has carried one request,\n" +
	"and is not used again. *Gone* is from the trigger until no more processes are there than before, which is looked at\n" +
	"every 5 ms for 10 s. gracerun's contains 500 ms of probation, in which both generations serve, and 1 s of linger.\n\n" +
	"*Back to back*: each upgrade is triggered as soon as a new process has answered, 20 times, while 8 clients that\n" +
	"never repeat a request make some 700 a second. *Honoured* are the triggers after which a new process answered\n" +
	"within 2 s (gracerun has 30 s: it takes one upgrade at a time, and each has its probation)."

// growth measures what becomes of an upgrade when there is more of everything.
func growth(ctx context.Context, env *Env) (*report.Section, error) {
	sec := &report.Section{ID: "growth", Title: "Growth", Text: growthText}
	for _, part := range []func(context.Context, *Env, *report.Section) error{growListeners, growIdle, growChain} {
		if err := part(ctx, env, sec); err != nil {
			return sec, err
		}
		if err := ctx.Err(); err != nil {
			return sec, err
		}
	}
	return sec, nil
}

// growing returns the kinds that can be upgraded; when Quick, those that goals speak
// of.
func growing(env *Env) []*peer.Kind {
	return env.pick(peer.Upgrade, ours, rawLimit, tableflip, haproxy)
}

// haproxy is the name of HAProxy at its defaults.
const haproxy = "HAProxy reload"

// thousands returns n as "10,000".
func thousands(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
