package gracerun_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"time"

	"github.com/gracerun/grace/gracerun"
)

// A whole service. It upgrades on SIGHUP, and drains on SIGTERM.
func ExampleApp_Main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello\n") })
	var app gracerun.App
	app.Serve("tcp", ":8080", &http.Server{ReadHeaderTimeout: 10 * time.Second})
	app.Main()
}

// Run is for tests, and for services with a main function of their own.
func ExampleApp_Run() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	app := gracerun.App{Name: "hello", RunDir: dir, Linger: -1, Logger: slog.New(slog.DiscardHandler)}
	app.OnState = func(s gracerun.State) { fmt.Println(s) }
	app.Serve("tcp", "127.0.0.1:0", &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello") }),
	})
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		defer stop()
		<-app.Ready()
		resp, err := http.Get("http://" + app.Status().Sockets[0].Bound)
		if err != nil {
			return
		}
		defer resp.Body.Close()
		defer http.DefaultClient.CloseIdleConnections()
		body, _ := io.ReadAll(resp.Body)
		fmt.Print(string(body))
	}()
	if err := app.Run(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// starting
	// ready
	// hello
	// draining
	// done
}

// Setup runs only in a process that will serve. What it cannot open ends the
// start, or refuses an upgrade: the generation that runs then serves on.
func ExampleApp_setup() {
	var app gracerun.App
	app.Setup = func(ctx context.Context) error {
		store, err := os.OpenFile("/var/lib/hello/store", os.O_RDWR, 0)
		if err != nil {
			return err
		}
		app.Cleanup("store", func(context.Context) error { return store.Close() })
		app.Serve("tcp", ":8080", &http.Server{Handler: http.FileServer(http.Dir("/srv"))})
		return nil
	}
	app.Main()
}

// A protocol of one's own: echo lines, and say goodbye in a drain.
func ExampleConnServer() {
	var app gracerun.App
	app.Serve("tcp", ":7007", gracerun.ConnServer{MaxConns: 1000, Handle: func(ctx context.Context, conn net.Conn) {
		wake := func() { conn.SetReadDeadline(time.Now()) }
		defer context.AfterFunc(gracerun.UntilDrain(ctx), wake)()
		if _, err := io.Copy(conn, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			fmt.Fprintln(conn, "goodbye")
		}
	}})
	app.Main()
}

// Work takes until the drain, and does what it took.
func ExampleWork() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	app := gracerun.App{Name: "worker", RunDir: dir, Logger: slog.New(slog.DiscardHandler)}
	queue := make(chan string, 1)
	queue <- "a letter"
	take := func(ctx context.Context) (string, error) {
		select {
		case item := <-queue:
			return item, nil
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
	do := func(ctx context.Context, item string) error {
		stop() // in the middle of it the service is asked to end
		<-gracerun.Draining(ctx)
		fmt.Println("sent", item, "- may it go on?", ctx.Err() == nil)
		return nil
	}
	gracerun.Work(&app, "mail", 2, take, do)
	fmt.Println(app.Run(ctx))
	// Output:
	// sent a letter - may it go on? true
	// <nil>
}

// tail streams until the client leaves or the service drains.
func tail(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintln(w, "first line")
	http.NewResponseController(w).Flush()
	select {
	case <-r.Context().Done():
	case <-gracerun.Draining(r.Context()):
		fmt.Fprintln(w, "come again")
	}
}

// Every night at half past four in Berlin, for half an hour at most, in one
// generation at a time.
func ExampleApp_Cron() {
	var app gracerun.App
	app.Cron("report", "CRON_TZ=Europe/Berlin 30 4 * * *", func(ctx context.Context) error {
		return exec.CommandContext(ctx, "/usr/local/bin/report").Run()
	})
	app.Timeout("report", 30*time.Minute)
	app.Main()
}

// A program that an upgrade does not end: it is started again when it fails, and
// the next one waits until it accepts connections.
func ExampleApp_Supervise() {
	var app gracerun.App
	app.Supervise(gracerun.Command{
		Name: "web",
		Cmd: func(ctx context.Context) *exec.Cmd {
			return exec.CommandContext(ctx, "/usr/bin/python3", "-m", "http.server", "8000")
		},
		User:         "www-data",
		ReadyAddress: "127.0.0.1:8000",
		Restart:      gracerun.RestartOnFailure,
	})
	app.Command("worker", func(ctx context.Context) *exec.Cmd {
		return exec.CommandContext(ctx, "/usr/local/bin/worker")
	})
	app.Main()
}

// WithDrain tests, without an App, what a handler does in a drain.
func ExampleWithDrain() {
	ctx, drain, cut := gracerun.WithDrain(context.Background())
	defer cut()
	w := httptest.NewRecorder()
	time.AfterFunc(10*time.Millisecond, drain)
	tail(w, httptest.NewRequest("GET", "/", nil).WithContext(ctx))
	fmt.Print(w.Body)
	// Output:
	// first line
	// come again
}

// A handler that streams ends politely when the service drains.
func ExampleDraining() {
	http.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		ticks := time.NewTicker(time.Second)
		defer ticks.Stop()
		for {
			select {
			case now := <-ticks.C:
				fmt.Fprintln(w, now)
				http.NewResponseController(w).Flush()
			case <-gracerun.Draining(r.Context()):
				fmt.Fprintln(w, "come again")
				return
			case <-r.Context().Done():
				return
			}
		}
	})
}

// A loop waits until the drain, and finishes through it.
func ExampleUntilDrain() {
	ctx, drain, cut := gracerun.WithDrain(context.Background())
	defer cut()
	drain()
	take, do := gracerun.UntilDrain(ctx), gracerun.ThroughDrain(ctx)
	fmt.Println(context.Cause(take))
	fmt.Println(do.Err())
	// Output:
	// gracerun: draining
	// <nil>
}
