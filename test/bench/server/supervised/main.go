// Command supervised is the pattern of einhorn, of circus, and of systemd's socket
// units: a supervisor holds the listeners, and a worker serves them. On SIGHUP the
// supervisor starts another worker of the same program, waits for its ready byte,
// and sends SIGTERM to the old one, which calls http.Server.Shutdown.
package main

import (
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/gracerun/grace/test/bench/server"
)

func main() {
	o := server.Parse()
	if os.Getenv(worker) != "" {
		work(o)
		return
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	s := supervisor{ready: o.Ready}
	check(s.listen(o.All()))
	check(s.replace())
	for {
		select {
		case <-hup:
			if err := s.replace(); err != nil {
				log.Println("the old worker serves on:", err)
			}
		case how := <-s.current.gone:
			log.Println("the worker died:", how)
			check(s.replace())
		}
	}
}

// work serves what the supervisor listens on.
func work(o *server.Options) {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	fd := uintptr(firstFD)
	running, err := o.Serve(func(_, address string) (net.Listener, error) {
		f := os.NewFile(fd, address)
		defer f.Close()
		fd++
		return net.FileListener(f)
	})
	check(err)
	ready := os.NewFile(readyFD, "ready")
	_, err = ready.Write([]byte{1})
	check(err)
	ready.Close()
	<-term
	running.Stop()
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
