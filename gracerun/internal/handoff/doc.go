// Package handoff is how two generations of a service talk: the old one starts
// the new one, gives it every descriptor it needs, and lets go only when the new
// one has proved itself.
//
// [tableflip] is the engine. It starts the child, tells when it exits, and
// carries the ready byte that is the commit. It decides nothing else, and it
// carries one descriptor: the child's end of a channel (a SOCK_SEQPACKET socket
// pair). Everything else travels through that channel with SCM_RIGHTS
// (unix(7)), queued before the child is started, so that a thousand sockets cost
// the start about as much as one.
//
// The launcher of a daemon is generation 0: it hands over in the same way
// ([Start]).
//
// The protocol is described in docs/handoff.md and pinned by the golden files
// in testdata.
//
// [tableflip]: https://github.com/cloudflare/tableflip
package handoff
