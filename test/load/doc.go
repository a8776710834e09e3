// Package load is a set of clients that keep a service busy while it is
// replaced, and that notice everything a real client would notice.
//
// A [Client] makes one request at a time and never repeats one: what is lost
// is a [Failure]. (net/http's Transport would hide the loss: it sends
// idempotent requests again, and any request that has a GetBody and failed on
// a reused connection before the first byte of the answer.) HTTP/1.1 is spoken
// on a plain connection, HTTP/2 on [http.ClientConn], which has no pool and so
// nothing to try again on.
//
// A [Runner] runs groups of clients until its context ends, lets each finish
// the request in hand, and returns a [Result]:
//
//	target := load.Target{Address: "127.0.0.1:8080"}
//	var r load.Runner
//	res := r.Run(ctx,
//		load.Group{Kind: "keep-alive", N: 32, New: func() load.Client { return &load.KeepAlive{Target: target} }},
//		load.Group{Kind: "fresh", N: 4, New: func() load.Client { return &load.Fresh{Target: target} }},
//	)
//
// The clients ask the service for these:
//
//	GET /            "generation G pid P"
//	POST /echo       exactly the bytes sent
//	GET /sleep?d=D   an answer after D
//	GET /stream?d=D  a line every 100 ms for D, chunked
//	raw TCP          the line "generation G pid P", then every line back
//
// A handler must read the whole body before it echoes the first byte: in
// HTTP/1 net/http discards what is left of the body when the answer begins,
// see [http.ResponseWriter].
//
// # What the latencies mean
//
// Without [Group.Rate] the load is a closed loop: a client sends its next
// request after the answer to the last one, plus a think time. While the service
// stalls fewer requests are sent, so the quantiles say what these clients saw
// and not what arrivals at a fixed rate would have seen (coordinated omission).
// The maximum, and [Stat.Series], do show every stall.
//
// With Rate it is an open loop: requests are due at fixed times, as if each came
// from a user who knows nothing of the others, and a latency counts from when
// the request was due. A stall is in the latency of every request that was due
// during it, also of those which waited for one of the N clients, so the
// quantiles are free of coordinated omission. What the clients themselves cost
// is in them too: N too small for the rate, a machine they share with the
// service, and up to a millisecond of timer unless [Runner.Exact].
package load
