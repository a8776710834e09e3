package experiment

import (
	"testing"

	"github.com/gracerun/grace/test/harness"
)

func TestGrown(t *testing.T) {
	a := &holdings{processes: 1, fds: make(harness.FDs, 10), files: 2}
	if got := a.grown(a); got != "" {
		t.Errorf("the same: %q", got)
	}
	if got := a.grown(&holdings{processes: 1, fds: make(harness.FDs, 9), files: 1}); got != "" {
		t.Errorf("fewer: %q", got)
	}
	got := a.grown(&holdings{processes: 2, fds: make(harness.FDs, 13), files: 3})
	if want := "+1 processes +3 descriptors +1 files"; got != want {
		t.Errorf("more: %q, want %q", got, want)
	}
}
