package early

import (
	"reflect"
	"strings"
	"syscall"
	"testing"
)

func keepings() map[string]Keeping {
	return map[string]Keeping{
		"nothing": {},
		"plain":   {Program: "/bin/sh", Args: []string{"sh", "-c", ""}, Env: []string{"A=1", "B="}, Files: "ghh"},
		"all": {
			Program: "p", Dir: "/d", Chroot: "/c", Args: []string{"\x00\n"}, Env: []string{""}, Files: "-\x00", Setsid: true, Noctty: true,
			Credential: &syscall.Credential{Uid: 1<<32 - 2, Gid: 1, Groups: []uint32{0, 7}, NoSetGroups: true},
		},
		"many": {Program: "p", Env: strings.Split(strings.Repeat("variable,", 100_000), ",")},
	}
}

// TestKeeping: what is encoded is read.
func TestKeeping(t *testing.T) {
	t.Parallel()
	for name, want := range keepings() {
		text, ok := strings.CutPrefix(string(want.Encode()), keepMagic)
		var got Keeping
		if !ok || !got.decode([]byte(text)) || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %.300v, want %.300v", name, got, want)
		}
	}
}

// TestBadKeeping is one that is cut, or no order.
func TestBadKeeping(t *testing.T) {
	t.Parallel()
	all := keepings()["all"]
	good := all.Encode()[len(keepMagic):]
	for i := range good {
		if new(Keeping).decode(good[:i]) {
			t.Errorf("the first %d bytes of %d are taken", i, len(good))
		}
	}
	if new(Keeping).decode(append(good, 0)) {
		t.Error("what is too long is taken")
	}
}

// FuzzKeeping: whatever decodes can be said again.
func FuzzKeeping(f *testing.F) {
	for name, k := range keepings() {
		if name != "many" {
			f.Add(k.Encode()[len(keepMagic):])
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var k, again Keeping
		if !k.decode(b) {
			return
		}
		if !again.decode(k.Encode()[len(keepMagic):]) || !reflect.DeepEqual(again, k) {
			t.Errorf("%+v became %+v", k, again)
		}
	})
}

// TestNoKeeper: the variable alone makes nobody a keeper, and this test goes on.
func TestNoKeeper(t *testing.T) {
	t.Setenv(Keep, "yes")
	if beKeeper() {
		t.Error("it is one")
	}
}
