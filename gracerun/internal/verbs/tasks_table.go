package verbs

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gracerun/grace/gracerun/internal/control"
)

// tally is one line: "3 tasks, 1 paused; 2 commands, 1 running".
func tally(st control.Status) string {
	paused, up := 0, 0
	for _, t := range st.Tasks {
		if t.Paused {
			paused++
		}
	}
	for _, c := range st.Commands {
		if c.State == "running" {
			up++
		}
	}
	var list []string
	if n := len(st.Tasks); n > 0 {
		list = append(list, withSome(count(n, "task"), paused, "paused"))
	}
	if n := len(st.Commands); n > 0 {
		list = append(list, withSome(count(n, "command"), up, "running"))
	}
	if len(list) == 0 {
		return "no tasks and no commands"
	}
	return strings.Join(list, "; ")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// withSome says of how many of them more is to be said, if of any.
func withSome(text string, n int, are string) string {
	if n == 0 {
		return text
	}
	return fmt.Sprintf("%s, %d %s", text, n, are)
}

// tables are the tasks and the commands.
func tables(st control.Status, now time.Time) string {
	var list []string
	if len(st.Tasks) > 0 {
		rows := [][]string{{"TASK", "KIND", "STATE", "IN HAND", "NEXT", "RUNS", "FAILED", "HANDED BACK", "TIMEOUT", "LAST RUN", "LAST ERROR"}}
		for _, t := range st.Tasks {
			rows = append(rows, taskRow(t, now))
		}
		list = append(list, align(rows))
	}
	if len(st.Commands) > 0 {
		rows := [][]string{{"COMMAND", "STATE", "FOR", "NEXT START", "PID", "RESTARTS", "CPU", "MEMORY", "LAST EXIT", "ERROR"}}
		for _, c := range st.Commands {
			rows = append(rows, commandRow(c, now))
		}
		list = append(list, align(rows))
	}
	return strings.Join(list, "\n")
}

func taskRow(t control.Task, now time.Time) []string {
	state, inHand, next, limit, last := t.State, "", "", "", ""
	if t.Paused && state != "paused" {
		state += ", then paused"
	}
	if t.Running > 0 {
		inHand = strconv.Itoa(t.Running)
		if !t.Since.IsZero() {
			inHand += ", oldest " + short(max(0, now.Sub(t.Since)))
		}
	}
	if !t.Due.IsZero() {
		next = due(t.Due, now)
	}
	if t.Timeout > 0 {
		limit = seconds(t.Timeout)
	}
	if !t.LastRun.IsZero() {
		last = fmt.Sprintf("%s ago, took %s", short(max(0, now.Sub(t.LastRun))), seconds(t.LastTook))
	}
	return []string{
		t.Name, strings.TrimSpace(t.Kind + " " + t.Schedule), state, inHand, next,
		strconv.Itoa(t.Runs), some(t.Failed), some(t.Requeued), limit, last, firstLine(t.LastError),
	}
}

func commandRow(c control.Command, now time.Time) []string {
	since, next, pid, cpu, memory := "", "", "", "", ""
	if !c.Since.IsZero() {
		since = short(max(0, now.Sub(c.Since)))
	}
	if !c.Due.IsZero() {
		next = due(c.Due, now)
	}
	if c.PID != 0 {
		pid, cpu = strconv.Itoa(c.PID), seconds(c.CPU)
	}
	if c.Memory > 0 { // it may not be known yet
		memory = size(c.Memory)
	}
	return []string{c.Name, c.State, since, next, pid, some(c.Restarts), cpu, memory, c.LastExit, firstLine(c.Error)}
}

// some is a number that is worth a word.
func some(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// size is a number of bytes for people.
func size(n int64) string {
	v, unit := float64(n)/(1<<10), "KiB"
	for _, next := range []string{"MiB", "GiB", "TiB"} {
		if v < 1<<10 {
			break
		}
		v, unit = v/(1<<10), next
	}
	if v < 10 && unit != "KiB" {
		return fmt.Sprintf("%.1f %s", v, unit)
	}
	return fmt.Sprintf("%.0f %s", v, unit)
}

// align has a column as wide as the widest of its cells, and leaves out those that have
// nothing but a title.
func align(rows [][]string) string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows[1:] {
		for i := range row {
			row[i] = inLine(row[i])
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		var cells []string
		for i, cell := range row {
			if widths[i] > 0 {
				cells = append(cells, fmt.Sprintf("%-*s", max(widths[i], len(rows[0][i])), cell))
			}
		}
		b.WriteString("  " + strings.TrimRight(strings.Join(cells, "  "), " ") + "\n")
	}
	return b.String()
}
