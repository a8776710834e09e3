package early

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

// These tests are in the package: what is said between a launcher and its daemon
// has no face.

func orders() map[string]Order {
	return map[string]Order{
		"unchanged":    {Umask: -1, CoreLimit: -1, Program: "/svc", Args: []string{"/svc"}},
		"all":          {Umask: 0o27, CoreLimit: 1 << 40, NoNewPrivs: true, Dropped: true, Dir: "/", Program: "/svc", Args: []string{"svc", "", "-x"}},
		"no arguments": {Program: "/svc", Args: []string{""}},
		"many":         {Program: "/svc", Args: strings.Split(strings.Repeat("argument,", 100_000), ",")},
	}
}

// TestOrder: what is encoded is read, in pieces, too.
func TestOrder(t *testing.T) {
	t.Parallel()
	for name, want := range orders() {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			defer w.Close()
			w.Write(want.Encode())
		}()
		got, ok := readOrder(int(r.Fd()))
		if !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: read %t %.200v, want %.200v", name, ok, got, want)
		}
		r.Close()
	}
}

// TestBadOrder is one that is cut, or no order.
func TestBadOrder(t *testing.T) {
	t.Parallel()
	good := orders()["all"].Encode()
	for name, text := range map[string][]byte{
		"nothing":      nil,
		"half":         good[:len(good)/2],
		"too long":     append(appendNumber(nil, maxOrder+1), good...),
		"no numbers":   appendNumber(nil, 0),
		"no program":   append(appendNumber(nil, numbers*numberSize), make([]byte, numbers*numberSize)...),
		"not ended":    append(appendNumber(nil, numbers*numberSize+3), bytes.Repeat([]byte("x"), numbers*numberSize+3)...),
		"no arguments": append(appendNumber(nil, numbers*numberSize+2), make([]byte, numbers*numberSize+2)...),
	} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
		w.Close()
		if o, ok := readOrder(int(r.Fd())); ok {
			t.Errorf("%s: %+v", name, o)
		}
		r.Close()
	}
}

// FuzzOrder: whatever decodes can be said again.
func FuzzOrder(f *testing.F) {
	for _, o := range orders() {
		if len(o.Args) < 100 {
			f.Add(o.Encode()[numberSize:])
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var o, again Order
		if !o.decode(b) {
			return
		}
		if !again.decode(o.Encode()[numberSize:]) || !reflect.DeepEqual(again, o) {
			t.Errorf("%+v became %+v", o, again)
		}
	})
}

func TestReport(t *testing.T) {
	t.Parallel()
	for _, want := range []Report{{StepStarted, 4711}, {StepEnded, 0x8b}, {StepExec, int(syscall.ENOENT)}, {StepOrder, -1}} {
		b := want.encode()
		if got := DecodeReport(b); got != want || len(b) != ReportSize {
			t.Errorf("%+v became %+v, in %d bytes", want, got, len(b))
		}
	}
}

// TestPrivilegesThatAreThere: a process that can become root is no daemon that
// has dropped its privileges.
func TestPrivilegesThatAreThere(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can become root")
	}
	step, errno := Order{Umask: -1, CoreLimit: -1, Dropped: true}.obey()
	if step != StepPrivileges || errno == 0 {
		t.Errorf("step %q, %v", step, errno)
	}
}
