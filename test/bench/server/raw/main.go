// Command raw is the least that a replacement can cost: the same program,
// started with the inherited listeners and a pipe for a ready byte. Nothing is
// checked, nothing is kept: the old process exits when the byte has come. It
// loses requests; it is here for its speed.
package main

import (
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/gracerun/grace/test/bench/server"
)

const (
	marker  = "RAW"
	readyFD = 3
	firstFD = 4
)

func main() {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	o, srv := server.Parse(), server.New()
	var listeners []net.Listener
	for i, addr := range o.HTTP {
		ln, err := listen(addr, firstFD+i)
		check(err)
		listeners = append(listeners, ln)
	}
	for _, ln := range listeners { // when all are there: a server that lacks one is not to serve
		go http.Serve(ln, srv.Handler)
	}
	if os.Getenv(marker) != "" {
		os.NewFile(readyFD, "ready").Write([]byte{1})
	}
	<-hup
	check(replace(listeners))
}

func listen(addr string, fd int) (net.Listener, error) {
	if os.Getenv(marker) == "" {
		return net.Listen("tcp", addr)
	}
	f := os.NewFile(uintptr(fd), addr)
	defer f.Close()
	return net.FileListener(f)
}

func replace(listeners []net.Listener) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	files := []uintptr{0, 1, 2, w.Fd()}
	for _, ln := range listeners {
		rc, err := ln.(*net.TCPListener).SyscallConn()
		if err != nil {
			return err
		}
		rc.Control(func(fd uintptr) { files = append(files, fd) })
	}
	_, _, err = syscall.StartProcess(os.Args[0], os.Args, &syscall.ProcAttr{Env: append(os.Environ(), marker+"=1"), Files: files})
	if err != nil {
		return err
	}
	_, err = r.Read(make([]byte, 1))
	return err
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
