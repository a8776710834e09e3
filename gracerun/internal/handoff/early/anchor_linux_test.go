package early

import (
	"os"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestAnchorOrder: what is written is read, and the marker names it.
func TestAnchorOrder(t *testing.T) {
	t.Parallel()
	args := []string{"/opt/service", "", "-x", "run"}
	for name, c := range map[string]struct {
		text []byte
		ok   bool
	}{
		"whole":        {AnchorOrder("/proc/self/exe", args), true},
		"cut":          {AnchorOrder("/proc/self/exe", args)[:40], false},
		"no arguments": {AnchorOrder("/proc/self/exe", nil), false},
		"another's":    {[]byte("#!/bin/sh\nexit\n"), false},
		"empty":        {nil, false},
	} {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		f.Write(c.text)
		fd, err := syscall.Dup(int(f.Fd())) // a good one is closed
		if err != nil {
			t.Fatal(err)
		}
		o, ok := readAnchorOrder(fd)
		if ok != c.ok || ok && (o.Program != "/proc/self/exe" || !reflect.DeepEqual(o.Args, args)) {
			t.Errorf("%s: %+v, %v", name, o, ok)
		}
		if !c.ok {
			syscall.Close(fd)
		}
		f.Close()
	}
}

// TestAnchorRole: another value than ours means nothing.
func TestAnchorRole(t *testing.T) {
	for value, want := range map[string]struct {
		role byte
		fd   int
	}{
		strings.TrimPrefix(AnchorMarker(17), Anchor+"="): {roleAnchor, 17},
		"g" + strconv.Itoa(1023):                         {roleFirst, 1023},
		"":                                               {0, -1},
		"g":                                              {0, -1},
		"g-1":                                            {0, -1},
		"g99999999999999999999":                          {0, -1},
		"yes":                                            {0, -1},
	} {
		t.Setenv(Anchor, value)
		if role, fd := anchorRole(); role != want.role || fd != want.fd {
			t.Errorf("%q: role %q, descriptor %d", value, role, fd)
		}
	}
}
