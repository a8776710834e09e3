// Command facebook is the server as the demo of facebookgo/grace has it: all
// servers go to gracehttp.Serve, and SIGUSR2 replaces the process.
package main

import (
	"crypto/tls"
	"log"
	"net/http"

	"github.com/facebookgo/grace/gracehttp"

	"github.com/gracerun/grace/test/bench/server"
)

func main() {
	server.UnderInit() // gracehttp sends a SIGTERM to its parent
	o, handler := server.Parse(), server.Handler()
	var all []*http.Server
	for _, address := range o.HTTP {
		all = append(all, &http.Server{Addr: address, Handler: handler})
	}
	if o.TLS != "" {
		cert, err := tls.LoadX509KeyPair(o.Cert, o.Key)
		if err != nil {
			log.Fatal(err)
		}
		config := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}}
		all = append(all, &http.Server{Addr: o.TLS, Handler: handler, TLSConfig: config})
	}
	if err := gracehttp.Serve(all...); err != nil {
		log.Fatal(err)
	}
}
