package systemd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// FuzzOneLine: no text breaks out of its field, or makes the message too long.
func FuzzOneLine(f *testing.F) {
	f.Add("3 requests in hand")
	f.Add("a\nSTOPPING=1\x00\xff\u2028")
	f.Add(strings.Repeat("ü", maxStatus))
	f.Fuzz(func(t *testing.T, text string) {
		got := oneLine(text)
		if len(got) > maxStatus || !utf8.ValidString(got) || strings.ContainsFunc(got, unicode.IsControl) {
			t.Errorf("%q becomes %q", text, got)
		}
		if oneLine(got) != got {
			t.Errorf("%q is not one line", got)
		}
	})
}

func TestQuote(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain": "plain", "": `""`, "a b": `"a b"`, `a"b`: `"a\"b"`, `a\b`: `"a\\b"`, ";": `";"`, "a\nb": `"a\x0ab"`, "it's": `"it's"`, "ü": `"ü"`,
	} {
		if got := quote(in); got != want {
			t.Errorf("quote(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestVersionOf(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"systemd 252 (252.38-1~deb12u1)\n+PAM": 252, "systemd 256 (256.7-1.fc41)": 256, "systemd 259~rc1": 259,
		"": 0, "busybox": 0, "systemd": 0, "systemd x": 0,
	} {
		if got, err := parseVersion(text); got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, test := range []struct {
		files []string
		want  int
	}{
		{[]string{"usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-257.so"}, 257},
		{[]string{"usr/lib/systemd/libsystemd-shared-256.7-1.fc41.so", "usr/lib/systemd/systemd"}, 256},
		{[]string{"lib/systemd/libsystemd-shared-252.so", "usr/lib/systemd/libsystemd-shared-252.so"}, 252},
		{[]string{"lib/systemd/libsystemd-shared-252.so", "lib/systemd/libsystemd-shared-254.so"}, 0},
		{[]string{"usr/lib/systemd/libsystemd-shared-x.so"}, 0},
		{nil, 0},
	} {
		root := t.TempDir()
		for _, name := range test.files {
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, ok := libraryVersion(root); got != test.want || ok != (test.want != 0) {
			t.Errorf("%q: %d, %v; want %d", test.files, got, ok, test.want)
		}
	}
}
