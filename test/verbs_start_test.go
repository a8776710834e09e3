//go:build linux

package test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// hungSocket replaces a socket by one whose server never takes a connection.
func (c call) hungSocket() {
	path := c.MkAbs(c.args[0])
	c.Check(os.RemoveAll(path))
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	c.Check(err)
	ln.SetUnlinkOnClose(false)
	c.Defer(func() { ln.Close() })
}

// inetd starts a program as inetd does, with a connection as its standard input,
// and does not wait for it. What it says is appended to FILE.
func (c call) inetd() {
	server, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	c.Check(err)
	defer server.Close()
	client, err := net.Dial("tcp", server.Addr().String())
	c.Check(err)
	c.Defer(func() { client.Close() })
	conn, err := server.AcceptTCP()
	c.Check(err)
	defer conn.Close()
	stdin, err := conn.File() // blocking, as everybody's standard input
	c.Check(err)
	defer stdin.Close()
	out, err := os.OpenFile(c.MkAbs(c.args[0]), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	c.Check(err)
	defer out.Close()
	cmd := c.command(c.args[1], c.args[2:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, out, out
	c.Check(cmd.Start())
	c.served = append(c.served, cmd)
}

// command is for what is not waited for at once. It does not see variables that
// the script has added.
func (c call) command(program string, args ...string) *exec.Cmd {
	if program == "hello" {
		program = filepath.Join(c.dir, "bin", "hello")
	}
	cmd := exec.Command(program, args...)
	cmd.Dir = c.MkAbs(".")
	for _, key := range c.keys {
		cmd.Env = append(cmd.Env, key+"="+c.Getenv(key))
	}
	return cmd
}

// race starts the service twice at the same moment, and stops it, a number of
// times.
func (c call) race() {
	times, err := strconv.Atoi(c.args[0])
	c.Check(err)
	for range times {
		var said [2]strings.Builder
		var cmds [2]*exec.Cmd
		for i := range cmds {
			cmds[i] = c.command("hello", "start")
			cmds[i].Stdout, cmds[i].Stderr = &said[i], &said[i]
			c.Check(cmds[i].Start())
		}
		for i, cmd := range cmds {
			if err := cmd.Wait(); err != nil {
				c.Fatalf("%v: %s", err, said[i].String())
			}
		}
		pid := strconv.Itoa(c.owner())
		both := said[0].String() + said[1].String()
		if strings.Count(both, "started (pid "+pid+")") != 1 || strings.Count(both, "already running (pid "+pid+")") != 1 {
			c.Fatalf("pid %s runs, and the two say\n%s", pid, both)
		}
		if code := c.run("hello", "stop"); code != 0 {
			c.Fatalf("stop: exit status %d", code)
		}
		c.gone()
	}
}
