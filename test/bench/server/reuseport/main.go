// Command reuseport opens listeners of its own, next to those of the process that
// it replaces: SO_REUSEPORT has the kernel share out new connections among both.
// Whoever started it waits for that line in its log and sends SIGTERM to the old one.
package main

import (
	"context"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gracerun/grace/test/bench/server"
)

func main() {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	running, err := server.Parse().Serve(listen)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("pid %d is ready", os.Getpid())
	<-term
	running.Stop()
}

func listen(network, address string) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) (err error) {
		if e := conn.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}); e != nil {
			return e
		}
		return os.NewSyscallError("setsockopt", err)
	}}
	return config.Listen(context.Background(), network, address)
}
