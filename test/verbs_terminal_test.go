//go:build linux

package test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// terminal is a pseudo-terminal, with a program that it controls.
type terminal struct {
	ours  *os.File // where a person would sit
	cmd   *exec.Cmd
	ended chan struct{}

	mu   sync.Mutex
	text bytes.Buffer // all that was shown
}

// openTerminal runs a program at a terminal of its own, as login does.
func (c call) openTerminal() {
	if c.terminal != nil {
		c.Fatalf("there is one already")
	}
	ours, theirs, err := openPTY()
	c.Check(err)
	defer theirs.Close()
	cmd := c.command(c.args[0], c.args[1:]...)
	cmd.Env = append(cmd.Env, "TERM=vt100", "PS1=$ ")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		ours.Close()
		c.Fatalf("%v", err)
	}
	t := &terminal{ours: ours, cmd: cmd, ended: make(chan struct{})}
	c.terminal = t
	go t.show()
	go t.watch()
}

// openPTY is what pty(7) describes.
func openPTY() (ours, theirs *os.File, err error) {
	ours, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	var n int
	raw, err := ours.SyscallConn()
	if err == nil {
		var inner error
		err = raw.Control(func(fd uintptr) {
			inner = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0)
			if inner == nil {
				n, inner = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
			}
		})
		err = errors.Join(err, inner)
	}
	if err == nil {
		theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		ours.Close()
	}
	return ours, theirs, err
}

// show keeps what the program writes.
func (t *terminal) show() {
	buf := make([]byte, 4096)
	for {
		n, err := t.ours.Read(buf)
		t.mu.Lock()
		t.text.Write(buf[:n])
		t.mu.Unlock()
		if err != nil {
			return // nobody has the terminal open
		}
	}
}

func (t *terminal) watch() {
	defer close(t.ended)
	t.cmd.Wait()
}

func (t *terminal) shown() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// typeText types a line, or, as "^C", a control character.
func (c call) typeText() {
	text := c.args[0] + "\r"
	if strings.HasPrefix(text, "^") {
		text = string(text[1] & 0x1f)
	}
	_, err := c.terminal.ours.WriteString(text)
	c.Check(err)
}

// screen waits until the terminal shows something.
func (c call) screen() {
	pattern := regexp.MustCompile("(?m)" + c.args[0])
	c.wait(func() error {
		if text := c.terminal.shown(); !pattern.MatchString(text) {
			return fmt.Errorf("the terminal shows %q", text)
		}
		return nil
	})
}

// left waits until the program at the terminal has ended, and closes the
// terminal.
func (c call) left() {
	t := c.terminal
	c.wait(func() error {
		select {
		case <-t.ended:
			return nil
		default:
			return fmt.Errorf("the program is still there: %q", t.shown())
		}
	})
	code := t.cmd.ProcessState.ExitCode()
	c.closeTerminal()
	if strconv.Itoa(code) != c.args[0] {
		c.Fatalf("%v: %q", t.cmd.ProcessState, t.shown())
	}
}

// hangup closes the window in which the program runs.
func (c call) hangup() {
	t := c.terminal
	t.ours.Close()
	c.wait(func() error {
		select {
		case <-t.ended:
			return nil
		default:
			return errors.New("the program outlives its terminal")
		}
	})
	c.terminal = nil
}

func (s *script) closeTerminal() {
	t := s.terminal
	if t == nil {
		return
	}
	t.ours.Close()
	t.cmd.Process.Kill()
	<-t.ended
	s.terminal = nil
}
