// Package early is the first of this module to run in a child: it hides the
// hand-over's descriptors and variable before any package that can start a
// command has been initialised. It also is all that runs in the process between
// the launcher of a daemon and the daemon, or between two generations.
//
// It imports package syscall, and what that does, and nothing else: packages are initialised as soon
// as their imports are, in the order of their paths (the Go specification,
// "Program initialization"), so that this one precedes everything that needs
// package os, wherever it comes from.
package early

// Sentinel is the variable that tableflip puts into the environment of a child.
const Sentinel = "TABLEFLIP_HAS_PARENT_7DIU3"

// Launch is the variable that the launcher of a daemon puts into the environment
// of the process between itself and the daemon.
const Launch = "GRACERUN_LAUNCH"

// Descriptors of a child that tableflip started (0 to 2 are the standard ones).
const (
	Ready   = 3 // write end: one byte is the commit
	Names   = 4 // read end: the names of the files; its EOF says that the parent is gone
	Channel = 5 // the only file that it is given
	Reports = 6 // only between a launcher and its daemon: a stream, orders in, reports out
)

// Magic begins every message of the channel; four bytes of length and the body
// follow. StartPrefix begins the body of the first, and AskBetween is next where a
// process is to stand between the two generations.
const (
	Magic       = "GRUN"
	StartPrefix = `{"type":"start",`
	AskBetween  = `"between":true,`
)
