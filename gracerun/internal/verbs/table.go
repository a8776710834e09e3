package verbs

import (
	"context"
	"slices"

	"github.com/gracerun/grace/gracerun/internal/control"
)

// A verb is one of the built-in ones.
type verb struct {
	name, help string
	args       []string // what its argument may be; nil = it takes none, empty = anything
	names      bool     // its arguments are tasks and commands instead, at least one
	flags      []string
	run        func(c *call, ctx context.Context, args []string) error
}

// builtin are the verbs in the order of help.
func builtin() []verb {
	replace := []string{"wait", "timeout", "json"}
	steer := []string{"timeout", "json"}
	ofUnit := []string{"activated", "type", "watchdog", "program"}
	return []verb{
		{name: "run", help: "run in the foreground (the default); HUP reloads, TERM and INT stop", flags: []string{"stable-pid", "json"}, run: run},
		{name: "start", help: "run in the background; done when the service is ready", flags: []string{"timeout", "detach", "json"}, run: start},
		{name: "stop", help: "finish what is in hand and end; done when the service has", flags: []string{"timeout", "schedule", "json"}, run: stop},
		{name: "restart", help: "upgrade if it runs, else start", flags: []string{"hard", "wait", "timeout", "json"}, run: restart},
		{name: "try-restart", help: "upgrade if it runs, else do nothing", flags: replace, run: tryRestart},
		{name: "reload", help: "use what has changed: the program and its configuration", flags: replace, run: reload},
		{name: "force-reload", help: "the same as reload", flags: replace, run: reload},
		{name: "upgrade", help: "replace the process by the program as it is now, without a gap", flags: replace, run: upgrade},
		{name: "status", help: "show what the service does", flags: []string{"ready", "json"}, run: status},
		{name: "tasks", help: "show its tasks and commands", flags: []string{"names", "json"}, run: tasks},
		{name: "pause", help: "begin no new runs of tasks, and stop commands, until resume", names: true, flags: steer, run: steering("paused", (*control.Client).Pause)},
		{name: "resume", help: "let go on what was paused, and start what was given up", names: true, flags: steer, run: steering("resumed", (*control.Client).Resume)},
		{name: "trigger", help: "run tasks now, and start commands again", names: true, flags: steer, run: steering("triggered", (*control.Client).Trigger)},
		{name: "unit", help: "print a systemd unit for the service, with the flags before the verb", flags: slices.Concat([]string{"socket"}, ofUnit, []string{"json"}), run: unit},
		{name: "install", help: "make it a service of systemd, which starts with the system", flags: slices.Concat(ofUnit, []string{"now", "force", "dir", "json"}), run: install},
		{name: "uninstall", help: "stop it, and undo install", flags: []string{"force", "dir", "json"}, run: uninstall},
		{name: "version", help: "print the version of the program", flags: []string{"json"}, run: version},
		{name: "completion", help: "print a script that completes verbs and flags", args: []string{"bash", "zsh", "fish"}, flags: []string{"json"}, run: completion},
		{name: "help", help: "print this, or what is to know of a verb", args: []string{}, flags: []string{"json"}, run: help},
	}
}

// helpOf is one line: what HUP and reload mean is the service's choice.
func (c *call) helpOf(v verb) string {
	if c.Reloads && v.name == "reload" {
		return "reread the configuration, in the same process"
	}
	return v.help
}

func find(name string) (verb, bool) {
	verbs := builtin()
	i := slices.IndexFunc(verbs, func(v verb) bool { return v.name == name })
	if i < 0 {
		return verb{}, false
	}
	return verbs[i], true
}

// eachVerb also calls f with the user's own.
func (c *call) eachVerb(f func(name, help string)) {
	for _, v := range builtin() {
		f(v.name, c.helpOf(v))
	}
	for _, v := range c.Verbs {
		f(v.Name, v.Help)
	}
}

func (c *call) names() []string {
	var names []string
	c.eachVerb(func(name, _ string) { names = append(names, name) })
	return names
}
