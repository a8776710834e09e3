//go:build !linux

package control_test

func helper() {}
