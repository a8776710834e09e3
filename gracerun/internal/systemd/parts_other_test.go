//go:build !linux

package systemd_test

func parts() map[string]func() error { return nil }
