package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/gracerun/grace/test/bench/experiment"
	"github.com/gracerun/grace/test/bench/peer"
	"github.com/gracerun/grace/test/bench/report"
)

// measure runs the experiments, and prints what each has found as soon as it
// ends. The report is what was found in any case; the error says what is missing.
func (b *bench) measure(ctx context.Context, o *options) (r *report.Report, err error) {
	p := newProgress(b.stderr, b.terminal)
	defer p.clear()
	var builder peer.Builder
	defer func() { err = errors.Join(err, builder.Close()) }()
	r = &report.Report{Machine: report.ThisMachine(), Started: time.Now(), Command: o.command}
	defer func() { r.Took = time.Since(r.Started) }()
	env := &experiment.Env{Builder: &builder, Quick: o.quick, Upgrades: o.upgrades, Progress: p.printf}
	if err := prepare(r, o, env, p); err != nil {
		return r, err
	}
	for _, e := range o.experiments {
		started := time.Now()
		section, failed := run(ctx, e, env)
		err = errors.Join(err, failed)
		if section != nil {
			r.Sections = append(r.Sections, section)
			p.keep("%s took %v", e.Name, time.Since(started).Round(100*time.Millisecond))
			err = errors.Join(err, section.WriteText(b.stdout))
		}
	}
	if o.out != "" {
		err = errors.Join(err, versions(r, env))
	}
	return r, err
}

// prepare finds out who takes part. Without gracerun nobody does.
func prepare(r *report.Report, o *options, env *experiment.Env, p *progress) error {
	for _, k := range o.kinds {
		described := report.Peer{Name: k.Name, How: k.How}
		if err := k.Missing(); err != nil {
			described.Missing = err.Error()
			p.keep("%s will not run: %v", k.Name, err)
		} else {
			env.Kinds = append(env.Kinds, k)
		}
		r.Peers = append(r.Peers, described)
		if k.Name != report.Ours {
			continue
		}
		env.Progress("building %s", k.Name)
		if _, err := k.Version(env.Builder); err != nil { // it must be built for that
			return fmt.Errorf("%s: %w", k.Name, err)
		}
	}
	return nil
}

// run runs an experiment. One that had not the time for all of its work has
// failed, too, but may have found something.
func run(ctx context.Context, e experiment.Experiment, env *experiment.Env) (*report.Section, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%s: did not begin: %w", e.Name, context.Cause(ctx))
	}
	env.Progress("%s", e.Name)
	section, err := e.Run(ctx, env)
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("%s: did not end: %w", e.Name, context.Cause(ctx))
	case err != nil:
		err = fmt.Errorf("%s: %w", e.Name, err)
	}
	return section, err
}

// versions completes the report's peers.
func versions(r *report.Report, env *experiment.Env) (err error) {
	all := map[string]string{}
	for _, k := range env.Kinds {
		version, failed := k.Version(env.Builder)
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("version of %s: %w", k.Name, failed))
		}
		all[k.Name] = version
	}
	for i := range r.Peers {
		r.Peers[i].Version = all[r.Peers[i].Name]
	}
	return err
}

// write writes the report's files. One that lacks something does not replace a
// former one in the repository, but is not lost either.
func (b *bench) write(o *options, r *report.Report, complete bool) error {
	if o.out == "" || len(r.Sections) == 0 {
		return nil
	}
	var err error
	if complete || o.readme == "" {
		if err = r.WriteFiles(o.out); err == nil {
			fmt.Fprintf(b.stdout, "\nwritten to %s\n", o.out)
			if o.readme != "" {
				err = r.UpdateREADME(o.readme, o.out)
			}
			return err
		}
	}
	dir, failed := os.MkdirTemp("", "gracerun-compare-")
	if failed != nil {
		return errors.Join(err, failed)
	}
	fmt.Fprintf(b.stdout, "\nincomplete: written to %s, not to %s\n", dir, o.out)
	return errors.Join(err, r.WriteFiles(dir))
}
