package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
)

// load reads the list, and uses it when all of it is right: after an error the
// spider goes on with the one it has. It is Setup's and Reload's.
func (s *spider) load(context.Context) error {
	f, err := os.Open(s.config)
	if err != nil {
		return err
	}
	defer f.Close()
	pages, err := parse(f)
	if err != nil {
		return fmt.Errorf("%s: %w", s.config, err)
	}
	s.pages.Store(&pages)
	return nil
}

// parse returns the URLs in a list, or all that is wrong with it. An empty list
// is wrong: it is what a file looks like that is being written.
func parse(r io.Reader) (pages []string, err error) {
	var faults []error
	first := map[string]int{} // the line of each page
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		page := strings.TrimSpace(lines.Text())
		if page == "" || page[0] == '#' {
			continue
		}
		if err := check(page); err != nil {
			faults = append(faults, fmt.Errorf("line %d: %w", n, err))
		} else if first[page] > 0 {
			faults = append(faults, fmt.Errorf("line %d: %s is in line %d, too", n, page, first[page]))
		} else {
			first[page] = n
			pages = append(pages, page)
		}
	}
	faults = append(faults, lines.Err())
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	if len(pages) == 0 {
		return nil, errors.New("no page is listed: write a URL in each line")
	}
	return pages, nil
}

func check(page string) error {
	u, err := url.Parse(page)
	switch {
	case err != nil:
		return err
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return fmt.Errorf("%q is no URL of a page: it begins with http:// or https://", page)
	case strings.ContainsAny(page, " \t"):
		return fmt.Errorf("%q has a space in it: write %%20, and one URL in each line", page)
	}
	return nil
}
