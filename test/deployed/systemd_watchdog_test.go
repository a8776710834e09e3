//go:build linux

package deployed

import (
	"errors"
	"strings"
	"testing"
)

func watchdogCases() []unitCase {
	return []unitCase{
		{name: "wedged", kind: "--watchdog 1s", run: wedgedLoop},
		{name: "sick", kind: "--watchdog 1s", run: sickService},
	}
}

// wedgedLoop: a service whose run loop stands still is started again, also one that was
// upgraded.
func wedgedLoop(t *testing.T, u *managed) {
	u.must(t, "reload")
	u.keepsAlive(t)
	goOn := u.say(t, "wedge", "")
	u.must(t, "kill", "-s", "HUP", "--kill-who=main")
	u.until(t, func() error {
		if !strings.Contains(u.log(), "stands still\n") {
			return errors.New("its run loop goes on")
		}
		return nil
	})
	goOn() // for the next one
	u.until(t, u.restarted(t))
	u.await(t, "ActiveState SubState", "active running")
	u.alone(t)
}

// sickService: so is one whose health check fails.
func sickService(t *testing.T, u *managed) {
	u.must(t, "reload")
	u.keepsAlive(t)
	heal := u.say(t, "sick", "no database")
	u.until(t, u.restarted(t))
	heal()
	u.await(t, "ActiveState SubState", "active running")
	u.alone(t)
}

// keepsAlive waits for signs of life for longer than they may fail to come.
func (u *managed) keepsAlive(t *testing.T) {
	t.Helper()
	for range 4 {
		seen := u.show(t, "WatchdogTimestampMonotonic")
		u.until(t, func() error {
			if u.show(t, "WatchdogTimestampMonotonic") == seen {
				return errors.New("no sign of life")
			}
			return nil
		})
	}
	u.want(t, "NRestarts", "0")
}

func (u *managed) restarted(t *testing.T) func() error {
	return func() error {
		if u.show(t, "NRestarts") == "0" {
			return errors.New("it was not restarted")
		}
		return nil
	}
}
