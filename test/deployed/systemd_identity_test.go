//go:build linux

package deployed

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gracerun/grace/test/harness"
)

func identityCases() []unitCase {
	return []unitCase{
		{name: "commands", flags: "-sleeper", kind: "--watchdog 20s", run: commandsInheritNothing},
		{name: "stable", flags: "-stable", kind: "--watchdog 1s", run: stablePID},
		{name: "simple", unit: "Type=simple\nNotifyAccess=none\nFileDescriptorStoreMax=0\n", run: toldNothing},
		{name: "exec", unit: "Type=exec\nNotifyAccess=none\nFileDescriptorStoreMax=0\nKillMode=control-group\n", run: toldNothing},
		{name: "dynamic", unit: "DynamicUser=yes\n" + hardening, run: hardened},
	}
}

// commandsInheritNothing that was meant for the service: neither one that a handler runs,
// nor one that is supervised.
func commandsInheritNothing(t *testing.T, u *managed) {
	for range 2 {
		address := u.address(t)
		u.isClean(t, "a handler's command", strings.Split(u.get(t, address, "/environment"), "\n"))
		sleeper := -1
		u.until(t, func() error {
			for _, p := range u.processes(t) {
				if slices.Contains(p.Args, "sleep") {
					sleeper = p.PID
					return nil
				}
			}
			return fmt.Errorf("it does not run among %v", u.processes(t))
		})
		env, err := harness.Environ(sleeper)
		if err != nil {
			t.Fatal(err)
		}
		u.isClean(t, "the supervised program", env)
		fds, err := harness.OpenFDs(sleeper)
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range fds {
			// A Go program has an epoll and an eventfd of its own.
			if fd.Num > 2 && (fd.Kind == "socket" || fd.Kind == "pipe" || fd.Kind == "file") {
				t.Errorf("the supervised program has %d: %s", fd.Num, fd.Target)
			}
		}
		u.must(t, "reload")
	}
}

// isClean checks that a program knows nothing of the manager but who it is.
func (u *managed) isClean(t *testing.T, what string, env []string) {
	t.Helper()
	if !slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, "INVOCATION_ID=") }) {
		t.Errorf("%s has the environment %q", what, env)
	}
	ours := regexp.MustCompile(`^(NOTIFY_|LISTEN_|WATCHDOG_|FDSTORE|TABLEFLIP|GRACERUN|MAINPID)`)
	for _, v := range env {
		if ours.MatchString(v) {
			t.Errorf("%s inherits %s", what, v)
		}
	}
}

// hardening are the options that upgrades must bear.
const hardening = `NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectClock=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
CapabilityBoundingSet=
`

// hardened: none of them keeps the next generation away.
func hardened(t *testing.T, u *managed) {
	address := u.address(t)
	for i := range 3 {
		u.must(t, "reload")
		if by := u.answers(t, address, i+2); by != u.mainPID(t) {
			t.Errorf("pid %d answers, MainPID is %d", by, u.mainPID(t))
		}
	}
	u.alone(t)
}

// toldNothing: where a unit has no notifications, the process that systemd has started
// stays without being asked to.
func toldNothing(t *testing.T, u *managed) {
	u.until(t, func() error { // systemctl start has not waited for it
		if !strings.Contains(u.log(), "msg=ready") {
			return errors.New("it is not ready")
		}
		return nil
	})
	u.reloadsWithOnePID(t, 3)
	h := u.hold(t, u.address(t))
	u.must(t, "stop", "--no-block")
	u.await(t, "SubState", "stop-sigterm")
	release := u.say(t, "release", "")
	defer release()
	h.released(t)
	u.await(t, "ActiveState Result NRestarts", "inactive success 0")
}

// reloadsWithOnePID sees the next generation answer each time.
func (u *managed) reloadsWithOnePID(t *testing.T, reloads int) {
	t.Helper()
	pid, address := u.mainPID(t), u.address(t)
	for i := range reloads {
		u.must(t, "reload")
		u.want(t, "MainPID SubState NRestarts", fmt.Sprintf("%d running 0", pid))
		u.answers(t, address, i+2)
	}
}

// stablePID: systemd follows the small process that keeps the pid, and is told of upgrades.
func stablePID(t *testing.T, u *managed) {
	address := u.address(t)
	u.reloadsWithOnePID(t, 5)
	u.keepsAlive(t)
	_, owner := u.who(t, address)
	u.kill(t, owner)
	u.await(t, "ActiveState SubState NRestarts", "active running 1")
}
