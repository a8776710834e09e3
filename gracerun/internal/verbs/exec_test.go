//go:build unix

package verbs_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/gracerun/grace/gracerun/internal/daemon"
	"github.com/gracerun/grace/gracerun/internal/verbs"
	"github.com/gracerun/grace/pidfile"
	"github.com/gracerun/grace/test/harness"
)

func TestRun(t *testing.T) {
	t.Parallel()
	s := serviceAt(temp(t))
	ran := 0
	s.Run = func(context.Context) error { ran++; return nil }
	doWith(t, s).want(0)
	doWith(t, s, "run").want(0)
	doWith(t, s, "run", "fast").want(2, `hello: run takes no arguments, not ["fast"]`)
	if ran != 2 {
		t.Errorf("it ran %d times", ran)
	}
}

// TestRunError is said once by the service, not by the library as well.
func TestRunError(t *testing.T) {
	t.Parallel()
	port, late := errors.New("port in use"), errors.New("gracerun: the drain deadline passed")
	said := func(err error) error { return fmt.Errorf("gracerun: %w", err) }
	for _, c := range []struct {
		err  error
		want string
	}{
		{said(port), "hello: port in use\n"},
		{said(errors.Join(port, port)), "hello: port in use\nhello: port in use\n"},
		{errors.Join(said(port), errors.Join(fmt.Errorf("%w: http", late))), "hello: port in use\nhello: gracerun: the drain deadline passed: http\n"},
		{fmt.Errorf("%w: %w", port, port), "hello: port in use: port in use\n"},
		{fmt.Errorf("open: %w", said(port)), "hello: open: gracerun: port in use\n"},
	} {
		s := serviceAt(temp(t))
		s.Run = func(context.Context) error { return c.err }
		if r := doWith(t, s, "run").want(1); r.err != c.want {
			t.Errorf("%v: it said %q, want %q", c.err, r.err, c.want)
		}
	}
}

// TestExitCodes are those of LSB, decided on the kind of an error and not on its text.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	_, noProgram := os.StartProcess("/nonexistent/hello", nil, &os.ProcAttr{})
	_, notFound := exec.LookPath("hello-that-nobody-installed")
	for _, c := range []struct {
		err  error
		code int
	}{
		{nil, 0},
		{errors.New("permission denied"), 1},
		{&pidfile.LockedError{Path: "x", PID: 7}, 1},
		{&fs.PathError{Op: "open", Path: "config", Err: fs.ErrNotExist}, 1},
		{fmt.Errorf("start: %w", errors.ErrUnsupported), 3},
		{&fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}, 4},
		{syscall.EPERM, 4},
		{fmt.Errorf("%w: User: %w", daemon.ErrConfig, fs.ErrPermission), 4},
		{fmt.Errorf("start: %w", noProgram), 5},
		{notFound, 5},
		{fmt.Errorf("%w: Dir", daemon.ErrConfig), 6},
	} {
		s := serviceAt(temp(t))
		s.Run = func(context.Context) error { return c.err }
		r := doWith(t, s, "run").want(c.code)
		if c.err != nil && r.err != "hello: "+c.err.Error()+"\n" {
			t.Errorf("it said %q", r.err)
		}
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	for _, c := range []struct{ args, want string }{
		{"strat", `no such verb: "strat" (did you mean start?); see: hello help`},
		{"statsu", "did you mean status?"},
		{"stat", "did you mean status?"},
		{"frobnicate", `no such verb: "frobnicate"; see`},
		{"--addr :80 start", "unknown flag --addr: the flags of a verb follow it"},
		{"stop now", `stop takes no arguments, not ["now"]; the service's own flags go before it; see: hello help stop`},
		{"stop --tiemout 5", "stop: unknown flag --tiemout (did you mean --timeout?)"},
		{"stop --timeout", "stop: --timeout needs a value; see"},
		{"stop --timeout soon", "--timeout=soon: not a time: use 30, 90s or 5m"},
		{"stop --timeout -5s", "not a time"},
		{"stop --schedule TERM", "a signal needs a time to wait"},
		{"stop --json=maybe", "--json=maybe: "},
		{"start --hard", "start: unknown flag --hard; see"},
		{"completion tcsh", `"tcsh" is none of bash, zsh, fish`},
		{"completion", "for which shell?"},
		{"help stpo", "did you mean stop?"},
		{"version 1 2", "takes no arguments"},
		{"tasks mail", "tasks takes no arguments"},
		{"pause", "pause: the name of a task or command is missing; to see them: hello tasks; see: hello help pause"},
		{"resume --json=false", "is missing"},
		{"trigger --all", "unknown flag --all"},
		{"unit --type simple", "unit: --type=simple: not one of notify, notify-reload, forking"},
		{"unit --watchdog 0", "--watchdog=0: less than a second"},
		{"unit --program hello", "--program=hello: not an absolute path"},
		{"unit --type forking --watchdog 30", "unit: --watchdog needs a service that notifies systemd"},
		{"unit --type forking --socket", "unit: systemd gives its sockets to a service that stays its child"},
		{"install --type forking --activated", "install: systemd gives its sockets to a service"},
		{"install --now --dir /units", "install: --now starts it here, and --dir is for another system"},
		{"install --dir units", "--dir=units: not an absolute path"},
	} {
		r := do(t, dir, strings.Fields(c.args)...).want(2, c.want, "see: hello help")
		if r.out != "" || strings.Count(r.err, "\n") != 1 {
			t.Errorf("%s: not one line on stderr alone: %q, %q", c.args, r.out, r.err)
		}
	}
}

