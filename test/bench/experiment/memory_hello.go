package experiment

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/bench/report"
	"github.com/gracerun/grace/test/harness"
)

// A program is one of those that a README shows.
type program struct {
	name        string
	size, strip int64 // bytes; built with -ldflags="-s -w"
	pss, rss    []float64
}

// hello compares the services of two READMEs: the size of the programs, and
// their memory at rest.
func hello(ctx context.Context, env *Env, sec *report.Section, rounds int) error {
	var full harness.Builder
	stripped := harness.Builder{Flags: []string{"-ldflags=-s -w"}}
	defer full.Close()
	defer stripped.Close()
	programs := []*program{{name: ours}, {name: tableflip}}
	for _, p := range programs {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var err error
		env.Progress("memory: builds the program of %s's README", p.name)
		if p.size, err = p.build(&full); err != nil {
			return err
		}
		if p.strip, err = p.build(&stripped); err != nil {
			return err
		}
	}
	for range rounds {
		for _, p := range programs {
			binary, err := full.Build(p.pkg())
			if err == nil {
				err = p.rest(ctx, binary)
			}
			if err != nil {
				return fmt.Errorf("the program of %s's README: %w", p.name, err)
			}
		}
	}
	helloTable(sec, programs[0], programs[1])
	return nil
}

func (p *program) pkg() string {
	return "github.com/gracerun/grace/test/bench/server/hello/" + p.name
}

func (p *program) build(b *harness.Builder) (size int64, err error) {
	path, err := b.Build(p.pkg())
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// rest runs the program for 1,000 requests and adds what it takes then.
func (p *program) rest(ctx context.Context, binary string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := ln.Addr().String()
	ln.Close()
	s, err := harness.Start(harness.Config{
		Binary: binary, Address: address,
		Env: []string{"ADDRESS=" + address, "RUNTIME_DIRECTORY=" + harness.RunDir},
	})
	if err != nil {
		return err
	}
	defer s.Close()
	for {
		if _, err = peer.Ask(ctx, address); err == nil {
			break
		}
		if ctx.Err() != nil {
			return errors.Join(err, errors.New(s.Log()))
		}
	}
	if err := calls(address, 1000); err != nil {
		return err
	}
	pss, rss, err := memoryOf(s.First)
	p.pss, p.rss = append(p.pss, float64(pss)), append(p.rss, float64(rss))
	return err
}

func helloTable(sec *report.Section, g, t *program) {
	size, memory := float64(g.size-t.size), median(g.pss)-median(t.pss)
	row := func(what string, g, t float64) []string {
		return []string{what, megabytes(g), megabytes(t), fmt.Sprintf("%+.2f", (g-t)/(1<<20))}
	}
	sec.Tables = append(sec.Tables, report.Table{
		Title:   "The program of a README, with net/http and one handler (MB)",
		Columns: []string{"", g.name, t.name, "difference"},
		Rows: [][]string{
			row("size of the binary", float64(g.size), float64(t.size)),
			row("size, -ldflags=\"-s -w\"", float64(g.strip), float64(t.strip)),
			row("memory at rest, PSS", median(g.pss), median(t.pss)),
			row("memory at rest, RSS", median(g.rss), median(t.rss)),
		},
	})
	sec.Goals = append(sec.Goals,
		report.Goal{
			What: "size of a hello-world program over tableflip's", Want: "at most 2 MB more",
			Got: fmt.Sprintf("%+.2f MB", size/(1<<20)), Met: size <= 2<<20,
		},
		report.Goal{
			What: "memory of a hello-world program over tableflip's", Want: "at most 1 MB more",
			Got: fmt.Sprintf("%+.2f MB (PSS)", memory/(1<<20)), Met: memory <= 1<<20,
		})
}
