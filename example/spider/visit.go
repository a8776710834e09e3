package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

// visit is one run of the task: one page, from its choice to its line in the
// progress file. In no other process of the spider is one going on meanwhile.
func (s *spider) visit(ctx context.Context) error {
	progress, err := s.openProgress()
	if err != nil {
		return err
	}
	defer progress.Close()
	last, err := lastPage(progress)
	if err != nil {
		return err
	}
	page := after(*s.pages.Load(), last)
	status, size, err := s.fetch(ctx, page)
	if ctx.Err() != nil { // the drain's deadline: without a line, the page is visited again
		return context.Cause(ctx)
	}
	// One write, so that the line is there or not. A page that cannot be had gets
	// one, too: else it would always be the next.
	_, failed := fmt.Fprintf(progress, "%s %s %d %s\n", time.Now().UTC().Format(time.RFC3339), status, size, page)
	return errors.Join(err, failed)
}

// fetch reads a page. The status is "-" if there is no answer.
func (s *spider) fetch(ctx context.Context, page string) (status string, size int64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return "-", 0, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return "-", 0, err
	}
	defer resp.Body.Close()
	size, err = io.Copy(io.Discard, resp.Body)
	return fmt.Sprint(resp.StatusCode), size, err
}

// openProgress is called for each page: the file may be moved away (logrotate(8)).
func (s *spider) openProgress() (*os.File, error) {
	return os.OpenFile(s.progress, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o644)
}

// lastPage returns the last word of the progress file, "" if it is empty.
func lastPage(progress *os.File) (string, error) {
	info, err := progress.Stat()
	if err != nil {
		return "", err
	}
	tail := make([]byte, min(info.Size(), 8<<10)) // longer than servers let a URL be
	if _, err := progress.ReadAt(tail, info.Size()-int64(len(tail))); err != nil {
		return "", err
	}
	words := strings.Fields(string(tail))
	if len(words) == 0 {
		return "", nil
	}
	return words[len(words)-1], nil
}

// after returns the page after last: the first one, if last is the end of the
// list, or not in it any more.
func after(pages []string, last string) string {
	return pages[(slices.Index(pages, last)+1)%len(pages)]
}
