package lease

import "time"

// reading is the reading of this machine's clocks at one moment.
type reading struct {
	ran time.Time     // its monotonic part stops while the machine is suspended
	all time.Duration // see throughSuspension
}

func readClocks() reading { return reading{time.Now(), throughSuspension()} }

func wallClock() time.Duration { return time.Duration(time.Now().UnixNano()) }

// atLeast returns a lower bound of the time between two readings.
func atLeast(from, to reading) time.Duration { return to.ran.Sub(from.ran) }

// atMost returns an upper bound of the time between two readings.
func atMost(from, to reading) time.Duration { return max(to.ran.Sub(from.ran), to.all-from.all) }
