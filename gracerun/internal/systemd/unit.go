package systemd

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Params are what a unit is made of. Times are as the service goes by them: 0 means
// that there is no limit, or none is held.
type Params struct {
	Name        string   // of the service
	Description string   // "" means the name
	Program     string   // absolute, and unresolved, as an upgrade will look for it
	Args        []string // what stands between the program and the verb
	Env         []string // "KEY=value"
	Dir         string   // working directory; "" means "/"
	User, Group string   // "" means root
	Umask       int      // 0 leaves systemd's own, 022

	// NotifyReload lets systemd ask for a reload by SIGHUP, and wait for the
	// notifications alone (Type=notify-reload), if its Version, see [Version], has that.
	// Then systemctl reload succeeds also when the upgrade has failed: only the status
	// says so (seen with systemd 257). Without it the reload verb asks, and its exit
	// status is the result. It is not for Forking.
	NotifyReload bool
	Version      int

	// Forking has the start verb make a daemon, which systemd follows by its PIDFile. The
	// verb sees to User, Group, Dir, Env and Umask then: they are not for it, and neither
	// are Watchdog and Store, of which systemd is told by notifications alone.
	Forking bool
	PIDFile string

	// StablePID says that the main process is not the service, but the one that keeps
	// its pid.
	StablePID bool

	Ready, Probation, Drain time.Duration

	// StopDelay is how long the service serves on after it was told to stop.
	StopDelay time.Duration

	// Cleanups is how long the service may take after the drain.
	Cleanups time.Duration

	// Rereads: a reload is not an upgrade, the process stays.
	Rereads bool

	RunDir   string // absolute; below /run systemd makes it
	LogDir   string // absolute; below /var/log systemd makes it; "" means none
	Watchdog time.Duration
	Store    int // descriptors to keep over a restart

	// Sockets are what the service listens on, as its configuration has it. Activated
	// says that the socket unit opens them. Incomplete says that there may be more, of
	// which only the running service knows.
	Sockets    []Address
	Activated  bool
	Incomplete bool

	// Named are the sockets that the service knows by their names alone. Each needs a
	// socket unit of its own, with an address that only its author knows.
	Named []string
}

// Address is where a service listens.
type Address struct {
	Network, Address string
}

// margin is what a time in the unit has beyond that of the service, which is to be the
// first to act: it knows what is late.
const margin = 10 * time.Second

// The first systemd that can do it.
const (
	versionNotifyReload = 253 // has Type=notify-reload
	versionFDStore      = 254 // says itself how much it stores
)

// Unit returns a service unit for p. It says in comments why it is as it is.
//
// The main process is told to stop, by itself, and tells all others: older generations,
// and commands in their order. It exits last, so that nothing is left to kill
// (KillMode=mixed). With control-group each of the commands, and what a handler has
// started, would be told at once, in the middle of a request that needs it. The price is
// that a crash of the main process cuts what older generations have in hand; with
// control-group the service would stay away until they are done.
func Unit(p Params) string {
	var u unit
	u.section("Unit")
	u.set("Description", specifiers(cmp.Or(p.Description, p.Name)))
	if p.needsAddress() {
		u.set("Wants", "network-online.target")
		u.set("After", "network-online.target")
	} else {
		u.set("After", "network.target")
	}
	if p.Activated {
		u.set("Requires", p.Name+".socket")
	}
	u.section("Service")
	p.life(&u)
	p.times(&u)
	p.identity(&u)
	p.directories(&u)
	p.hardening(&u)
	u.section("Install")
	u.set("WantedBy", "multi-user.target")
	if p.Activated {
		u.set("Also", p.Name+".socket")
	}
	return u.String()
}

