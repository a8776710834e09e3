package verbs

import (
	"context"
	"slices"
)

// A verb is one of the built-in ones.
type verb struct {
	name, help string
	args       []string // what its argument may be; nil = it takes none, empty = anything
	flags      []string
	run        func(c *call, ctx context.Context, args []string) error
}

// builtin are the verbs in the order of help.
func builtin() []verb {
	replace := []string{"wait", "timeout", "json"}
	return []verb{
		{"run", "run in the foreground (the default); HUP reloads, TERM and INT stop", nil, []string{"json"}, run},
		{"start", "run in the background; done when the service is ready", nil, []string{"timeout", "json"}, start},
		{"stop", "finish what is in hand and end; done when the service has", nil, []string{"timeout", "schedule", "json"}, stop},
		{"restart", "upgrade if it runs, else start", nil, []string{"hard", "wait", "timeout", "json"}, restart},
		{"try-restart", "upgrade if it runs, else do nothing", nil, replace, tryRestart},
		{"reload", "use what has changed: the program and its configuration", nil, replace, reload},
		{"force-reload", "the same as reload", nil, replace, reload},
		{"upgrade", "replace the process by the program as it is now, without a gap", nil, replace, upgrade},
		{"status", "show what the service does", nil, []string{"json"}, status},
		{"version", "print the version of the program", nil, []string{"json"}, version},
		{"completion", "print a script that completes verbs and flags", []string{"bash", "zsh", "fish"}, []string{"json"}, completion},
		{"help", "print this, or what is to know of a verb", []string{}, []string{"json"}, help},
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
