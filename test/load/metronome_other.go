//go:build !linux

package load

import "time"

// metronome does nothing: there is no exact timer.
func metronome(time.Duration) (stop func()) { return func() {} }
