// Command tableflip is the server as the README of cloudflare/tableflip and its
// example "graceful shutdown with net/http" have it: SIGHUP upgrades, and when the
// new process is ready, the old one calls http.Server.Shutdown, for 30 s at most.
package main

import (
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/cloudflare/tableflip"

	"github.com/gracerun/grace/test/bench/server"
)

func main() {
	o := server.Parse()
	upg, err := tableflip.New(tableflip.Options{UpgradeTimeout: o.Ready})
	check(err)
	defer upg.Stop()
	go handleSignals(upg)

	running, err := o.Serve(upg.Listen)
	check(err)
	check(upg.Ready())
	<-upg.Exit()
	running.Stop()
}

func handleSignals(upg *tableflip.Upgrader) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	for range hup {
		if err := upg.Upgrade(); err != nil {
			log.Println("upgrade failed:", err)
		}
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
