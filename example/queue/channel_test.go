//go:build linux

package queue_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Each job has its effect once, however often the service is upgraded and killed.
func TestChannel(t *testing.T) {
	t.Parallel()
	startChannel(t, 4*time.Second).run()
}

// A job that hands itself back is sent again.
func TestChannelHandBack(t *testing.T) {
	t.Parallel()
	startChannel(t, 2*time.Second).deadline(true)
}

// So is one that knows nothing of the drain.
func TestChannelDeadline(t *testing.T) {
	t.Parallel()
	startChannel(t, 2*time.Second).deadline(false)
}

// channelQueue is the senders, each of which has one job.
type channelQueue struct {
	t       *testing.T
	ctx     context.Context
	dir     string
	service *service
	client  http.Client
	senders sync.WaitGroup
	sending atomic.Int64
	broken  atomic.Int64 // tries that ended without an answer, or with a wrong one
}

func startChannel(t *testing.T, drain time.Duration) *trial {
	t.Helper()
	q := &channelQueue{t: t, ctx: t.Context(), dir: t.TempDir()}
	q.service = start(t, "channel", drain, "-addr", "127.0.0.1:0", "-dir", q.dir)
	transport := &http.Transport{MaxIdleConnsPerHost: 100, DialContext: q.dial}
	q.client = http.Client{Transport: transport}
	ctx, cancel := context.WithCancel(q.ctx)
	q.ctx = ctx
	t.Cleanup(func() { // before the service is closed
		cancel()
		q.senders.Wait()
		transport.CloseIdleConnections()
	})
	return newTrial(q.service, q)
}

// dial finds the service, which has another port after each start.
func (q *channelQueue) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	address, err := q.service.Address()
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", address)
}

// add sends the job until it is done.
func (q *channelQueue) add(j job) {
	q.sending.Add(1)
	q.senders.Go(func() {
		defer q.sending.Add(-1)
		url := fmt.Sprintf("http://service/jobs/%s?amount=%d&steps=%d&each=%s", j.key, j.amount, j.steps, j.each)
		for {
			code, err := q.post(url)
			switch {
			case code == http.StatusOK || q.ctx.Err() != nil:
				return
			case code != http.StatusServiceUnavailable:
				if q.broken.Add(1); code != 0 {
					q.t.Errorf("%s: %d, %v", url, code, err)
				}
			}
			select { // the service may be down
			case <-time.After(20 * time.Millisecond):
			case <-q.ctx.Done():
			}
		}
	})
}

// post returns 0 where there was no answer.
func (q *channelQueue) post(url string) (code int, err error) {
	req, err := http.NewRequestWithContext(q.ctx, "POST", url, nil)
	if err != nil {
		return 0, err
	}
	res, err := q.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return 0, err
	}
	return res.StatusCode, nil
}

func (q *channelQueue) forget() {}

func (q *channelQueue) due() {}

func (q *channelQueue) failed() int { return int(q.broken.Load()) }

func (q *channelQueue) booked() (jobs int, balance int64) {
	files, err := os.ReadDir(q.dir)
	if err != nil {
		q.t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasPrefix(f.Name(), ".") { // of a process that was killed
			continue
		}
		text, err := os.ReadFile(filepath.Join(q.dir, f.Name()))
		if err != nil {
			q.t.Fatal(err)
		}
		amount, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err != nil {
			q.t.Fatal(err)
		}
		jobs++
		balance += amount
	}
	return jobs, balance
}

func (q *channelQueue) rest() string {
	if n := q.sending.Load(); n > 0 {
		return fmt.Sprint(n, " with their senders")
	}
	return ""
}
