package control

import "time"

func (e *exposition) tasks(tasks []Task, now time.Time) {
	of := func(value func(Task) (v float64, known bool)) []sample {
		return samples(tasks, "task", func(t Task) string { return t.Name }, value)
	}
	var runs []sample
	for _, t := range tasks {
		runs = append(runs,
			value(float64(max(0, t.Runs-t.Failed-t.Requeued)), "task", t.Name, "result", "ok"),
			value(float64(t.Failed), "task", t.Name, "result", "failed"),
			value(float64(t.Requeued), "task", t.Name, "result", "requeued"))
	}
	e.family("task_runs_total", "counter", "Runs of a task that ended in the process that answers, by result; requeued: handed back.", runs...)
	e.gauge("task_running", "Runs of a task that are going on.", of(func(t Task) (float64, bool) { return float64(t.Running), true })...)
	e.gauge("task_oldest_run_seconds", "For how long the oldest run of a task has been going on.", of(func(t Task) (float64, bool) {
		return max(0, now.Sub(t.Since).Seconds()), t.Running > 0 && !t.Since.IsZero()
	})...)
	e.gauge("task_paused", "1 if a task is paused, 0 if it is not.", of(func(t Task) (float64, bool) { return truth(t.Paused), true })...)
	e.gauge("task_last_run_timestamp_seconds", "When the last run of a task ended, in unix time.", of(func(t Task) (float64, bool) { return unixSeconds(t.LastRun), !t.LastRun.IsZero() })...)
	e.gauge("task_last_run_duration_seconds", "How long the last run of a task took.", of(func(t Task) (float64, bool) { return t.LastTook, !t.LastRun.IsZero() })...)
	e.gauge("task_next_run_timestamp_seconds", "When the next run of a task is due, in unix time.", of(func(t Task) (float64, bool) { return unixSeconds(t.Due), !t.Due.IsZero() })...)
}

// commands leaves out those that an older generation still has: what is known of
// them here is not how they are.
func (e *exposition) commands(commands []Command) {
	of := func(value func(Command) float64) []sample {
		return samples(commands, "command", func(c Command) string { return c.Name }, func(c Command) (float64, bool) { return value(c), c.State != "older" })
	}
	e.gauge("command_up", "1 if a command runs and is ready, 0 if not.", of(func(c Command) float64 { return truth(c.State == "running") })...)
	e.gauge("command_paused", "1 if a command is paused, 0 if it is not.", of(func(c Command) float64 { return truth(c.State == "paused") })...)
	e.gauge("command_given_up", "1 if a command has failed too often and is not started again, 0 if not.", of(func(c Command) float64 { return truth(c.State == "failed") })...)
	e.family("command_restarts_total", "counter", "How often a command was started again after it had ended by itself, or had failed.", of(func(c Command) float64 { return float64(c.Restarts) })...)
	e.family("command_cpu_seconds_total", "counter", "Processor time of a command and of its group, since it was started.", of(func(c Command) float64 { return c.CPU })...)
	e.gauge("command_resident_memory_bytes", "Resident memory of a command and of its group.", of(func(c Command) float64 { return float64(c.Memory) })...)
}

// samples has one for each of the list whose value is known.
func samples[T any](list []T, label string, name func(T) string, of func(T) (v float64, known bool)) []sample {
	var to []sample
	for _, one := range list {
		if v, known := of(one); known {
			to = append(to, value(v, label, name(one)))
		}
	}
	return to
}
