package main

import (
	"errors"
	"net"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gracerun/grace/gracerun"
)

// These functions say whether a value is right, and what it is then.

func is[T any](v any) (T, bool) {
	value, ok := v.(T)
	return value, ok
}

func text(v any) (string, bool) {
	if n, ok := v.(int64); ok {
		return strconv.FormatInt(n, 10), true
	}
	s, ok := v.(string)
	return s, ok && !strings.ContainsRune(s, 0)
}

func programName(v any) (string, bool) {
	s, ok := v.(string)
	return s, ok && len(s) <= 64 && regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`).MatchString(s)
}

func absolute(v any) (string, bool) {
	s, ok := v.(string)
	return s, ok && filepath.IsAbs(s) && !strings.ContainsRune(s, 0)
}

func logName(v any) (string, bool) {
	if v == "journal" || v == "syslog" {
		return v.(string), true
	}
	return absolute(v)
}

func program(v any) (args []string, ok bool) {
	list, ok := v.([]any)
	for _, v := range list {
		s, isText := text(v)
		ok = ok && isText
		args = append(args, s)
	}
	return args, ok && len(args) > 0 && filepath.IsAbs(args[0])
}

// Whether there is such a user is all that matters here: a system that cannot
// tell (its directory service does not answer) is not the fault of the file.

func userName(v any) (string, bool) {
	s, ok := text(v)
	_, err := user.Lookup(s)
	return s, ok && s != "" && (isNumber(s) || !errors.Is(err, user.UnknownUserError(s)))
}

func groupName(v any) (string, bool) {
	s, ok := text(v)
	_, err := user.LookupGroup(s)
	return s, ok && s != "" && (isNumber(s) || !errors.Is(err, user.UnknownGroupError(s)))
}

func isNumber(s string) bool {
	n, err := strconv.ParseUint(s, 10, 32)
	return err == nil && uint32(n) != ^uint32(0) // which is none (setuid(2))
}

func policy(v any) (p gracerun.RestartPolicy, ok bool) {
	switch v {
	case "always":
		return gracerun.RestartAlways, true
	case "on-failure":
		return gracerun.RestartOnFailure, true
	case "never":
		return gracerun.RestartNever, true
	}
	return p, false
}

func exitCodes(v any) (codes []int, ok bool) {
	list, ok := v.([]any)
	for _, v := range list {
		n, isInt := v.(int64)
		ok = ok && isInt && 0 <= n && n <= 255
		codes = append(codes, int(n))
	}
	return codes, ok
}

func failures(v any) (int, bool) {
	n, ok := v.(int64)
	return int(n), ok && (n == -1 || 0 < n && n <= 1000)
}

func positive(v any) (time.Duration, bool) {
	s, _ := v.(string)
	d, err := time.ParseDuration(s)
	return d, err == nil && d > 0
}

func timeOrNone(v any) (time.Duration, bool) {
	if v == "none" {
		return -1, true
	}
	return positive(v)
}

func signal(v any) (syscall.Signal, bool) {
	s, _ := v.(string)
	sig := signalNumber("SIG" + strings.TrimPrefix(s, "SIG"))
	return sig, sig != 0
}

func address(v any) (string, bool) {
	s, _ := v.(string)
	_, port, err := net.SplitHostPort(s)
	n, perr := strconv.ParseUint(port, 10, 16)
	return s, err == nil && perr == nil && n > 0
}

func expression(v any) (string, bool) {
	s, ok := v.(string)
	_, err := regexp.Compile(s)
	return s, ok && s != "" && err == nil
}
