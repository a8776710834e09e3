// Package peer runs one HTTP service in all the ways in which it can be replaced:
// each way is a [Kind], and [Builder.Start] returns a running [Server] of it that
// can be upgraded, broken and mended.
package peer

import (
	"debug/buildinfo"
	"fmt"
	"runtime/debug"
	"slices"
)

// A Kind is one way to serve and to be replaced.
type Kind struct {
	Name string // as the report has it
	How  string // what an upgrade does, in a sentence
	Has  Set    // what it serves and does

	program   string // of its package below server; "" = it is a proxy
	module    string // whose version counts; "" = the standard library's
	proxy     *proxy
	trigger   func(*Server) error
	underInit bool // the first process is no part of it, see server.UnderInit
}

// Set says what a kind can.
type Set uint

// What kinds can. All serve HTTP/1.1 on any number of addresses.
const (
	Upgrade  Set = 1 << iota // be replaced
	TLS                      // HTTPS, with HTTP/2
	Raw                      // lines over TCP
	Binary                   // an upgrade starts the installed program, so that it can be broken
	MemStats                 // GET /memstats
)

// Can reports whether the kind has all of what.
func (k *Kind) Can(what Set) bool { return k.Has&what == what }

// Kinds returns all, in the order of the report.
func Kinds() []*Kind { return kinds() }

// Find returns the kind of that name; nil = none.
func Find(name string) *Kind {
	all := Kinds()
	if i := slices.IndexFunc(all, func(k *Kind) bool { return k.Name == name }); i >= 0 {
		return all[i]
	}
	return nil
}

// Missing returns why the kind cannot run on this machine; nil = it can.
func (k *Kind) Missing() error {
	if k.proxy == nil {
		return nil
	}
	_, err := k.proxy.path()
	return err
}

// Version returns what is compared: "github.com/cloudflare/tableflip v1.2.3",
// "nginx 1.22.1", "net/http of go1.26.0".
func (k *Kind) Version(b *Builder) (string, error) {
	if k.proxy != nil {
		return k.proxy.version()
	}
	binary, err := b.build(k)
	if err != nil {
		return "", err
	}
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return "", err
	}
	if k.module == "" {
		return "net/http of " + info.GoVersion, nil
	}
	return moduleVersion(info, k.module)
}

func moduleVersion(info *debug.BuildInfo, path string) (string, error) {
	for _, m := range info.Deps {
		if m.Path != path {
			continue
		}
		if m.Version == "(devel)" {
			return path + " (this working tree)", nil
		}
		return path + " " + m.Version, nil
	}
	return "", fmt.Errorf("%s is not in the program", path)
}
