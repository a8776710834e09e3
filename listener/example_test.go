//go:build unix

package listener_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"github.com/gracerun/grace/listener"
	"golang.org/x/sys/unix"
)

// A socket goes from one generation to the next. Both are in one process here;
// between two, the descriptors would travel as SCM_RIGHTS and the handles as JSON.
func Example() {
	ctx := context.Background()
	var old listener.Set
	before, err := old.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}

	handles, conns := old.Handles()
	set := listener.Inherit(handles, transfer(conns))
	after, err := set.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("same port:", after.Addr().String() == before.Addr().String())

	// A client that comes while both are open is served by whoever is left.
	client, err := net.Dial("tcp", before.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	set.CloseUnused() // the successor commits
	old.Release()     // and the predecessor leaves
	old.Close()

	c, err := after.Accept()
	fmt.Println("accepted:", err == nil)
	c.Close()
	set.Close()
	// Output:
	// same port: true
	// accepted: true
}

// transfer stands for the way to another process.
func transfer(conns []syscall.Conn) (dups []int) {
	err := listener.Control(conns, func(fds []int) error {
		for _, fd := range fds {
			d, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				return err
			}
			dups = append(dups, d)
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	return dups
}

// The first generation creates a file, all later ones find it.
func ExampleSet_File() {
	var set listener.Set
	defer set.Close()
	f, err := set.File("journal")
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Println("first generation")
		if f, err = os.CreateTemp("", "journal"); err == nil {
			err = set.Add("journal", f)
		}
	}
	if err != nil {
		log.Fatal(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	// Output: first generation
}

// Close is the same call for every process; who owns a socket file decides
// whether it goes.
func ExampleSet_Close() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "sock")

	var set listener.Set
	if _, err := set.Listen(context.Background(), "unix", path); err != nil {
		log.Fatal(err)
	}
	handles, conns := set.Handles()
	failed := listener.Inherit(handles, transfer(conns))
	failed.Close()
	_, err = os.Stat(path)
	fmt.Println("after a failed successor:", err == nil)

	set.Close()
	_, err = os.Stat(path)
	fmt.Println("after the last process:", err == nil)
	// Output:
	// after a failed successor: true
	// after the last process: false
}

// A drain closes the listener and waits for the connections.
func ExampleTrack() {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	ln := listener.Track(inner, 100)
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	c, err := ln.Accept()
	if err != nil {
		log.Fatal(err)
	}
	ln.Close()
	fmt.Println("open:", ln.Len())
	go c.Close()
	fmt.Println("drained:", ln.Wait(context.Background()))
	// Output:
	// open: 1
	// drained: <nil>
}