// life is how the service begins, is replaced and ends, and how systemd knows.
func (p Params) life(u *unit) {
	p.start(u)
	if !p.NotifyReload || p.Forking || p.Version < versionNotifyReload {
		u.note("It waits for the outcome: systemctl reload fails when the upgrade does.")
		u.set("ExecReload", p.command("reload"))
		u.note("A stop ends a reload that has just begun. That is no failure of the service.")
		u.set("SuccessExitStatus", "SIGTERM")
	}
	u.set("Restart", "on-failure")
	u.note("The main process alone is told to stop. It tells older generations and commands, and exits last.")
	u.set("KillMode", "mixed")
	u.note("A command that runs out of memory is no reason to stop the service.")
	u.set("OOMPolicy", "continue")
	if p.Watchdog > 0 {
		u.set("WatchdogSec", seconds(p.Watchdog))
	}
	if p.Store > 0 {
		u.note("Listening sockets wait here while the service restarts, and connections in them.")
		u.set("FileDescriptorStoreMax", strconv.Itoa(p.Store))
		if p.Version < versionFDStore {
			u.set("Environment", fdStore+"="+strconv.Itoa(p.Store))
		}
	}
	if p.Activated {
		u.set("NonBlocking", "yes")
	}
}

// start is how the service begins.
func (p Params) start(u *unit) {
	if p.Forking {
		u.set("Type", "forking")
		u.set("PIDFile", specifiers(p.PIDFile))
		u.set("ExecStart", p.command("start", "--detach"))
		u.note("To systemd a generation that drains is the main process until it exits: the verb tells the newest.")
		u.set("ExecStop", p.command("stop"))
		return
	}
	kind := "notify"
	if p.NotifyReload && p.Version >= versionNotifyReload {
		kind = "notify-reload"
	}
	u.set("Type", kind)
	if p.StablePID {
		u.note("The main process keeps the pid, and the generation that owns the service speaks for it.")
		u.set("NotifyAccess", "all")
	} else {
		u.note("Only the generation that owns the service speaks for it.")
		u.set("NotifyAccess", "main")
	}
	u.set("ExecStart", p.command("run"))
}

// times are those of systemd. That of the start is also the one of a reload, in which an
// upgrade may first have to wait for an older generation to end.
func (p Params) times(u *unit) {
	start := p.Ready + p.Probation
	if !p.Rereads {
		start += p.Drain
	}
	u.set("TimeoutStartSec", limited(start+margin, p.Ready > 0 && (p.Rereads || p.Drain > 0)))
	u.set("TimeoutStopSec", limited(p.StopDelay+p.Drain+p.Cleanups+margin, p.Drain > 0))
}

func limited(d time.Duration, is bool) string {
	if !is {
		return "infinity"
	}
	return seconds(d)
}

// seconds rounds up.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

func (p Params) identity(u *unit) {
	if p.User != "" {
		u.set("User", specifiers(p.User))
	}
	if p.Group != "" {
		u.set("Group", specifiers(p.Group))
	}
	if p.User != "" && !p.Activated && p.privileged() {
		u.set("AmbientCapabilities", "CAP_NET_BIND_SERVICE")
	}
	if p.Dir != "" {
		u.set("WorkingDirectory", specifiers(p.Dir))
	}
	if p.Umask != 0 {
		u.set("UMask", fmt.Sprintf("%04o", p.Umask))
	}
	for _, kv := range p.Env {
		u.set("Environment", quote(specifiers(kv)))
	}
}

// privileged reports whether a port is one that only root may open.
func (p Params) privileged() bool {
	for _, a := range p.Sockets {
		_, service, err := net.SplitHostPort(a.Address)
		if err != nil || strings.HasPrefix(a.Network, "unix") {
			continue
		}
		if port, err := net.LookupPort(a.Network, service); err == nil && port > 0 && port < 1024 {
			return true
		}
	}
	return false
}

// needsAddress reports whether the service opens an address that the machine has only
// once the network is up.
func (p Params) needsAddress() bool {
	for _, a := range p.Sockets {
		host, _, err := net.SplitHostPort(a.Address)
		if err != nil || strings.HasPrefix(a.Network, "unix") || p.Activated {
			continue
		}
		ip, err := netip.ParseAddr(hostIP(a.Network, host))
		if err != nil || !ip.IsUnspecified() && !ip.IsLoopback() {
			return true
		}
	}
	return false
}

