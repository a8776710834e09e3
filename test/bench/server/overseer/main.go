// Command overseer is the server as the README of jpillora/overseer has it: a main
// process holds the listeners and runs the program in a child. SIGUSR2 to the main
// process replaces the child.
package main

import (
	"log"
	"net"
	"net/http"
	"sync"

	"github.com/jpillora/overseer"

	"github.com/gracerun/grace/test/bench/server"
)

func main() {
	o := server.Parse()
	overseer.Run(overseer.Config{
		Program:   func(state overseer.State) { program(o, state) },
		Addresses: o.All(),
	})
}

// program serves until the listeners are closed, which overseer does, and all
// their connections have ended: a listener's Close waits for them.
func program(o *server.Options, state overseer.State) {
	handler := server.Handler()
	var all sync.WaitGroup
	for i, ln := range state.Listeners {
		all.Go(func() { log.Print(serve(o, state.Addresses[i], ln, handler)) })
	}
	all.Wait()
}

func serve(o *server.Options, address string, ln net.Listener, handler http.Handler) error {
	switch address {
	case o.TLS:
		return http.ServeTLS(ln, handler, o.Cert, o.Key)
	case o.Raw:
		return server.ServeLines(ln)
	}
	return http.Serve(ln, handler)
}
