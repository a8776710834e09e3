// Command recipe is a service as tableflip's README and its "graceful shutdown
// with net/http" example have it: on SIGHUP it upgrades, and when the new
// process is ready it calls http.Server.Shutdown. It answers as command
// service does. Its directory has the certificate, and gets the unix socket
// http.sock, where GET /addresses tells the others.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/cloudflare/tableflip"

	"github.com/gracerun/grace/test/load/web"
)

func main() {
	log.SetFlags(log.LstdFlags | log.Lmicroseconds)
	dir := flag.String("dir", ".", "`directory` of all files")
	flag.Parse()
	path := func(name string) string { return filepath.Join(*dir, name) }

	upg, err := tableflip.New(tableflip.Options{PIDFile: path("recipe.pid")})
	check(err)
	defer upg.Stop()
	go handleSignals(upg)

	// Each address needs a name of its own.
	plain, err := upg.Listen("tcp", "127.0.0.1:0")
	check(err)
	secure, err := upg.Listen("tcp", "localhost:0")
	check(err)
	unix, err := upg.Listen("unix", path("http.sock"))
	check(err)

	mux := web.Handler(func() int { return 1 }) // it does not count them
	mux.HandleFunc("GET /addresses", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%v %v\n", plain.Addr(), secure.Addr())
	})
	server := &http.Server{Handler: mux, Protocols: web.Protocols()}
	go serve(plain, server.Serve)
	go serve(unix, server.Serve)
	go serve(secure, func(ln net.Listener) error { return server.ServeTLS(ln, path("cert.pem"), path("key.pem")) })

	check(upg.Ready())
	log.Println("ready, pid", os.Getpid())
	<-upg.Exit()
	server.Shutdown(context.Background())
	log.Println("done, pid", os.Getpid())
}

func handleSignals(upg *tableflip.Upgrader) {
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, syscall.SIGHUP, syscall.SIGTERM)
	for s := range sig {
		if s == syscall.SIGTERM {
			upg.Stop()
		} else if err := upg.Upgrade(); err != nil {
			log.Println("upgrade failed:", err)
		}
	}
}

func serve(ln net.Listener, f func(net.Listener) error) {
	if err := f(ln); err != http.ErrServerClosed {
		log.Println("HTTP server:", err)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
