package gracerun

import (
	"context"
	"errors"
	"fmt"

	"github.com/gracerun/grace/gracerun/internal/verbs"
)

// Verb adds a verb to those of Main and Exec: f runs in the process that was
// called with it, which does not serve, and args are what follows the verb. help
// is one line. An error is printed, and the exit status is 1. A name that is
// taken is a fault.
func (a *App) Verb(name, help string, f func(ctx context.Context, args []string) error) {
	a.register(fmt.Sprintf("Verb(%q)", name), func(r *registry) error {
		switch {
		case f == nil:
			return errors.New("the function is nil")
		case verbs.Reserved(name):
			return errors.New("the name is taken: choose another")
		}
		if err := r.take("verb:" + name); err != nil {
			return err
		}
		r.verbs = append(r.verbs, verbs.Verb{Name: name, Help: help, Run: f})
		return nil
	})
}
