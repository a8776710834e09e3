//go:build !linux

package listener_test

func helpers() map[string]helper { return nil }
