package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

// configure reads the configuration and uses it, or leaves all as it is. It is
// one line, "greeting = WORDS".
func (s *service) configure(file string) error {
	greeting := "hello"
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		key, value, ok := strings.Cut(strings.TrimSpace(string(text)), " = ")
		if !ok || key != "greeting" {
			return fmt.Errorf("%s:1: %q is not a greeting: write \"greeting = WORDS\"", file, key)
		}
		greeting = value
	}
	s.greeting.Store(&greeting)
	return nil
}

// waitFor waits until a file exists.
func waitFor(ctx context.Context, file string) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
