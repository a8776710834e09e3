package gracerun

import "errors"

// reopenAll has all generations open their log files again, as logrotate(8)
// asks for with SIGUSR1: those that drain write to them, too.
func (l *life) reopenAll() error {
	for _, p := range l.self.Older() {
		p.Reopen()
	}
	return l.reopen()
}

// reopenBeside reopens for the loop, which must not wait: a file may be on a server
// that is away. The drain waits, to its deadline.
func (l *life) reopenBeside(reopen func() error) {
	j := l.jobs.begin("reopening the log files", true)
	if j == nil {
		return
	}
	go func() {
		defer l.jobs.end(j)
		reopen() // it has logged its error
	}()
}

// reopen does so in this process. In the foreground it has opened none but those of
// commands.
func (l *life) reopen() error {
	commands := l.supervisor()
	if l.logs == nil && commands == nil {
		l.log.Info("no log files to reopen: they are not this process's own")
		return nil
	}
	var errs []error
	if l.logs != nil {
		errs = append(errs, l.logs.Reopen())
	}
	if commands != nil {
		errs = append(errs, commands.Reopen())
	}
	err := errors.Join(errs...)
	if err != nil {
		l.log.Error("reopening the log files", "error", err)
	} else {
		l.log.Info("log files reopened")
	}
	return err
}
