package main

import (
	"fmt"
	"time"

	"github.com/gracerun/grace/test/load"
)

// report tells what happened and returns how many requests were lost.
func report(t *terminal, s *story) int {
	lost, crashed := sort(s.result.Failures, s.tries)
	verdict(t, s, len(lost))
	requests(t, s, lost)
	upgrades(t, s)
	refusals(t, s, len(crashed))
	latencies(t, s)
	newPicture(s, lost, t.width()-margin-1).draw(t)
	fmt.Fprintf(t.out, "\nNo process and no file is left. All of it took %s.\n", brief(time.Since(s.began)))
	return len(lost)
}

func verdict(t *terminal, s *story, lost int) {
	done, _ := divide(s.tries)
	clients := 0
	for _, g := range s.clients {
		clients += g.N
	}
	color, what := green, "nothing was lost"
	if lost > 0 {
		color, what = red, fmt.Sprintf("%s requests were LOST", comma(lost))
	}
	text := fmt.Sprintf("%d clients kept a service busy while it was replaced %d times: %s.", clients, len(done), what)
	fmt.Fprintln(t.out)
	for _, line := range wrap(text, t.width()) {
		fmt.Fprintln(t.out, t.paint(color, line))
	}
	fmt.Fprintln(t.out)
}

func requests(t *terminal, s *story, lost []load.Failure) {
	about := map[string]string{
		"keep-alive": "POST and GET, over one connection each",
		"fresh POST": "a new connection for each",
		"fresh GET":  "a new connection for each",
		"slow":       brief(sleep) + " each, longer than an upgrade",
		"stream":     "a line every 100 ms, ended politely",
	}
	total := s.result.Total()
	t.row(bold, "requests", "%s answered, %d failed", comma(total.OK), len(lost))
	for i, k := range s.result.Kinds {
		t.row(plain, "", "%9s  %-10s x %-2d  %s", comma(k.OK), k.Kind, s.clients[i].N, about[k.Kind])
	}
	for _, f := range lost[:min(len(lost), 5)] {
		t.row(red, "  failed", "at %s: %v", brief(f.When.Sub(s.result.Start)), &f)
	}
}

func upgrades(t *terminal, s *story) {
	done, _ := divide(s.tries)
	var took load.Histogram
	for _, d := range done {
		took.Add(d.took)
	}
	first := firstAnswers(s.result, s.tries)
	t.row(bold, "upgrades", "%d done by kill -HUP: pid %d has become pid %d", len(done), s.first, done[len(done)-1].pid)
	t.row(plain, "", "%9s  until the new process answered (at most %s)", brief(first.Quantile(0.5)), brief(first.Max()))
	t.row(plain, "", "%9s  until the old one let go (at most %s)", brief(took.Quantile(0.5)), brief(took.Max()))
	t.row(plain, "", "%9s  of which both served, in case the new one crashes", brief(probation))
}

func refusals(t *terminal, s *story, crashed int) {
	_, refused := divide(s.tries)
	t.row(bold, "refused", "%d new programs that were broken; the old process served on", len(refused))
	for _, r := range refused {
		t.row(yellow, "  "+r.program, "at %s, after %s: %s", r.stage, brief(r.took), r.reason)
		if r.program == "crashes" {
			t.row(plain, "", "(%d requests in its hands ended with it: not counted above)", crashed)
		}
	}
}

func latencies(t *terminal, s *story) {
	q := load.Result{Kinds: quick(s.result)}
	all := q.Total()
	t.row(bold, "latency", "%9s%10s%10s%10s", "p50", "p99", "max", "requests")
	line := func(label string, h *load.Histogram) {
		t.row(plain, label, "%9s%10s%10s%10s", brief(h.Quantile(0.5)), brief(h.Quantile(0.99)), brief(h.Max()), comma(h.Count()))
	}
	line("  steady", &all.Steady)
	line("  upgrading", &all.InWindow)
	t.row(plain, "", "(slow requests and streams take as long as they are told to)")
	fmt.Fprintln(t.out)
}

// divide returns the upgrades that were done and those that were refused.
func divide(tries []try) (done, refused []try) {
	for _, t := range tries {
		if t.stage == "" {
			done = append(done, t)
		} else {
			refused = append(refused, t)
		}
	}
	return done, refused
}

// brief returns d in two or three digits: 0.12 ms, 15 ms, 1.2 s.
func brief(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	switch {
	case ms < 0.995:
		return fmt.Sprintf("%.2f ms", ms)
	case ms < 9.95:
		return fmt.Sprintf("%.1f ms", ms)
	case ms < 999.5:
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.1f s", ms/1000)
}

// comma returns n with a comma before every three digits.
func comma(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
