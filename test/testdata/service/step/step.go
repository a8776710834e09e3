//go:build linux

// Package step lets a test decide, at each step in the life of a process, how
// the process goes on.
//
// It needs nothing but system calls, for it is to be initialized before
// gracerun: of the packages whose imports are initialized, the first in the
// alphabet is next (see "Program initialization" in the Go specification), and
// gracerun has to wait for package os and many others.
package step

import (
	"errors"
	"syscall"
)

// init is the step "spawn": the process runs, but gracerun does not yet.
func init() { At("spawn") }

// At asks the test, at the socket that $DIRECTOR names, how to go on, and waits
// for the answer for as long as that takes:
//
//	go           return nil
//	error WORDS  return an error
//	panic WORDS  panic
//	exit WORDS   print the words on standard error and exit with status 3
//	other WORDS  return it as an *Order
//
// Without a test it returns nil.
func At(step string) error {
	director, _ := syscall.Getenv("DIRECTOR")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if director == "" || err != nil {
		return nil
	}
	defer syscall.Close(fd)
	if syscall.Connect(fd, &syscall.SockaddrUnix{Name: director}) != nil {
		return nil // the test is over
	}
	syscall.Write(fd, []byte(step+"\n"))
	return obey(readLine(fd))
}

func obey(verb, words string) error {
	switch verb {
	case "", "go":
		return nil
	case "error":
		return errors.New(words)
	case "panic":
		panic(words)
	case "exit":
		syscall.Write(2, []byte(words+"\n"))
		syscall.Exit(3)
	}
	return &Order{verb, words}
}

// readLine returns a line in two parts. A line that does not end is "".
func readLine(fd int) (verb, words string) {
	var b [1]byte
	verbEnded := false
	for {
		n, err := syscall.Read(fd, b[:])
		switch {
		case err == syscall.EINTR:
		case n < 1 || err != nil:
			return "", ""
		case b[0] == '\n':
			return verb, words
		case verbEnded:
			words += string(b[:])
		case b[0] == ' ':
			verbEnded = true
		default:
			verb += string(b[:])
		}
	}
}

// An Order is what to do in place of going on. It is an error, so that a step
// that does not know it fails.
type Order struct{ Verb, Words string }

func (o *Order) Error() string { return "unknown order: " + o.Verb + " " + o.Words }
