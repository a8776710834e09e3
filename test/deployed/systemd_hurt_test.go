//go:build linux

package deployed

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/gracerun/grace/test/harness"
)

// TestSystemdHurt has a systemd of its own: it reads nothing for seconds, as one does whose
// generators are slow when it reads its units again, and its journal ends.
func TestSystemdHurt(t *testing.T) {
	t.Parallel()
	for _, root := range systemdRoots() {
		s := bootSystemd(t, harness.SystemdConfig{Root: root, Journal: true})
		t.Run(strconv.Itoa(s.Version), func(t *testing.T) {
			runUnits(t, s, []unitCase{
				{name: "busy", kind: "--watchdog 1s", run: busy},
				{name: "journalless", unit: "StandardError=journal\n", run: withoutJournal},
			})
		})
	}
}

// busy: an upgrade that systemd does not notice for a while is one all the same, whether
// the old generation ends before systemd has read of it, or goes on for long.
func busy(t *testing.T, u *managed) {
	first := u.mainPID(t)
	u.upgradeUnread(t, first, fmt.Sprintf("pid %d ends\n", first))

	h := u.hold(t, u.address(t))
	u.upgradeUnread(t, h.pid, `in_hand="tcp 127.0.0.1:0: 1"`)
	u.must(t, "reload")
	u.want(t, "ActiveState SubState NRestarts", "active running 0")
	release := u.say(t, "release", "")
	defer release()
	h.released(t)
}

// upgradeUnread keeps systemd from reading from the moment before the commit until the
// log says so.
func (u *managed) upgradeUnread(t *testing.T, first int, said string) {
	t.Helper()
	goOn := u.say(t, "stay", "")
	second := u.awaitSuccessor(t, first)
	idle, err := u.Busy()
	if err != nil {
		t.Fatal(err)
	}
	defer idle()
	goOn()
	u.until(t, func() error {
		if !strings.Contains(u.log(), said) {
			return fmt.Errorf("the log has no %q", said)
		}
		return nil
	})
	if err := idle(); err != nil {
		t.Fatal(err)
	}
	u.await(t, "MainPID ActiveState SubState", fmt.Sprintf("%d active running", second))
	u.keepsAlive(t)
}

// withoutJournal: what is written to a journal that has ended is lost, and nothing else.
func withoutJournal(t *testing.T, u *managed) {
	address, first := u.address(t), u.mainPID(t)
	journal := []string{"systemd-journald.socket", "systemd-journald.service"}
	if text, err := u.Systemctl(t.Context(), append([]string{"stop"}, journal...)...); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	for range 2 {
		u.get(t, address, "/print?line=1")
		u.must(t, "reload")
	}
	if now := u.mainPID(t); now == first {
		t.Errorf("MainPID is %d still", first)
	}
	u.want(t, "ActiveState SubState NRestarts", "active running 0")
}
