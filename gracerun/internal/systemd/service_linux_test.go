package systemd_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gracerun/grace/gracerun/internal/systemd"
	"github.com/gracerun/grace/listener"
)

// A service is one generation on the bench. It does what it is told on a socket, /run/bench/
// and its name.
type service struct {
	name     string
	manager  systemd.Manager
	notifier *systemd.Notifier
	sockets  systemd.Sockets
	set      *listener.Set
	term     chan os.Signal
	told     chan struct{} // closed by TERM
	held     atomic.Bool   // which then is not its end
	pings    atomic.Bool
	ended    chan struct{}
	once     sync.Once
}

const (
	partVariable    = "SYSTEMD_HELPER"
	nameVariable    = "SYSTEMD_HELPER_NAME"
	managerVariable = "SYSTEMD_HELPER_MANAGER"
	benchDir        = "/run/bench"
)

func parts() map[string]func() error {
	return map[string]func() error{
		"service":   func() error { return newService(true) },
		"successor": func() error { return newService(false) },
		"forking":   forkingService,
		"slow":      slow,
		"sockets":   printSockets,
	}
}

// newService runs one until it is told to end.
func newService(first bool) (err error) {
	if len(os.Args) > 1 && os.Args[1] == "reload" {
		return reloadVerb(os.Getenv(nameVariable))
	}
	s := &service{name: os.Getenv(nameVariable), ended: make(chan struct{}), term: make(chan os.Signal, 1), told: make(chan struct{})}
	signal.Notify(s.term, syscall.SIGTERM)
	go s.reload()
	if first {
		s.manager, err = systemd.ReadManager(os.Getenv, os.Getpid())
	} else {
		err = json.Unmarshal([]byte(os.Getenv(managerVariable)), &s.manager)
	}
	if err != nil {
		return err
	}
	if s.sockets, err = systemd.ReadSockets(os.Getenv, os.Getpid()); err != nil {
		return err
	}
	for _, name := range systemd.Variables() {
		os.Unsetenv(name)
	}
	s.inherit()
	s.notifier = s.manager.Notifier(first)
	path := filepath.Join(benchDir, s.name)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	s.pings.Store(true)
	go s.ping()
	if first {
		if err := s.notifier.Ready("generation 1 serves"); err != nil {
			return err
		}
	}
	go s.listen(ln)
	select {
	case <-s.ended:
	case <-s.term:
		if s.held.Load() {
			close(s.told)
			<-s.ended
		}
	}
	return nil
}

// reloadVerb is what `systemctl reload` runs: it asks the service, and waits.
func reloadVerb(name string) error {
	if name == "order" {
		return errors.New("upgrade failed at check: no")
	}
	path := filepath.Join(benchDir, name)
	steps := [][2]string{{path, "reloading upgrading"}, {path, "spawn " + name + "2"}, {path + "2", "pid"}, {path, "handover "}, {path + "2", "own"}, {path, "exit"}}
	answer := ""
	for _, step := range steps {
		order := step[1]
		if order == "handover " {
			order += answer
		}
		var err error
		if answer, err = ask(step[0], order); err != nil || strings.HasPrefix(answer, "error: ") {
			return fmt.Errorf("%s: %w %s", order, err, answer)
		}
	}
	return nil
}

// reload is what a service does that is asked by SIGHUP.
func (s *service) reload() {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	for range hup {
		s.notifier.Reloading("asked by a signal")
		s.notifier.Ready("reloaded")
	}
}

func (s *service) inherit() {
	var handles []listener.Handle
	var fds []int
	for _, socket := range s.sockets {
		handles, fds = append(handles, socket.Handle()), append(fds, socket.FD())
	}
	s.set = listener.Inherit(handles, fds)
}

func (s *service) ping() {
	d := s.manager.WatchdogInterval()
	if d == 0 {
		return
	}
	for range time.Tick(d) {
		if s.pings.Load() {
			s.notifier.Watchdog()
		}
	}
}

func (s *service) listen(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go s.answer(c)
	}
}

func (s *service) answer(c net.Conn) {
	defer c.Close()
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return
	}
	order, arg, _ := strings.Cut(strings.TrimSpace(line), " ")
	do := s.orders()[order]
	if do == nil {
		fmt.Fprintf(c, "error: no such order: %s\n", order)
		return
	}
	answer, err := do(arg)
	if err != nil {
		answer = "error: " + err.Error()
	}
	fmt.Fprintln(c, answer)
	if order == "exit" {
		s.once.Do(func() { close(s.ended) })
	}
}

