// Command server is one HTTP handler behind three kinds of life: gracerun; plain
// net/http, which cannot be upgraded; and raw, the least that an upgrade can
// cost: the same program started with the inherited listener and a pipe for a
// ready byte, nothing checked and nothing kept.
package main

import (
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/gracerun/grace/gracerun"
)

func main() {
	kind := flag.String("kind", "gracerun", "gracerun, plain or raw")
	addr := flag.String("addr", "127.0.0.1:0", "`address` to listen on")
	rundir := flag.String("rundir", "", "run `directory`")
	flag.Parse()
	// As short as an answer can be: what is measured is all around it.
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			http.NewResponseController(w).Flush()
			time.Sleep(100 * time.Millisecond)
		}
		fmt.Fprintf(w, "pid %d\n", os.Getpid())
	})
	switch *kind {
	case "gracerun":
		app := gracerun.App{
			Name: "bench", RunDir: *rundir, Logger: slog.New(slog.DiscardHandler),
			Probation: 30 * time.Millisecond, // both serve, as by default; shorter, to save time
		}
		app.Serve("tcp", *addr, &http.Server{Handler: handler})
		app.Main()
	case "plain":
		log.Fatal(http.ListenAndServe(*addr, handler))
	case "raw":
		raw(*addr, handler)
	}
}

const (
	readyFD  = 3
	listenFD = 4
)

func raw(addr string, handler http.Handler) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	ln := rawListener(addr)
	go http.Serve(ln, handler)
	if os.Getenv("RAW") != "" {
		os.NewFile(readyFD, "ready").Write([]byte{1})
	}
	<-hup
	r, w, err := os.Pipe()
	check(err)
	rc, err := ln.(*net.TCPListener).SyscallConn()
	check(err)
	check(rc.Control(func(fd uintptr) {
		_, _, err = syscall.StartProcess(os.Args[0], os.Args, &syscall.ProcAttr{
			Env:   append(os.Environ(), "RAW=1"),
			Files: []uintptr{0, 1, 2, w.Fd(), fd},
		})
	}))
	check(err)
	r.Read(make([]byte, 1))
	ln.Close()
}

func rawListener(addr string) net.Listener {
	if os.Getenv("RAW") == "" {
		ln, err := net.Listen("tcp", addr)
		check(err)
		return ln
	}
	ln, err := net.FileListener(os.NewFile(listenFD, "listener"))
	check(err)
	return ln
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
