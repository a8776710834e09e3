package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// A document is the text of a TOML file, and what is wrong with it.
type document struct {
	name   string
	text   []byte
	at     map[string]int // the offset of each key: of the third [[program]], "program/2/name"
	tables map[string]int // how many there are of each [[ ]]
	faults []fault
}

type fault struct {
	offset int
	text   string
}

// newDocument finds the keys in a text that is right: the values do not say where
// they were.
func newDocument(name string, text []byte) *document {
	d := &document{name: name, text: text, at: map[string]int{}, tables: map[string]int{}}
	var p unstable.Parser
	p.Reset(text)
	table := ""
	for p.NextExpression() {
		if e := p.Expression(); e.Kind == unstable.KeyValue {
			d.keyValue(table, e)
		} else {
			table = d.key("", e)
		}
	}
	return d
}

// key notes the key of n, below path, with its dots, and returns its path.
func (d *document) key(path string, n *unstable.Node) string {
	for k := n.Key(); k.Next(); {
		offset := int(k.Node().Raw.Offset)
		path += string(k.Node().Data)
		d.note(path, offset)
		if n.Kind == unstable.ArrayTable && k.IsLast() {
			d.tables[path]++
		}
		if i := d.tables[path]; i > 0 {
			path += "/" + strconv.Itoa(i-1)
			d.note(path, offset)
		}
		path += "/"
	}
	return path
}

func (d *document) keyValue(path string, n *unstable.Node) {
	d.value(d.key(path, n), n.Value())
}

// value notes the keys in a value.
func (d *document) value(path string, n *unstable.Node) {
	i := 0
	for c := n.Children(); c.Next(); i++ {
		switch n.Kind {
		case unstable.InlineTable:
			d.keyValue(path, c.Node())
		case unstable.Array:
			d.value(path+strconv.Itoa(i)+"/", c.Node())
		}
	}
}

// note keeps the first place.
func (d *document) note(path string, offset int) {
	if _, ok := d.at[path]; !ok {
		d.at[path] = offset
	}
}

// offset is where a key is, or else the nearest table around it.
func (d *document) offset(path string) int {
	for path != "" {
		if offset, ok := d.at[path]; ok {
			return offset
		}
		path = path[:max(0, strings.LastIndexByte(path, '/'))]
	}
	return 0
}

// position counts lines and columns from 1 on.
func (d *document) position(offset int) (line, column int) {
	before := d.text[:offset]
	return 1 + bytes.Count(before, []byte("\n")), offset - bytes.LastIndexByte(before, '\n')
}

func (d *document) add(path, text string) {
	d.faults = append(d.faults, fault{d.offset(path), text})
}

// err returns all faults, in the order of the text.
func (d *document) err() error {
	slices.SortStableFunc(d.faults, func(a, b fault) int { return cmp.Compare(a.offset, b.offset) })
	var list []error
	for _, f := range d.faults {
		line, column := d.position(f.offset)
		list = append(list, fmt.Errorf("%s:%d:%d: %s", d.name, line, column, f.text))
	}
	return errors.Join(list...)
}
