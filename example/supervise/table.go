package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// A table is one of a TOML document, and is read key by key. Faults are
// collected; a key that nobody asked for is one.
type table struct {
	*document
	path   string // of the table, with a slash at its end
	prefix string // of its keys, for people
	values map[string]any
	known  []string // the keys that were asked for
}

// newTable returns the table that a whole document is. An error means that the
// text is no TOML.
func newTable(name string, text []byte) (*table, error) {
	values := map[string]any{}
	if err := toml.Unmarshal(text, &values); err != nil {
		if wrong := new(toml.DecodeError); errors.As(err, &wrong) {
			line, column := wrong.Position()
			name = fmt.Sprintf("%s:%d:%d", name, line, column)
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &table{document: newDocument(name, text), values: values}, nil
}

// get reads a value, which parse says is right or not; what says what would be.
// Where there is no value it is zero.
func get[T any](t *table, key, what string, parse func(any) (T, bool)) (value T) {
	t.known = append(t.known, key)
	v, ok := t.values[key]
	if !ok {
		return value
	}
	if value, ok = parse(v); !ok {
		t.fault(key, "%s is not %s", show(v), what)
	}
	return value
}

// must is get for a value that has to be there.
func must[T any](t *table, key, what string, parse func(any) (T, bool)) T {
	if !t.has(key) {
		t.fault(key, "it is missing: write %s", what)
	}
	return get(t, key, what, parse)
}

func (t *table) has(keys ...string) bool {
	return slices.ContainsFunc(keys, func(key string) bool { return t.values[key] != nil })
}

// table returns the table that a value is; without values, if there is none.
func (t *table) table(key, what string) *table {
	values := get(t, key, what, is[map[string]any])
	return &table{document: t.document, path: t.path + key + "/", prefix: t.prefix + key + ".", values: values}
}

// tables returns the tables in a list.
func (t *table) tables(key, what string) (list []*table) {
	for i, v := range get(t, key, what, is[[]any]) {
		values, ok := v.(map[string]any)
		if !ok {
			t.fault(key, "%s is not %s", show(t.values[key]), what)
			return nil
		}
		list = append(list, &table{document: t.document, path: t.path + key + "/" + strconv.Itoa(i) + "/", values: values})
	}
	return list
}

func (t *table) keys() []string { return slices.Sorted(maps.Keys(t.values)) }

// rest finds fault with the keys that were not asked for.
func (t *table) rest() {
	for _, key := range t.keys() {
		if slices.Contains(t.known, key) {
			continue
		}
		if near := nearest(key, t.known); near != "" {
			t.fault(key, "there is no such key (did you mean %s?)", near)
		} else {
			t.fault(key, "there is no such key: use %s", strings.Join(t.known, ", "))
		}
	}
}

// fault notes what is wrong with a key; with "" it is the table.
func (t *table) fault(key, format string, args ...any) {
	name := key
	if quoted := strconv.Quote(key); quoted != `"`+key+`"` {
		name = quoted // it is no word
	}
	name = strings.TrimSuffix(t.prefix+name, ".")
	t.add(t.path+key, name+": "+fmt.Sprintf(format, args...))
}

// line is that of a key.
func (t *table) line(key string) int {
	line, _ := t.position(t.offset(t.path + key))
	return line
}

// show is a value as it could be in the file, or the beginning of it.
func show(v any) string {
	text := fmt.Sprint(v)
	switch v := v.(type) {
	case string:
		text = strconv.Quote(v)
	case []any:
		var list []string
		for _, v := range v {
			list = append(list, show(v))
		}
		text = "[" + strings.Join(list, ", ") + "]"
	case map[string]any:
		return "a table"
	}
	if len(text) > 80 {
		text = strings.ToValidUTF8(text[:80], "") + " ..."
	}
	return text
}

// nearest returns the word that differs from this one by two letters at most, or
// "".
func nearest(word string, words []string) (best string) {
	least := 3
	for _, w := range words {
		if d := distance(word, w); d < least && d < len(w) {
			best, least = w, d
		}
	}
	return best
}

// distance counts the letters to insert, delete and replace to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