// TestUnwritten: what nobody gets is not done.
func TestUnwritten(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	for _, args := range []string{"version", "stop --json"} {
		var said strings.Builder
		if code := serviceAt(temp(t)).Exec(t.Context(), strings.Fields(args), full, &said); code != 1 || !strings.Contains(said.String(), "no space left") {
			t.Errorf("%s: exit status %d, %q", args, code, said.String())
		}
	}
}

// TestJSONAlways: one object, whatever is wrong.
func TestJSONAlways(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	for _, args := range []string{"stop --json", "stop -json", "--json stop", "stop --json=true", "stop --json --nope", "stop now --json", "strat --json", "status --json", "version --json",
		"help --json", "help stop --json", "completion bash --json", "reload --json", "try-restart --json", "tasks --json", "pause --json mail", "trigger --json"} {
		v := do(t, dir, strings.Fields(args)...).object()
		if v["state"] != "stopped" || v["pid"] != 0.0 || v["name"] != "hello" || v["pid_file"] != serviceAt(dir).PIDFile {
			t.Errorf("%s: %v", args, v)
		}
		if (v["error"] == "") != (v["ok"] == true) && v["verb"] != "status" {
			t.Errorf("%s: ok is %v, the error %q", args, v["ok"], v["error"])
		}
		for _, list := range []string{"sockets", "in_flight", "generations", "upgrades", "tasks", "commands", "warnings"} {
			if _, ok := v[list].([]any); !ok {
				t.Errorf("%s: %s is %v, not a list", args, list, v[list])
			}
		}
	}
	do(t, dir, "stop", "--json=false").want(0, "hello: not running\n")
	if v := do(t, dir, "stop", "--json").object(); v["message"] != "not running" || v["verb"] != "stop" {
		t.Errorf("%v", v)
	}
}

