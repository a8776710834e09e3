package experiment

import "github.com/gracerun/grace/test/load"

// A class is how a request failed, as a column of the table.
type class string

// classOf returns the stage, and where it matters whether the connection had
// carried an answer before.
func classOf(f *load.Failure) class {
	switch f.Stage {
	case load.StageResetBefore, load.StageEOFBefore:
		if f.Reused {
			return class(f.Stage) + ", reused"
		}
		return class(f.Stage) + ", fresh"
	}
	return class(f.Stage)
}

// classes returns all, in the order in which a request meets them.
func classes() []class {
	var list []class
	for _, s := range []load.Stage{
		load.StageRefused, load.StageDial, load.StageResetBefore, load.StageEOFBefore, load.StageResetInside,
		load.StageEOFInside, load.StageShort, load.StageWrongAnswer, load.StageTimeout,
	} {
		fresh, reused := classOf(&load.Failure{Stage: s}), classOf(&load.Failure{Stage: s, Reused: true})
		list = append(list, fresh)
		if reused != fresh {
			list = append(list, reused)
		}
	}
	return list
}

// excused reports whether a failure is counted apart: a connection that had been
// idle for longer than gracerun keeps it was closed, and the client had not
// looked, or the request and the FIN crossed on the wire (RFC 9112, section 9.5).
// Anything else that befalls those clients counts as everywhere.
func excused(f *load.Failure) bool {
	closed := f.Stage == load.StageEOFBefore || f.Stage == load.StageResetBefore
	for _, m := range modes() {
		if m.name == f.Kind && m.idles {
			return f.Reused && closed
		}
	}
	return false
}
