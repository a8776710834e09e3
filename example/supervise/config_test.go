package main

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gracerun/grace/gracerun"
)

func TestEveryKey(t *testing.T) {
	t.Parallel()
	c, err := parse("programs.toml", []byte(`
log = "/var/log/all.log"
[[program]]
name = "web-1.example_com"
command = ["/bin/server", "", "two words"]
dir = "/srv"
user = "root"
group = 0
env = { PORT = 8000, HOST = "a=b" }
ready = { address = "127.0.0.1:8000", delay = "2s", line = "^ready|go$", notify = true, timeout = "none" }
stagger = "100ms"
restart = "on-failure"
exit_codes = [0, 2]
backoff = "none"
max_backoff = "20s"
failures = -1
failure_period = "1m30s"
stop_signal = "SIGINT"
stop_timeout = "5s"
restart_on_upgrade = true
output = "/var/log/web"
error_output = "/var/log/web.err"
[[program]]
name = "least"
command = ["/bin/least"]
`))
	if err != nil {
		t.Fatal(err)
	}
	if c.log != "/var/log/all.log" || c.drain != 20*time.Second {
		t.Errorf("log %q, drain %v", c.log, c.drain)
	}
	cmd := c.commands[0].Cmd(t.Context())
	if cmd.Path != "/bin/server" || !slices.Equal(cmd.Args, []string{"/bin/server", "", "two words"}) || cmd.Dir != "/srv" {
		t.Errorf("%q in %s", cmd.Args, cmd.Dir)
	}
	if want := append(os.Environ(), "HOST=a=b", "PORT=8000"); !slices.Equal(cmd.Env, want) {
		t.Errorf("environment %q, not %q", cmd.Env, want)
	}
	if cmd := c.commands[1].Cmd(t.Context()); cmd.Dir != "/" || cmd.Env != nil {
		t.Errorf("least: in %q, environment %q", cmd.Dir, cmd.Env)
	}
	for i := range c.commands {
		c.commands[i].Cmd = nil
	}
	want := []gracerun.Command{{
		Name: "web-1.example_com", User: "root", Group: "0",
		ReadyAddress: "127.0.0.1:8000", ReadyDelay: 2 * time.Second, ReadyLine: "^ready|go$", ReadyNotify: true, ReadyTimeout: -1,
		Stagger: 100 * time.Millisecond, Restart: gracerun.RestartOnFailure, ExitCodes: []int{0, 2},
		Backoff: -1, MaxBackoff: 20 * time.Second, Failures: -1, FailurePeriod: 90 * time.Second,
		StopSignal: syscall.SIGINT, StopTimeout: 5 * time.Second, RestartOnUpgrade: true,
		Output: "/var/log/web", ErrorOutput: "/var/log/web.err",
	}, {Name: "least", StopTimeout: 10 * time.Second}}
	if !reflect.DeepEqual(c.commands, want) {
		t.Errorf("got\n%+v, not\n%+v", c.commands, want)
	}
}

// TOML has many ways to write the same.
func TestSpelling(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`program = [{ name = "a", command = ["/a"], ready.delay = "1s" }]`,
		"[[program]]\nname = 'a'\n'command' = ['/a']\n[program.ready]\ndelay = '1s'",
		"[[\"program\"]]\r\nready.delay = \"\"\"1s\"\"\"\r\n\"n\\u0061me\" = \"a\"\r\ncommand = [\r\n'/a', # a\r\n]",
	} {
		c, err := parse("programs.toml", []byte(text))
		if err != nil {
			t.Errorf("%s\n%v", text, err)
		} else if p := c.commands[0]; p.Name != "a" || p.ReadyDelay != time.Second || p.Cmd(t.Context()).Path != "/a" {
			t.Errorf("%s\n%+v", text, p)
		}
	}
}

