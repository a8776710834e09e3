package handoff

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// sleeper starts a process that ends when the returned function is called.
func sleeper(t *testing.T) (cmd *exec.Cmd, end func()) {
	t.Helper()
	cmd = exec.Command("cat")
	in, err := cmd.StdinPipe()
	check(t, err)
	check(t, cmd.Start())
	return cmd, func() { in.Close() }
}

// TestZombie: a process has exited when it has, whether its parent knows or not.
func TestZombie(t *testing.T) {
	t.Parallel()
	cmd, end := sleeper(t)
	p, err := openProcess(cmd.Process.Pid)
	check(t, err)
	defer p.close()
	select {
	case <-p.exited():
		t.Fatal("it has exited before it did")
	default:
	}
	end()
	<-p.exited() // nobody has waited for it
	if err := syscall.Kill(cmd.Process.Pid, 0); err != nil {
		t.Errorf("it is no zombie: %v", err)
	}
	if err := p.kill(); err != nil {
		t.Errorf("killing a zombie: %v", err)
	}
	q, err := openProcess(cmd.Process.Pid)
	check(t, err)
	<-q.exited() // seen at once
	q.close()
	check(t, cmd.Wait())
	if err := p.kill(); !errors.Is(err, unix.ESRCH) {
		t.Errorf("killing one that is no more: %v", err)
	}
	if _, err := openProcess(cmd.Process.Pid); !errors.Is(err, unix.ESRCH) {
		t.Errorf("opening one that is no more: %v", err)
	}
}

func TestKill(t *testing.T) {
	t.Parallel()
	cmd, end := sleeper(t)
	defer end()
	p, err := openProcess(cmd.Process.Pid)
	check(t, err)
	defer p.close()
	check(t, p.kill())
	<-p.exited()
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("it ended with %v", err)
	}
}

// TestHandleTravels: a handle that came through a channel names the process.
func TestHandleTravels(t *testing.T) {
	t.Parallel()
	cmd, end := sleeper(t)
	p, err := openProcess(cmd.Process.Pid)
	check(t, err)
	ours, theirs := pair(t)
	check(t, ours.sendFiles(message{Type: typeFiles, Items: []item{{Kind: kindProcess}}}, []syscall.Conn{p}, false))
	p.close()
	_, fds, err := theirs.recv()
	check(t, err)
	q := newProcess(os.NewFile(uintptr(fds[0]), "pidfd"))
	defer q.close()
	end()
	<-q.exited()
	check(t, cmd.Wait())
}

// TestCloseEndsTheWatch: a handle that is closed does not say that its process
// has exited.
func TestCloseEndsTheWatch(t *testing.T) {
	t.Parallel()
	fd, err := unix.PidfdOpen(os.Getpid(), unix.PIDFD_NONBLOCK)
	check(t, err)
	p := &process{file: os.NewFile(uintptr(fd), "pidfd"), done: make(chan struct{})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.watch()
	}()
	p.close()
	<-ended
	select {
	case <-p.exited():
		t.Error("this very process is said to have exited")
	default:
	}
	if err := p.kill(); err == nil {
		t.Error("a closed handle kills")
	}
}

// TestOpenChild: nobody but a child of this process is to be had by its pid.
func TestOpenChild(t *testing.T) {
	t.Parallel()
	for _, pid := range []int{0, -1, 1, os.Getpid(), os.Getppid()} {
		if p, err := openChild(pid); err == nil || errors.Is(err, unix.ESRCH) {
			t.Errorf("pid %d is no child: %v, %v", pid, p, err)
		}
	}
	cmd, end := sleeper(t)
	p, err := openChild(cmd.Process.Pid)
	check(t, err)
	defer p.close()
	end()
	<-p.exited()
	zombie, err := openChild(cmd.Process.Pid) // one that is not reaped is a child
	check(t, err)
	zombie.close()
	check(t, cmd.Wait()) // openChild has left it its status
	if p, err := openChild(cmd.Process.Pid); !errors.Is(err, unix.ESRCH) {
		t.Errorf("one that was reaped is there: %v, %v", p, err)
	}
}
