package command

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/gracerun/grace/test/harness"
)

// TestExitOfTheUnreaped: how a program ended is known although its parent does not
// care.
func TestExitOfTheUnreaped(t *testing.T) {
	t.Parallel()
	for script, want := range map[string]string{
		"exit 0":        "exit status 0",
		"exit 42":       "exit status 42",
		"kill -KILL $$": "signal: killed",
	} {
		parent, err := os.StartProcess("/bin/sh", []string{"sh", "-c", "read line; " + script}, &os.ProcAttr{Files: files(t)})
		if err != nil {
			t.Fatal(err)
		}
		st, err := readStat(parent.Pid)
		if err != nil {
			t.Fatal(err)
		}
		handle, err := openProcess(parent.Pid, st.begin)
		if err != nil {
			t.Fatal(err)
		}
		p := newProcess(process{pid: parent.Pid, begin: st.begin, handle: handle})
		<-p.done
		if got := p.exit.String(); got != want {
			t.Errorf("%q ended with %q, want %q", script, got, want)
		}
		if _, err := parent.Wait(); err != nil { // only now
			t.Error(err)
		}
		p.close()
	}
}

// TestGoneWithTheLastThread: one that has lost its first thread has not ended.
func TestGoneWithTheLastThread(t *testing.T) {
	t.Parallel()
	p, err := os.StartProcess("/proc/self/exe", os.Args[:1], &os.ProcAttr{
		Files: files(t), Env: append(os.Environ(), "COMMAND_HELPER=headless"),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Wait()
	defer p.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	until := func(is func(procStat) bool) (st procStat) {
		t.Helper()
		err := harness.Until(ctx, func() (err error) {
			if st, err = readStat(p.Pid); err == nil && !is(st) {
				err = fmt.Errorf("%+v", st)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	if st := until(func(st procStat) bool { return st.state == 'Z' }); st.gone() || st.threads < 2 {
		t.Errorf("%+v has ended", st)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	until(procStat.gone)
}

// files are those of a program that reads nothing and says nothing.
func files(t *testing.T) []*os.File {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { null.Close() })
	return []*os.File{null, null, null}
}