func (s *service) orders() map[string]func(string) (string, error) {
	ctx := context.Background()
	say := func(err error) (string, error) { // what was said is read
		return "", errors.Join(err, s.manager.Notifier(true).Barrier(ctx))
	}
	return map[string]func(string) (string, error){
		"store-max": func(string) (string, error) { return strconv.Itoa(s.manager.StoreMax), nil },
		"mine": func(pid string) (string, error) {
			n, err := strconv.Atoi(pid)
			return fmt.Sprint(systemd.Adopted(n)), err
		},
		"pid":       func(string) (string, error) { return strconv.Itoa(os.Getpid()), nil },
		"exit":      func(string) (string, error) { return "", nil },
		"reloading": func(text string) (string, error) { return say(s.notifier.Reloading(text)) },
		"ready":     func(text string) (string, error) { return say(s.notifier.Ready(text)) },
		"status":    func(text string) (string, error) { return say(s.notifier.Status(text)) },
		"own":       func(string) (string, error) { s.notifier.Own(); return "", nil },
		"intrude":   func(text string) (string, error) { return say(s.manager.Notifier(true).Status(text)) },
		"wedge":     func(string) (string, error) { s.pings.Store(false); return "", nil },
		"stopping":  func(text string) (string, error) { return say(s.notifier.Stopping(text)) },
		"errno": func(text string) (string, error) {
			n, err := strconv.Atoi(text)
			return say(errors.Join(err, s.notifier.Errno(syscall.Errno(n))))
		},
		"mainpid": func(text string) (string, error) {
			pid, err := strconv.Atoi(text)
			return say(errors.Join(err, s.notifier.MainPID(pid)))
		},
		"handover": func(text string) (string, error) {
			pid, err := strconv.Atoi(text)
			return say(errors.Join(err, s.notifier.HandOver(pid, "generation 2 serves")))
		},
		"hold":       func(string) (string, error) { s.held.Store(true); return "", nil },
		"await-term": func(string) (string, error) { <-s.told; return "", nil },
		"write-pid": func(path string) (string, error) {
			return "", os.WriteFile(path, fmt.Appendln(nil, os.Getpid()), 0o644)
		},
		"write": func(name string) (string, error) {
			return "", os.WriteFile(filepath.Join(benchDir, name), nil, 0o644)
		},
		"spawn":  func(name string) (string, error) { return "", s.spawn(name) },
		"listen": func(address string) (string, error) { return s.open(address) },
		"close":  func(string) (string, error) { return "", s.set.Close() },
		"serve":  func(string) (string, error) { return "", s.serve() },
		"names":  func(string) (string, error) { return s.describe() },
		"environment": func(string) (string, error) {
			out, err := exec.Command("env").Output()
			return strings.Join(strings.Fields(string(out)), " "), err
		},
	}
}

// spawn starts a successor, and returns when it listens. With its parent gone it is a
// child of systemd.
func (s *service) spawn(name string) error {
	text, err := json.Marshal(s.manager)
	if err != nil {
		return err
	}
	parent := exec.Command("sh", "-c", `"$0" &`, "/usr/local/bin/program")
	parent.Env = append(os.Environ(), partVariable+"=successor", nameVariable+"="+name, managerVariable+"="+string(text))
	if err := parent.Run(); err != nil {
		return err
	}
	return awaitAnswer(name)
}

func awaitAnswer(name string) error {
	for range 500 {
		if _, err := ask(filepath.Join(benchDir, name), "pid"); err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("%s does not answer", name)
}

// open listens, and parks the socket with the manager.
func (s *service) open(address string) (string, error) {
	ln, err := s.set.Listen(context.Background(), "tcp", address)
	if err != nil {
		return "", err
	}
	handles, conns := s.set.Handles()
	for i, h := range handles {
		if err := s.notifier.Store(systemd.StoreName(h), conns[i]); err != nil {
			return "", err
		}
	}
	return ln.Addr().String(), s.notifier.Barrier(context.Background())
}

// serve says its generation's pid to each connection.
func (s *service) serve() error {
	for _, socket := range s.sockets {
		if socket.Network == "" {
			continue
		}
		ln, err := s.set.Listen(context.Background(), socket.Network, socket.Address)
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				fmt.Fprintln(c, os.Getpid())
				c.Close()
			}
		}()
	}
	return nil
}

func (s *service) describe() (string, error) {
	text, err := json.Marshal(s.sockets)
	return string(text), err
}

// forkingService has the verbs that a unit of Type=forking runs.
func forkingService() error {
	pidFile := filepath.Join("/run", os.Getenv(nameVariable), "pid")
	switch os.Args[1] {
	case "start":
		cmd := exec.Command("sh", "-c", `"$0" run & echo $! > "$1"`, "/usr/local/bin/program", pidFile)
		cmd.Env = append(os.Environ(), partVariable+"=forking")
		if err := cmd.Run(); err != nil {
			return err
		}
		return awaitAnswer(os.Getenv(nameVariable))
	case "stop":
		text, err := os.ReadFile(pidFile)
		if err != nil {
			return err
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			return err
		}
		for err = syscall.Kill(pid, syscall.SIGTERM); err == nil; err = syscall.Kill(pid, 0) {
			time.Sleep(10 * time.Millisecond)
		}
		return nil
	}
	return newService(true)
}

// slow takes longer to start than the unit allows, and says so.
func slow() error {
	m, err := systemd.ReadManager(os.Getenv, os.Getpid())
	if err != nil {
		return err
	}
	n := m.Notifier(true)
	for range 6 {
		if os.Getenv(nameVariable) == "extended" {
			if err := n.ExtendTimeout(time.Second); err != nil {
				return err
			}
		}
		time.Sleep(400 * time.Millisecond)
	}
	if err := n.Ready("at last"); err != nil {
		return err
	}
	select {}
}

// ask sends an order to a service.
func ask(path, order string) (string, error) {
	c, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintln(c, order); err != nil {
		return "", err
	}
	answer, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSuffix(answer, "\n"), err
}

// printSockets is what a service sees that a manager passed descriptors to. The shell
// between has the pid that the manager has named, and becomes this process.
func printSockets() error {
	list, err := systemd.ReadSockets(os.Getenv, os.Getpid())
	if err != nil {
		fmt.Println("error:", err)
	}
	for _, s := range list {
		handle, _ := json.Marshal(s.Handle())
		fmt.Printf("%d %q %s %s %v %s\n", s.FD(), s.Name, s.Network, s.Address, s.Stored, handle)
	}
	return nil
}