func TestUsersVerbs(t *testing.T) {
	t.Parallel()
	s := serviceAt(temp(t))
	var got []string
	s.Verbs = []verbs.Verb{
		{Name: "migrate", Help: "change the tables", Run: func(_ context.Context, args []string) error { got = args; return nil }},
		{Name: "fail", Help: "do not", Run: func(context.Context, []string) error { return fs.ErrPermission }},
	}
	doWith(t, s, "migrate", "--json", "--to", "7")
	if fmt.Sprint(got) != "[--json --to 7]" {
		t.Errorf("its arguments are %q", got)
	}
	doWith(t, s, "fail").want(1, "hello: permission denied\n") // what it means is its own affair
	doWith(t, s, "help").want(0, "  migrate       change the tables\n")
	doWith(t, s, "help", "migrate").want(0, "change the tables")
	doWith(t, s, "migrat").want(2, "did you mean migrate?")
	for name, want := range map[string]bool{"stop": true, "try-restart": true, "tasks": true, "": true, "-x": true, "migrate": false} {
		if verbs.Reserved(name) != want {
			t.Errorf("Reserved(%q) = %v", name, !want)
		}
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	dir := temp(t)
	r := do(t, dir, "help").want(0, "usage: hello [flags] [verb]", "  run           run in the foreground", "\nflags, before the verb:\n  -test.")
	for _, args := range []string{"-h", "--help", "-help"} {
		if do(t, dir, args).want(0).out != r.out {
			t.Errorf("%s is not help", args)
		}
	}
	r = do(t, dir, "help", "stop").want(0, "--timeout TIME", "--schedule SIGNALS", "TERM/30/KILL/5", "--json")
	if do(t, dir, "stop", "--help").want(0).out != r.out {
		t.Error("stop --help is not help stop")
	}
	do(t, dir, "help", "restart").want(0, "--hard", "--wait=false")
	do(t, dir, "help", "reload").want(0, "the program and its configuration")
	s := serviceAt(dir)
	s.Reloads = true
	doWith(t, s, "help", "reload").want(0, "reread the configuration").lacks("program")
	do(t, dir, "version").want(0, "hello v1\n")
}

// TestFault: where the service is cannot be known.
func TestFault(t *testing.T) {
	t.Parallel()
	s := serviceAt(temp(t))
	s.Fault = &fs.PathError{Op: "getwd", Path: ".", Err: syscall.ESTALE}
	for _, verb := range []string{"stop", "restart", "reload", "upgrade", "try-restart"} {
		doWith(t, s, verb).want(1, "getwd")
	}
	doWith(t, s, "status").want(4, "unknown", "getwd")
	doWith(t, s, "version").want(0)
	doWith(t, s, "help").want(0)
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	s := serviceAt(temp(t))
	s.Verbs = []verbs.Verb{{Name: "it's", Help: "what it's: $(false)"}}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		r := doWith(t, s, "completion", shell).want(0, "try-restart", "--wait=false", "--schedule")
		t.Run(shell, func(t *testing.T) {
			path, err := exec.LookPath(shell)
			if err != nil {
				t.Skip(err)
			}
			cmd := exec.Command(path, "-n")
			cmd.Stdin = strings.NewReader(r.out)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// namesOf is a service that has tasks for a shell, whatever it is called there: with names
// that are one word each, and not to be evaluated.
const namesOf = `
hello() {
	case "$*" in
	"tasks --names" | "-addr :80 tasks --names") printf '%s\n' mail "ma 'l'" '$(echo no)' ;;
	*) echo "asked: $*" >&2; false ;;
	esac
}
`

// TestZshCompletes names; what a verb takes besides is in the script as it is.
func TestZshCompletes(t *testing.T) {
	t.Parallel()
	zsh, err := exec.LookPath("zsh")
	if err != nil {
		t.Skip(err)
	}
	script := "compdef() { f=$1 }\n" + do(t, temp(t), "completion", "zsh").want(0).out + namesOf
	script += `compadd() { shift; print -r -- "${(j:|:)@}" }; _describe() { print -r verbs }; CURRENT=$#words; $f`
	for words, want := range map[string]string{
		"hello pa":                   "verbs",
		"hello pause":                "verbs",
		"hello pause ma":             "--timeout|--json|mail|ma 'l'|$(echo no)",
		"hello '' -addr pause ma":    "--timeout|--json",
		"hello -addr :80 trigger ma": "--timeout|--json|mail|ma 'l'|$(echo no)",
	} {
		out, err := exec.Command(zsh, "-f", "-c", "words=("+words+")\n"+script).CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("%s: %v, %q, want %q", words, err, out, want)
		}
	}
}

func TestFishCompletes(t *testing.T) {
	t.Parallel()
	fish, err := exec.LookPath("fish")
	if err != nil {
		t.Skip(err)
	}
	dir := temp(t)
	check(t, harness.WriteProgram(dir+"/verbs.test", []byte("#!/bin/bash\n"+namesOf+"hello \"$@\""), 0o755))
	script := "set PATH " + dir + " $PATH\n" + do(t, dir, "completion", "fish").want(0).out
	for line, want := range map[string]string{
		"verbs.test pau":                "pause",
		"verbs.test pause ma":           "ma 'l'|mail",
		"verbs.test -addr :80 resume m": "ma 'l'|mail",
		"verbs.test trigger mail \\$":   "$(echo no)",
		"verbs.test -addr :81 resume m": "--timeout", // m is in it
	} {
		cmd := exec.Command(fish, "--no-config", "-c", script+`complete -C "$line" | string split -f 1 \t | string join "|"`)
		cmd.Env = append(os.Environ(), "HOME="+dir, "line="+line)
		out, err := cmd.CombinedOutput()
		if strings.TrimSpace(string(out)) != want {
			t.Errorf("%s: %v, %q, want %q", line, err, out, want)
		}
	}
}

// TestBashCompletes words.
func TestBashCompletes(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip(err)
	}
	s := serviceAt(temp(t))
	s.Verbs = []verbs.Verb{{Name: "it's"}}
	script := doWith(t, s, "completion", "bash").want(0).out + namesOf
	for _, c := range []struct{ line, want string }{
		{"hello st", "start stop status"},
		{"hello -addr :80 stat", "status"},
		{"hello stop --s", "--schedule"},
		{"hello it", "it's"},
		{"hello completion z", "zsh"},
		{"hello restart --wa", "--wait=false"},
		{"hello paus", "pause"},
		{"hello pause", "pause"},
		{"hello -addr :80 pause ma", `mail ma\ \'l\'`},
		{"hello trigger ma\\\\ ", `ma\ \'l\'`},
		{"hello resume \\\\$", `\$\(echo\ no\)`},
		{"hello -addr :81 pause ma", ""},
		{"hello pause mail", "mail"},
	} {
		words := strings.Fields(c.line)
		test := script + "\nCOMP_WORDS=(" + c.line + "); COMP_CWORD=" + fmt.Sprint(len(words)-1) + "; $(complete -p verbs.test | sed 's/.*-F \\([^ ]*\\).*/\\1/'); echo \"${COMPREPLY[*]}\""
		out, err := exec.Command(bash, "-c", test).CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != c.want {
			t.Errorf("%s: %v, %q, want %q", c.line, err, out, c.want)
		}
	}
}
