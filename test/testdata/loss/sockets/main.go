//go:build linux

// Command sockets is a service that listens where the file "addresses" in its
// directory says, a network and an address on each line; "systemd-packet" is
// "systemd" for packets. To each connection and each packet it answers
// "generation G pid P". It reads the file when it starts, so that the next
// generation may listen elsewhere, and refuses to take over while there is a file
// "refuse".
//
// It answers over HTTP on the unix socket http.sock: GET /status, and GET
// /options with the options of each socket, and of one connection to each.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gracerun/grace/gracerun"
	"github.com/gracerun/grace/test/load/web"
)

type service struct {
	gracerun.App

	greeting func() string

	mu      sync.Mutex
	options map[string]string
}

func main() {
	s := &service{options: map[string]string{}}
	s.greeting = sync.OnceValue(func() string { // a Status has all the sockets
		return fmt.Sprintf("generation %d pid %d\n", s.Status().Generation, os.Getpid())
	})
	s.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	s.Probation = 10 * time.Millisecond
	flag.StringVar(&s.RunDir, "dir", ".", "`directory` of all files")
	tuned := flag.Bool("tuned", false, "set options that are not the default")
	flag.Parse()
	if *tuned {
		s.ListenConfig = tunedConfig()
	}
	s.Setup = s.register
	s.Check = func(context.Context) error {
		if _, err := os.Stat(filepath.Join(s.RunDir, "refuse")); !errors.Is(err, fs.ErrNotExist) {
			return errors.New("told to refuse")
		}
		return nil
	}
	s.Serve("unix", filepath.Join(s.RunDir, "http.sock"), &http.Server{Handler: s.handler()})
	s.Main()
}

func (s *service) handler() http.Handler {
	mux := web.Handler(func() int { return s.Status().Generation })
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(s.Status())
	})
	mux.HandleFunc("GET /options", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		json.NewEncoder(w).Encode(s.options)
	})
	return mux
}

func (s *service) register(context.Context) error {
	f, err := os.Open(filepath.Join(s.RunDir, "addresses"))
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		network, address, _ := strings.Cut(lines.Text(), " ")
		name := fmt.Sprintf("%d: %s", n, lines.Text()) // two may have the same address, with port 0
		switch network {
		case "systemd-packet":
			network = "systemd"
			fallthrough
		case "udp", "unixgram":
			s.ServePacket(network, address, gracerun.PacketFuncs{ServeFunc: func(c net.PacketConn) error {
				return s.answerPackets(name, c)
			}})
		default:
			s.Serve(network, address, gracerun.Funcs{ServeFunc: func(ln net.Listener) error {
				return s.answerConns(name, ln)
			}})
		}
	}
	return nil
}

func (s *service) answerConns(name string, ln net.Listener) error {
	s.note(name, ln)
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		s.note(name+", a connection", c)
		fmt.Fprint(c, s.greeting())
		c.Close()
	}
}

func (s *service) answerPackets(name string, c net.PacketConn) error {
	s.note(name, c)
	buf := make([]byte, 100)
	for {
		_, from, err := c.ReadFrom(buf)
		if err != nil {
			return err
		}
		c.WriteTo([]byte(s.greeting()), from)
	}
}

// note keeps the options of a socket.
func (s *service) note(name string, c any) {
	rc, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		panic(err)
	}
	rc.Control(func(fd uintptr) {
		options := describe(int(fd))
		s.mu.Lock()
		defer s.mu.Unlock()
		s.options[name] = options
	})
}
