// Command endless is the server as the README of fvbock/endless and its example
// with several ports have it: ListenAndServe for each address, and SIGHUP to
// replace the process. HTTP/2 is what it adds to the default.
package main

import (
	"crypto/tls"
	"log"
	"sync"

	"github.com/fvbock/endless"

	"github.com/gracerun/grace/test/bench/server"
)

func main() {
	server.UnderInit() // endless sends a SIGTERM to its parent for each server
	o, handler := server.Parse(), server.Handler()
	var all sync.WaitGroup
	for _, address := range o.HTTP {
		srv := endless.NewServer(address, handler)
		all.Go(func() { log.Print(srv.ListenAndServe()) })
	}
	if o.TLS != "" {
		srv := endless.NewServer(o.TLS, handler)
		srv.TLSConfig = &tls.Config{NextProtos: []string{"h2", "http/1.1"}}
		all.Go(func() { log.Print(srv.ListenAndServeTLS(o.Cert, o.Key)) })
	}
	all.Wait()
}
