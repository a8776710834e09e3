package server

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// Running is what net/http itself has to offer: servers that end by
// [http.Server.Shutdown]. It is for those that say when to start and when to end,
// but not how.
type Running struct {
	http  *http.Server
	raw   net.Listener
	lines sync.WaitGroup
}

// Serve opens a listener for every address of the options, in the order of
// [Options.All], and serves them in the background.
func (o *Options) Serve(listen func(network, address string) (net.Listener, error)) (*Running, error) {
	r := &Running{http: New()}
	for _, address := range o.All() {
		ln, err := listen("tcp", address)
		if err != nil {
			return nil, err
		}
		switch address {
		case o.TLS:
			go check(func() error { return r.http.ServeTLS(ln, o.Cert, o.Key) })
		case o.Raw:
			r.raw = ln
			r.lines.Go(func() { r.serveLines(ln) })
		default:
			go check(func() error { return r.http.Serve(ln) })
		}
	}
	return r, nil
}

func check(serve func() error) {
	if err := serve(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

func (r *Running) serveLines(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		r.lines.Go(func() { Lines(context.Background(), conn) })
	}
}

// Stop shuts everything down and waits until all connections have ended, for at
// most the 30 s that tableflip's example gives them.
func (r *Running) Stop() {
	time.AfterFunc(30*time.Second, func() {
		log.Print("graceful shutdown timed out")
		os.Exit(1)
	})
	if r.raw != nil {
		r.raw.Close()
	}
	r.http.Shutdown(context.Background())
	r.lines.Wait()
}
