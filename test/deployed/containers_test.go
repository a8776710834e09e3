//go:build linux

package deployed

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestContainer: an image of nothing but the program is built, serves, and ends in
// order within the grace of docker stop; the exit status is the service's.
func TestContainer(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.engine()
	d.module()
	d.check(os.Remove(d.path("hello")))
	for _, line := range d.lines("build.sh", "docker build", "docker build --isolation chroot") {
		d.sh(line)
	}
	script := d.lines("stop.sh", "-p 8080:8080", "--network=host")
	d.sh(script[0])
	d.serves("v1")
	c := d.inspect("hello")
	if cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", c.pid)); err != nil || !strings.HasPrefix(string(cmdline), "/bin/hello\x00") {
		t.Errorf("process 1 is %q, %v", cmdline, err)
	}
	d.inHand(func() { d.sh(script[1]) })
	if c := d.inspect("hello"); c.status != "exited" || c.exit != 0 {
		t.Errorf("after the stop: %+v", c)
	}

	d.sh("docker start hello")
	d.serves("v1")
	service := d.inside(d.inspect("hello"))
	if len(service) != 1 || service[0].name != "hello" {
		t.Fatalf("below process 1 there are %v", service)
	}
	d.check(syscall.Kill(service[0].pid, syscall.SIGKILL))
	d.awaits("the container's end", func() bool { return d.inspect("hello").status == "exited" })
	if c := d.inspect("hello"); c.exit != 128+int(syscall.SIGKILL) {
		t.Errorf("after a crash: %+v", c)
	}
}

// module makes a module of the place, that uses this very library.
func (d *deployment) module() {
	d.Helper()
	library, err := filepath.Abs("../..")
	d.check(err)
	text, err := os.ReadFile("../../go.mod")
	d.check(err)
	const name = "module github.com/gracerun/grace\n"
	if !strings.Contains(string(text), name) {
		d.Fatalf("go.mod does not say %q", name)
	}
	uses := "module hello\nrequire github.com/gracerun/grace v0.0.0\nreplace github.com/gracerun/grace => " + library + "\n"
	d.write("go.mod", strings.Replace(string(text), name, uses, 1), 0o644)
	d.copy("../../go.sum", "go.sum", 0o644)
	d.copy("testdata/extra.go.txt", "extra.go", 0o644)
	d.write("main.go", d.block(d.t(), "main.go"), 0o644)
}

// inHand calls stop, which ends the service, while a request is in hand, and checks that
// it gets its answer.
func (d *deployment) inHand(stop func()) {
	d.Helper()
	answered := make(chan string, 1)
	go func() {
		_, text, err := d.ask("/sleep?d=1s")
		answered <- fmt.Sprint(text, err)
	}()
	d.awaits("the request to be in hand", func() bool { return d.get("/asleep") == "1" })
	stop()
	if got := <-answered; got != "slept 1s<nil>" {
		d.Errorf("the request in hand: %s", got)
	}
	d.awaits("the end", func() bool {
		_, _, err := d.ask("/")
		return errors.Is(err, syscall.ECONNREFUSED)
	})
}

// TestContainerInPlace: the program is replaced in a container that goes on.
func TestContainerInPlace(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.engine()
	d.check(os.Mkdir(d.path("srv"), 0o755))
	d.copy(d.program("v1"), "srv/hello", 0o755)
	d.copy(d.program("v2"), "hello-v2", 0o755)
	script := d.lines("in-place.sh", "-p 8080:8080", "--network=host", "/srv/hello", d.path("srv"), ":8080", d.addr)
	d.sh(script[0])
	now := d.serves("v1")
	before := d.inspect("hello")
	d.under(func() {
		for _, line := range script[1:] {
			d.sh(line)
		}
		now = d.serves("v2", now.pid)
		d.copy(d.program("v1"), "srv/hello.new", 0o755)
		d.check(os.Rename(d.path("srv/hello.new"), d.path("srv/hello")))
		d.sh("docker kill -s HUP hello")
		now = d.serves("v1", now.pid)
	})
	d.sh("cp hello-v2 srv/hello.new && mv srv/hello.new srv/hello")
	d.awaits("the older generations to end", func() bool { return len(d.inside(before)) == 1 })
	if after := d.inspect("hello"); after != before {
		t.Errorf("the container is %+v, and was %+v", after, before)
	}
	if p := d.inside(before)[0]; p.state == "Z" {
		t.Errorf("a zombie is left: %v", p)
	}
	d.sh("docker restart -t 40 hello")
	d.serves("v2")
}

// TestContainerReadOnly has neither root nor anything else to write to than the run directory.
func TestContainerReadOnly(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.engine()
	script := d.lines("read-only.sh", "-p 8080:8080", "--network=host")
	d.sh(script[0])
	d.serves("v1")
	d.sh(script[1])
	d.sh("docker stop -t 40 hello")
	if c := d.inspect("hello"); c.exit != 0 {
		t.Errorf("%+v", c)
	}
}
