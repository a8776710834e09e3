//go:build linux

package deployed

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gracerun/grace/test/harness"
	"github.com/gracerun/grace/test/load"
)

// TestSystemdCrowd has a systemd of its own: one that reads its units again forgets that
// a service has asked for more time.
func TestSystemdCrowd(t *testing.T) {
	t.Parallel()
	for _, root := range systemdRoots() {
		s := bootSystemd(t, harness.SystemdConfig{Root: root, Journal: true})
		t.Run(strconv.Itoa(s.Version), func(t *testing.T) {
			runUnits(t, s, []unitCase{
				{name: "crowd", run: crowd},
				{name: "crowdhup", kind: "--type notify-reload", version: 253, run: crowd},
				{name: "crowdstable", flags: "-stable", run: crowd},
			})
		})
	}
}

// crowd: everybody asks for a reload at once, and systemd itself is reloaded.
func crowd(t *testing.T, u *managed) {
	address := u.address(t)
	target := load.Target{Address: address}
	groups := []load.Group{{Kind: "fresh", N: 2, Think: 5 * time.Millisecond, New: func() load.Client { return &load.Fresh{Target: target} }}}
	underLoad(t, groups, func() {
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				for range 3 {
					if text, err := u.Systemctl(context.Background(), "reload", u.name+".service"); err != nil {
						t.Errorf("reload: %v: %s", err, text)
					}
				}
			})
		}
		wg.Go(func() {
			for range 5 {
				u.Systemctl(context.Background(), "kill", "-s", "HUP", "--kill-who=main", u.name+".service")
				time.Sleep(20 * time.Millisecond)
			}
		})
		wg.Go(func() {
			for range 3 {
				if text, err := u.Systemctl(context.Background(), "daemon-reload"); err != nil {
					t.Errorf("daemon-reload: %v: %s", err, text)
				}
			}
		})
		wg.Wait()
	})
	u.await(t, "ActiveState SubState NRestarts", "active running 0")
	u.until(t, func() error {
		if got := u.show(t, "StatusText"); !strings.Contains(got, "serves; in hand: ") {
			return fmt.Errorf("the status is %q", got)
		}
		return nil
	})
	u.must(t, "reload")
	u.want(t, "ActiveState SubState NRestarts", "active running 0")
}