// Each fault is named with its place and with what would be right, and all of
// them at once.
func TestFaults(t *testing.T) {
	t.Parallel()
	const good = "[[program]]\nname = \"good\"\ncommand = [\"/a\"]\n"
	for _, tt := range []struct{ name, text, faults string }{
		{"nothing", "", `1:1: program: there is none: begin each with [[program]], and give it a name and a command`},
		{"an empty list", "# none\nprogram = []", `2:1: program: there is none: begin each with [[program]], and give it a name and a command`},
		{"one bracket", "[program]\nname = \"a\"", `1:2: program: a table is not a list of tables: each begins with [[program]], in two brackets`},
		{"no tables", "program = [\n1, \"a\"]", `1:1: program: [1, "a"] is not a list of tables: each begins with [[program]], in two brackets`},
		{"no TOML", good + "dir = /srv", "4:7: "},
		{"a quote too few", good + "dir = \"/srv", "4:11: "},
		{"a key twice", good + "name = \"b\"", "4:1: toml: key name is already defined"},
		{"what must be", good + "\n[[program]] # empty\n", `5:3: name: it is missing: write a name of letters, digits and ".", "_", "-", which a letter or a digit begins
			5:3: command: it is missing: write the absolute path of a program and its arguments, as ["/bin/sleep", "60"]`},
		{"a name twice", good + good, `5:1: name: "good" is the program in line 2, too`},
		{"names", "[[program]]\nname = \"a b\"\ncommand = [\"/a\"]\n[[program]]\nname = 5\ncommand = [\"/a\"]\n[[program]]\nname = \"" + strings.Repeat("x", 65) + "\"\ncommand = [\"/a\"]",
			`2:1: name: "a b" is not a name of letters
			5:1: name: 5 is not a name of letters
			8:1: name: "xxx`},
		{"unknown keys", good + "restrt = \"always\"\nready.adress = \":80\"\n[programs]\na = 1\n[other]", `4:1: restrt: there is no such key (did you mean restart?)
			5:1: ready: write at least one of delay, address, line and notify
			5:7: ready.adress: there is no such key (did you mean address?)
			6:2: programs: there is no such key (did you mean program?)
			8:2: other: there is no such key: use log, program`},
		{"paths", "log = \"all.log\"\n" + good + "dir = \"srv\"\noutput = \"./a\"\nerror_output = 1\n", `1:1: log: "all.log" is not an absolute path, "journal" or "syslog"
			5:1: dir: "srv" is not an absolute path, as "/srv"
			6:1: output: "./a" is not an absolute path, as "/var/log/web.log"
			7:1: error_output: 1 is not an absolute path, as "/var/log/web.log"`},
		{"commands", "[[program]]\nname = \"a\"\ncommand = \"sleep 1\"\n[[program]]\nname = \"b\"\ncommand = [\"sleep\", 1]\n[[program]]\nname = \"c\"\ncommand = []\n[[program]]\nname = \"d\"\ncommand = [\"/a\", \"\\u0000\"]",
			`3:1: command: "sleep 1" is not the absolute path of a program and its arguments, as ["/bin/sleep", "60"]
			6:1: command: ["sleep", 1] is not the absolute path
			9:1: command: [] is not the absolute path
			12:1: command: ["/a", "\x00"] is not the absolute path`},
		{"times", good + "backoff = 5\nmax_backoff = \"none\"\nfailure_period = \"1 minute\"\nstop_timeout = \"-1s\"\nstagger = \"0s\"\nready = { timeout = \"soon\", delay = \"1d\" }",
			`4:1: backoff: 5 is not a time, as "500ms" or "1m30s", or "none"
			5:1: max_backoff: "none" is not a time, as "500ms" or "1m30s"
			6:1: failure_period: "1 minute" is not a time
			7:1: stop_timeout: "-1s" is not a time
			8:1: stagger: "0s" is not a time
			9:11: ready.timeout: "soon" is not a time, as "500ms" or "1m30s", or "none"
			9:29: ready.delay: "1d" is not a time`},
		{"back-off", good + "backoff = \"1m\"", `4:1: backoff: 1m0s is more than max_backoff, which is 30s`},
		{"words and numbers", good + "restart = \"allways\"\nexit_codes = [0, 256]\nfailures = 0\nrestart_on_upgrade = \"yes\"\nstop_signal = \"SIGNAL\"",
			`4:1: restart: "allways" is not "always", "on-failure" or "never"
			5:1: exit_codes: [0, 256] is not a list of numbers from 0 to 255
			6:1: failures: 0 is not a number from 1 to 1000, or -1 for never
			7:1: restart_on_upgrade: "yes" is not true or false
			8:1: stop_signal: "SIGNAL" is not a signal, as "TERM", "INT" or "USR1"`},
		{"users", good + "user = \"nobody at all\"\ngroup = \"\"", `4:1: user: "nobody at all" is not a user of this system, by name or number
			5:1: group: "" is not a group of this system, by name or number`},
		{"ready", good + "ready = { address = \"localhost\", line = \"[\", notify = 1 }", `4:11: ready.address: "localhost" is not an address to connect to, as "127.0.0.1:8000"
			4:34: ready.line: "[" is not a regular expression (https://go.dev/s/re2syntax)
			4:46: ready.notify: 1 is not true or false`},
		{"no way to be ready", good + "[program.ready]\ntimeout = \"1s\"", "4:10: ready: write at least one of delay, address, line and notify"},
		{"no table", good + "ready = true\nenv = \"A=B\"", `4:1: ready: true is not a table, as { address = "127.0.0.1:8000" }
			5:1: env: "A=B" is not a table, as { PORT = "8000" }`},
		{"variables", good + "env = { \"A=B\" = \"\", \"\" = \"\", C = 1.5, \"a\\nb\" = \"\\u0000\" }", `4:9: env.A=B: a variable cannot have this name
			4:21: env: a variable cannot have this name
			4:30: env.C: 1.5 is not a text or a number
			4:39: env."a\nb": "\x00" is not a text or a number`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := parse("programs.toml", []byte(tt.text))
			if err == nil {
				t.Fatal("no error")
			}
			got := strings.Split(err.Error(), "\n")
			want := strings.Split(tt.faults, "\n")
			for i, want := range want {
				if want = "programs.toml:" + strings.TrimSpace(want); i >= len(got) || !strings.HasPrefix(got[i], want) {
					t.Errorf("%s\nhas not, as fault %d,\n%s", err, i+1, want)
				}
			}
			if len(got) > len(want) {
				t.Errorf("%s\nis more than %d faults", err, len(want))
			}
		})
	}
}