func (p Params) directories(u *unit) {
	if dir, ok := below("/run", p.RunDir); ok {
		u.set("RuntimeDirectory", specifiers(dir))
		u.note("What is paused stays paused, and commands are found again.")
		u.set("RuntimeDirectoryPreserve", "restart")
	}
	if dir, ok := below("/var/log", p.LogDir); ok {
		u.set("LogsDirectory", specifiers(dir))
	}
}

// below returns path as systemd wants it, relative to the root of its kind.
func below(root, path string) (string, bool) {
	rel, err := filepath.Rel(root, path)
	if path == "" || err != nil || !filepath.IsLocal(rel) || rel == "." {
		return "", false
	}
	return rel, true
}

// hardening is what no upgrade notices. What is left out would break one, or the verbs:
// PrivateUsers= (the control socket knows who asks by the user), PrivatePIDs= (process 1
// cannot be replaced), PrivateTmp= and ProtectHome= where the program is there,
// ReadOnlyPaths= of the program itself (the next one would never be seen),
// SystemCallFilter= (a list that is right for one build is wrong for the next), and
// PrivateDevices= and ProtectClock=, which take the devices away.
func (p Params) hardening(u *unit) {
	u.note("From here on: remove what the service, or a command of its, cannot do without.")
	u.set("NoNewPrivileges", "yes")
	u.set("ProtectSystem", "full")
	if home := isBelow(p.Program, "/home", "/root", "/run/user"); home {
		u.note("The program is in a home directory: ProtectHome=yes would hide it.")
		u.set("ProtectHome", "read-only")
	} else {
		u.set("ProtectHome", "yes")
	}
	if !isBelow(p.Program, "/tmp", "/var/tmp") && !p.usesTemporary() {
		u.set("PrivateTmp", "yes")
	}
	for _, option := range []string{"ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs", "ProtectControlGroups", "ProtectHostname",
		"RestrictRealtime", "RestrictSUIDSGID", "LockPersonality"} {
		u.set(option, "yes")
	}
	u.set("SystemCallArchitectures", "native")
}

// usesTemporary reports whether clients, or the verbs, look in a temporary directory.
func (p Params) usesTemporary() bool {
	paths := []string{p.RunDir, p.PIDFile, p.Dir}
	for _, a := range p.Sockets {
		if strings.HasPrefix(a.Network, "unix") {
			paths = append(paths, a.Address)
		}
	}
	for _, path := range paths {
		if isBelow(path, "/tmp", "/var/tmp") {
			return true
		}
	}
	return false
}

func isBelow(path string, dirs ...string) bool {
	for _, dir := range dirs {
		if _, ok := below(dir, path); ok || path == dir {
			return true
		}
	}
	return false
}

// command is a command line that runs a verb, with its flags.
func (p Params) command(verb ...string) string {
	words := slices.Concat([]string{p.Program}, p.Args, verb)
	line := make([]string, len(words))
	prefix := ""
	for i, w := range words {
		line[i] = quote(specifiers(w))
		if strings.Contains(w, "$") {
			prefix = ":" // no variable is meant
		}
	}
	return prefix + strings.Join(line, " ")
}

// specifiers keeps systemd from putting something in the place of a percent sign.
func specifiers(s string) string { return strings.ReplaceAll(s, "%", "%%") }

// quote makes one word of s, as systemd.syntax(7) has it.
func quote(s string) string {
	plain := func(r rune) bool {
		return r > ' ' && r < 0x7f && !strings.ContainsRune(`"'\;`, r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.Write([]byte{'\\', c})
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// A unit is the text of one, in its making.
type unit struct{ strings.Builder }

func (u *unit) section(name string) {
	if u.Len() > 0 {
		u.WriteByte('\n')
	}
	fmt.Fprintf(u, "[%s]\n", name)
}

// set takes a value that has one line: a newline in it would begin another setting.
func (u *unit) set(key, value string) {
	fmt.Fprintf(u, "%s=%s\n", key, strings.ReplaceAll(value, "\n", " "))
}

func (u *unit) note(text string) { fmt.Fprintf(u, "# %s\n", text) }
