// Command tcp is an echo service for lines: it greets with its generation, and
// echoes until the client leaves. While it drains it waits a second for the
// next line, then closes.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/gracerun/grace/gracerun"
)

func main() {
	var app gracerun.App
	addr := flag.String("addr", "127.0.0.1:7007", "`address` to listen on")
	flag.StringVar(&app.RunDir, "rundir", "", "run `directory`")
	flag.Parse()
	app.Serve("tcp", *addr, gracerun.ConnServer{Handle: func(ctx context.Context, conn net.Conn) {
		fmt.Fprintf(conn, "generation %d pid %d\n", app.Status().Generation, os.Getpid())
		drain := gracerun.UntilDrain(ctx)
		lines := bufio.NewScanner(conn)
		linger := func() { conn.SetReadDeadline(time.Now().Add(time.Second)) }
		defer context.AfterFunc(drain, linger)()
		for lines.Scan() {
			fmt.Fprintln(conn, lines.Text())
			if drain.Err() != nil {
				linger()
			}
		}
	}})
	app.Main()
}
