//go:build !linux

package lease

import "time"

// throughSuspension reads a clock that counts the time in which the machine is suspended.
// It can be set: the standard library has no other one here.
func throughSuspension() time.Duration { return wallClock() }
