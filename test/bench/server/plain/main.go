// Command plain is net/http and nothing else. SIGTERM shuts it down, and starting
// it again is all that can be done to replace it.
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
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	running, err := server.Parse().Serve(net.Listen)
	if err != nil {
		log.Fatal(err)
	}
	<-term
	running.Stop()
}
