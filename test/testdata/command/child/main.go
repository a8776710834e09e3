//go:build linux

// Command child is a program that a service supervises. It holds a lock, to prove
// that no second one like it runs, and leaves a trace of when it began and how it
// ended:
//
//	child KIND NAME DIRECTORY
package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/test/testdata/task/trace"
)

type child struct {
	name, dir string
	trace     *trace.Writer
	signals   chan os.Signal
}

func main() {
	c := &child{name: os.Args[2], dir: os.Args[3], signals: make(chan os.Signal, 1)}
	var err error
	c.trace, err = trace.Open(c.dir, os.Getppid)
	check(err)
	kind, depth, _ := strings.Cut(os.Args[1], ":")
	if depth != "" { // a grandchild
		n, err := strconv.Atoi(depth)
		check(err)
		c.lock(c.name+" family", unix.F_RDLCK)
		c.breed(n)
	}
	signal.Notify(c.signals, syscall.SIGTERM, syscall.SIGUSR1)
	unlock := c.lock(c.name, unix.F_WRLCK)
	c.trace.Say("begin", 0, c.name)
	code := c.be(kind)
	c.trace.Say("end", int64(code), c.name)
	unlock()
	os.Exit(code)
}

// be is what the child does; it returns its exit status.
func (c *child) be(kind string) (code int) {
	switch kind {
	case "count":
		return c.count()
	case "flicker": // ends at any time, in any way
		fmt.Println("hello")
		defer fmt.Print("good-bye") // and no end of the line
		return c.flicker([]int{0, 1, 3}[rand.N(3)])
	case "flood":
		return c.flood()
	case "steady":
		return c.await(time.Hour, 0)
	case "crash":
		fmt.Println("this cannot work")
		return 1
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		select {}
	case "bomb": // leaves grandchildren behind
		c.lock(c.name+" family", unix.F_WRLCK)() // there is none left of an older one
		c.breed(0)
	}
	panic("what is " + kind + "?")
}

// lock proves that this is the only one. The lock is that of the process: whoever
// it starts has no part in it.
func (c *child) lock(name string, kind int16) (unlock func()) {
	f, err := os.OpenFile(filepath.Join(c.dir, name+".held"), os.O_RDWR|os.O_CREATE, 0o600)
	check(err)
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: kind}); err != nil {
		c.trace.Say("overlap", 0, name)
		os.Exit(9)
	}
	return func() { f.Close() }
}

// await returns code after a time, or as soon as it is told to end: 0 for SIGTERM,
// 7 for SIGUSR1.
func (c *child) await(d time.Duration, code int) int {
	select {
	case <-time.After(d):
		return code
	case sig := <-c.signals:
		if sig == syscall.SIGUSR1 {
			return 7
		}
		return 0
	}
}

// flicker ends with code after some time, unless there is a file that calls for
// calm.
func (c *child) flicker(code int) int {
	const goOn = -1
	if code := c.await(rand.N(100*time.Millisecond), goOn); code != goOn {
		return code
	}
	if _, err := os.Stat(filepath.Join(c.dir, "calm")); err != nil {
		return code
	}
	c.trace.Say("calm", 0, c.name)
	return c.await(time.Hour, code)
}

// count writes numbered lines to both of its outputs, some of them in two parts,
// until it is told to end; nothing ends the last line. The trace has the last
// number.
func (c *child) count() int {
	const goOn = -1
	for n := 1; ; n++ {
		text := fmt.Sprintf("%s %d %s", c.name, n, strings.Repeat("x", rand.N(40)))
		code := c.await(rand.N(100*time.Millisecond), goOn)
		for _, f := range []*os.File{os.Stdout, os.Stderr} {
			cut := rand.N(2 * len(text))
			write(f, text[:min(cut, len(text))])
			if cut < len(text) {
				time.Sleep(rand.N(3 * time.Millisecond)) // the reader sees half a line
				write(f, text[cut:])
			}
			if code == goOn {
				write(f, "\n")
			}
		}
		if code != goOn {
			c.trace.Say("last", int64(n), c.name)
			return code
		}
	}
}

// flood writes numbered lines as fast as they are read, and ends when it has written
// them all.
func (c *child) flood() int {
	const lines = 200_000
	out := bufio.NewWriterSize(os.Stdout, 5000) // so that it ends anywhere in a line
	for n := 1; n <= lines; n++ {
		fmt.Fprintf(out, "%s %d %s\n", c.name, n, "xxxxxxxxxxxxxxxxxxxxxxxxx"[n%25:])
	}
	check(out.Flush())
	c.trace.Say("last", lines, c.name)
	return 0
}

// breed makes this one of many processes, each of which replaces its children when
// they end, and cares for no signal that it can ignore. Only who ends the whole
// group at once is rid of them. The first of them ends before the others.
func (c *child) breed(depth int) {
	signal.Ignore(syscall.SIGTERM)
	const deepest, each = 3, 2
	if depth == deepest {
		select {}
	}
	ended := make(chan error)
	for range each {
		go func() {
			for {
				cmd := exec.Command(os.Args[0], fmt.Sprint("bomb:", depth+1), c.name, c.dir)
				ended <- cmd.Run()
			}
		}()
	}
	if depth == 0 {
		time.Sleep(200 * time.Millisecond)
		c.trace.Say("end", 1, c.name)
		os.Exit(1)
	}
	for range ended {
	}
}

func write(f *os.File, text string) {
	_, err := f.WriteString(text)
	check(err)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
