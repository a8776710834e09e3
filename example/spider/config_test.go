package main

import (
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, list string
		pages      []string
		faults     []string
	}{
		{name: "pages and comments", list: "# sites\n\nhttp://a/\n\t https://b/x?q#f \n#http://c/\nhttp://d", pages: []string{"http://a/", "https://b/x?q#f", "http://d"}},
		{name: "nothing", faults: []string{"no page is listed"}},
		{name: "comments alone", list: "# http://a/\n", faults: []string{"no page is listed"}},
		{name: "every fault", list: "http://a/\na/b\nftp://b/\nhttp://\nhttp://a/ http://b/\nhttp://a/\nhttp://%zz/", faults: []string{
			`line 2: "a/b" is no URL of a page`, `line 3: "ftp://b/" is no`, `line 4: "http://" is no`, "line 5:", "line 6: http://a/ is in line 1, too", "line 7: parse",
		}},
		{name: "a line without end", list: strings.Repeat("x", 1<<20), faults: []string{"token too long"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pages, err := parse(strings.NewReader(tt.list))
			if !slices.Equal(pages, tt.pages) {
				t.Errorf("got %q", pages)
			}
			if (err != nil) != (tt.faults != nil) {
				t.Fatalf("error: %v", err)
			}
			for _, want := range tt.faults {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in the error:\n%v", want, err)
				}
			}
		})
	}
}
