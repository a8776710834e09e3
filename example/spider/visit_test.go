package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAfter(t *testing.T) {
	t.Parallel()
	pages := []string{"http://a/", "http://b/", "http://c/"}
	long := strings.Repeat("200 1 http://b/\n", 1000)
	for _, tt := range []struct{ name, progress, want string }{
		{"nothing yet", "", "http://a/"},
		{"a page", "t 200 1 http://a/\n", "http://b/"},
		{"the last one", "t 200 1 http://b/\nt - 0 http://c/\n", "http://a/"},
		{"one that is not listed any more", "t 200 1 http://b/\nt 200 1 http://old/\n", "http://a/"},
		{"a long file", long, "http://c/"},
		{"a line cut short, by a full disk", long + "t 200 1 http://", "http://a/"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &spider{progress: filepath.Join(t.TempDir(), "progress")}
			if err := os.WriteFile(s.progress, []byte(tt.progress), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := s.openProgress()
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			last, err := lastPage(f)
			if err != nil {
				t.Fatal(err)
			}
			if got := after(pages, last); got != tt.want {
				t.Errorf("after %q comes %q", last, got)
			}
		})
	}
}
