package peer

import (
	"slices"
	"syscall"
)

func kinds() []*Kind {
	return slices.Concat(libraries(), patterns(), proxies(), bounds())
}

// libraries are what a service in Go can import.
func libraries() []*Kind {
	return []*Kind{
		{
			Name: "gracerun", How: "HUP to the pid in the pid file",
			Has: Upgrade | TLS | Raw | Binary | MemStats, module: "github.com/gracerun/grace",
			program: "gracerun", trigger: signalNewest(syscall.SIGHUP),
		},
		{
			Name: "tableflip", How: "HUP; when the new process is ready, the old one calls http.Server.Shutdown",
			Has: Upgrade | TLS | Raw | Binary | MemStats, module: "github.com/cloudflare/tableflip",
			program: "tableflip", trigger: signalNewest(syscall.SIGHUP),
		},
		{
			Name: "overseer", How: "USR2 to the main process, which has the old child close its listeners, then starts the new one",
			Has: Upgrade | TLS | Raw | Binary | MemStats, module: "github.com/jpillora/overseer",
			program: "overseer", trigger: signalFirst(syscall.SIGUSR2),
		},
		{
			Name: "endless", How: "HUP; the new process sends TERM to the old one, which closes its listeners and waits",
			Has: Upgrade | TLS | Binary | MemStats, module: "github.com/fvbock/endless",
			program: "endless", trigger: signalNewest(syscall.SIGHUP), underInit: true,
		},
		{
			Name: "facebookgo/grace", How: "USR2; the new process sends TERM to the old one, which closes its listeners and waits",
			Has: Upgrade | TLS | Binary | MemStats, module: "github.com/facebookgo/grace",
			program: "facebook", trigger: signalNewest(syscall.SIGUSR2), underInit: true,
		},
	}
}

// patterns are what a service can do without a library.
func patterns() []*Kind {
	return []*Kind{
		{
			Name: "supervisor", How: "HUP to the process that holds the listeners: it starts the new worker, then ends the old one by TERM and http.Server.Shutdown",
			Has: Upgrade | TLS | Raw | Binary | MemStats, program: "supervised", trigger: signalFirst(syscall.SIGHUP),
		},
		{
			Name: "SO_REUSEPORT", How: "start a second process with listeners of its own, then end the first by TERM and http.Server.Shutdown",
			Has: Upgrade | TLS | Raw | Binary | MemStats, program: "reuseport", trigger: inBackground((*Server).startThenStop),
		},
		{
			Name: "stop then start", How: "TERM and http.Server.Shutdown, wait for the exit, start again",
			Has: Upgrade | TLS | Raw | Binary | MemStats, program: "plain", trigger: inBackground((*Server).stopThenStart),
		},
	}
}

// proxies answer GET / themselves, and take the rest from a plain server.
func proxies() []*Kind {
	nginx := &proxy{program: "nginx", pkg: "nginx-light", template: "nginx.conf", args: []string{"-c"}, daemon: true}
	haproxy := &proxy{program: "haproxy", pkg: "haproxy", template: "haproxy.cfg", args: []string{"-W", "-f"}, deaf: true}
	idleClose := *haproxy
	idleClose.option = "option idle-close-on-response"
	return []*Kind{
		{
			Name: "nginx HUP", How: "HUP to the master: new workers, the old ones finish",
			Has: Upgrade | TLS, proxy: nginx, trigger: (*Server).signalMaster,
		},
		{
			Name: "nginx USR2", How: "USR2 starts a new master and its workers, then WINCH and QUIT to the old master",
			Has: Upgrade | TLS | Binary, proxy: nginx, trigger: inBackground((*Server).replaceMaster),
		},
		{
			Name: "HAProxy reload", How: "USR2 to the master: a new worker takes the listeners, the old one finishes",
			Has: Upgrade | TLS | Raw, proxy: haproxy, trigger: signalFirst(syscall.SIGUSR2),
		},
		{
			Name: "HAProxy idle-close", How: "the same, with idle-close-on-response: idle connections are closed after one more answer",
			Has: Upgrade | TLS | Raw, proxy: &idleClose, trigger: signalFirst(syscall.SIGUSR2),
		},
	}
}

// bounds are no upgrade at all, and the least that one can cost.
func bounds() []*Kind {
	return []*Kind{
		{
			Name: "plain net/http", How: "cannot be replaced: the floor",
			Has: TLS | Raw | MemStats, program: "plain",
		},
		{
			Name: "raw limit", How: "StartProcess with the inherited listeners and a ready byte; the old process exits at once",
			Has: Upgrade | Binary | MemStats, program: "raw", trigger: signalNewest(syscall.SIGHUP),
		},
	}
}
