//go:build !linux

package lease

import "time"

// throughSuspension reads a clock that also counts the time while the machine is
// suspended. Somebody may set that clock, but the standard library has no better one here.
func throughSuspension() time.Duration { return wallClock() }