// The file to try it with says what is the case.
func TestSample(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("programs.toml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parse("programs.toml", text); err != nil {
		t.Error(err)
	}
	// What is a comment only, because not everybody can use it.
	all := regexp.MustCompile(`(?m)^# (log|user|group|output|error_output) =`).ReplaceAll(text, []byte("$1 ="))
	all = []byte(strings.NewReplacer(`"www-data"`, `"root"`).Replace(string(all)))
	c, err := parse("programs.toml", all)
	if err != nil {
		t.Fatal(err)
	}
	v := reflect.ValueOf(c.commands[1])
	for i := range v.NumField() {
		switch name := v.Type().Field(i).Name; name {
		case "ReadyDelay", "ReadyLine", "ReadyNotify", "RestartOnUpgrade": // in words, or false
		default:
			if v.Field(i).IsZero() {
				t.Errorf("programs.toml does not show %s", name)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	sample, err := os.ReadFile("programs.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(sample))
	f.Add("[[program]]\nname = \"a\"\ncommand = [\"/a\"]\nready.line = 'x'\n[program.env]\nA = 1\n[[program]]\nname = 5\n")
	f.Add("program = [{ name = 'a', command = ['/a'], ready = { delay = '1s', notify = true } }, { nmae = [[{}], 1.5, {a.b.c = 1}] }]")
	f.Add("[program]\n\"a\\nb\" = 1979-05-27\n[a.b]\n[[a.b.c]]\n[[a.b.c.d]]\nx=inf\n")
	fault := regexp.MustCompile(`^f\.toml:([0-9]+):[0-9]+: .`)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parse("f.toml", []byte(text))
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !fault.MatchString(line) {
					t.Fatalf("%q names no place", line)
				}
			}
			return
		}
		names := map[string]bool{}
		for _, p := range c.commands {
			cmd := p.Cmd(t.Context())
			if p.Name == "" || names[p.Name] || cmd.Path == "" || cmd.Path[0] != '/' || cmd.Dir[0] != '/' || p.StopTimeout <= 0 {
				t.Fatalf("%+v, %q", p, cmd.Args)
			}
			names[p.Name] = true
		}
		if len(names) == 0 || c.drain <= 0 {
			t.Fatalf("%+v", c)
		}
	})
}
