package experiment

import (
	"slices"
	"testing"

	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/load"
)

func failures(n int) []load.Failure {
	return slices.Repeat([]load.Failure{{Stage: load.StageRefused, Err: errDied}}, n)
}

func TestComplaint(t *testing.T) {
	for _, test := range []struct{ log, want string }{
		{"", ""},
		{"2026/11/20 13:00:01 upgrade begins\n", ""},
		{"2026/11/20 13:00:01 begins\n2026/11/20 13:00:01.5 upgrade failed: exit status 1\n", "upgrade failed: exit status 1"},
		{"broken on purpose\n", ""},
		{"panic: broken on purpose: this build dies late\n", ""},
		{"upgrade failed: can't start /tmp/root/bin/x: no such file\n", "upgrade failed: can't start /bin/x: no such file"},
		{"upgrade failed: half a li", ""},
		{"Former worker (7) exited with code 0 (Exit)\nWorker (8) exited with code 1 (Exit)\n", "Worker (8) exited with code 1 (Exit)"},
	} {
		if got := complaint(test.log, "/tmp/root"); got != test.want {
			t.Errorf("complaint(%q) = %q, want %q", test.log, got, test.want)
		}
	}
}

// What a broken program costs is a fault unless the old one serves, says so, loses
// nothing and can be replaced.
func TestMishapFaults(t *testing.T) {
	good := mishap{how: peer.Exit, serves: "old", words: "upgrade failed"}
	if got := good.faults(); got != nil {
		t.Errorf("good: %v", got)
	}
	for name, spoil := range map[string]func(*mishap){
		"nobody serves": func(m *mishap) { m.serves = "nobody" },
		"silent":        func(m *mishap) { m.words = "" },
		"a loss":        func(m *mishap) { m.lost = failures(1) },
		"many, late":    func(m *mishap) { m.how, m.lost = peer.Late, failures(lightClients+1) },
		"stuck":         func(m *mishap) { m.later = errDied },
		"not known":     func(m *mishap) { m.err = errDied },
	} {
		m := good
		spoil(&m)
		if got := m.faults(); len(got) != 1 {
			t.Errorf("%s: %q, want one", name, got)
		}
	}
	good.how, good.lost = peer.Late, failures(lightClients)
	if got := good.faults(); got != nil {
		t.Errorf("in the hands of the one that died: %v", got)
	}
}

func TestShorten(t *testing.T) {
	if got := shorten("0123456789", 10); got != "0123456789" {
		t.Errorf("got %q", got)
	}
	if got := shorten("0123456789abcdef", 11); got != "012 ... def" {
		t.Errorf("got %q", got)
	}
}
