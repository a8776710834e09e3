//go:build unix

package listener_test

import (
	"testing"

	"github.com/gracerun/grace/listener"
)

// BenchmarkAdopt1000 takes over 1,000 listeners; duplicating them, which stands
// for the way here, is not counted.
func BenchmarkAdopt1000(b *testing.B) {
	const size = 1000
	first := newSet(b)
	for range size {
		mustOpen(b, first, "tcp", "127.0.0.1:0")
	}
	handles, conns := first.Handles()
	if len(handles) != size {
		b.Fatalf("%d listeners, want %d", len(handles), size)
	}
	for b.Loop() {
		b.StopTimer()
		fds := dupAll(b, conns)
		b.StartTimer()
		second := listener.Inherit(handles, fds)
		for range size {
			mustOpen(b, second, "tcp", "127.0.0.1:0")
		}
		if err := second.CloseUnused(); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if n := len(second.Sockets()); n != size {
			b.Fatalf("adopted %d, want %d", n, size)
		}
		second.Close()
		b.StartTimer()
	}
}

// BenchmarkControl1000 holds 1,000 descriptors open at once.
func BenchmarkControl1000(b *testing.B) {
	const size = 1000
	s := newSet(b)
	for range size {
		mustOpen(b, s, "tcp", "127.0.0.1:0")
	}
	for b.Loop() {
		_, conns := s.Handles()
		err := listener.Control(conns, func(fds []int) error {
			if len(fds) != size {
				b.Fatalf("%d descriptors, want %d", len(fds), size)
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
