// Command tableflip is the example of tableflip's README, at the address of the
// variable ADDRESS and with a handler.
package main

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/cloudflare/tableflip"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "generation 0 pid", os.Getpid())
	})
	upg, _ := tableflip.New(tableflip.Options{})
	defer upg.Stop()
	go func() {
		sig := make(chan os.Signal, 1)
		signal.Notify(sig, syscall.SIGHUP)
		for range sig {
			upg.Upgrade()
		}
	}()
	ln, _ := upg.Listen("tcp", os.Getenv("ADDRESS"))
	defer ln.Close()
	go http.Serve(ln, nil)
	if err := upg.Ready(); err != nil {
		panic(err)
	}
	<-upg.Exit()
}
