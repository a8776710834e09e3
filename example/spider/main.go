// Command spider visits the pages of a list, one by one and then again from the
// top, and appends a line for each to a file. It is the service that tutorials
// on daemons build, without what they get wrong. To try it:
//
//	go build -o spider ./example/spider
//	echo https://go.dev/ > sites.txt
//	./spider start      # when it returns, the spider is at work
//	./spider status
//	tail progress.txt   # time, HTTP status, bytes, page
//	./spider reload     # after sites.txt was changed: the same process goes on
//	./spider restart    # after it was built again: another process goes on
//	./spider stop
//
// Its flags go before the verb: ./spider -config other.txt start.
// Without a verb it runs in the foreground. SIGHUP is reload, SIGTERM stop.
//
// The work is one Every, and a run of it is one page. That is all it takes for a
// restart and a stop to finish the page in hand and take no other, and for the
// new process to begin only when the old one's page is done. It goes on with the
// next page of the list, because the progress file says which was the last. (A
// run of many pages would look at gracerun.UntilDrain(ctx) before each.)
package main

import (
	"context"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/gracerun/grace/gracerun"
)

type spider struct {
	config   string // the file with the list
	progress string // the file with a line for each page visited
	pages    atomic.Pointer[[]string]
	client   http.Client
}

func main() {
	// Less time for a page than for a drain (App.DrainTimeout, 30 s): none is cut.
	s := &spider{client: http.Client{Timeout: 20 * time.Second}}
	app := gracerun.App{Setup: s.setUp, Reload: s.load, Hangup: gracerun.HangupReload}
	flag.StringVar(&s.config, "config", "sites.txt", "`file` with the list: a URL in each line, comments begin with #")
	flag.StringVar(&s.progress, "progress", "progress.txt", "`file` to append to")
	every := flag.Duration("every", 5*time.Second, "time from one page to the next")
	log := flag.String("log", "spider.log", "`file` for the log of the started daemon")
	flag.StringVar(&app.RunDir, "rundir", "", "run `directory`")
	flag.Parse()
	// The daemon has the same arguments, so that the names in them must have
	// the same meaning: it stays in the directory in which it was started.
	app.Daemon.Dir, _ = os.Getwd()
	app.Daemon.Output, _ = filepath.Abs(*log)
	app.Every("visit", *every, s.visit)
	app.Main()
}

// setUp runs only in a process that will visit pages, so that a list with a fault
// keeps nobody from stopping it. Its error is what start says.
func (s *spider) setUp(ctx context.Context) error {
	progress, err := s.openProgress()
	if err != nil {
		return err
	}
	progress.Close()
	return s.load(ctx)
}
