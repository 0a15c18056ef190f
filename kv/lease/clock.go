package lease

import "time"

// reading is the reading of this machine's clocks at one moment.
type reading struct {
	ran time.Time     // its monotonic part may stop while the machine is suspended
	all time.Duration // the clock of throughSuspension, which includes suspensions
}

func readClocks() reading { return reading{time.Now(), throughSuspension()} }

func wallClock() time.Duration { return time.Duration(time.Now().UnixNano()) }

// atLeast returns a lower bound on the time between two readings: it may leave out suspensions.
func atLeast(from, to reading) time.Duration { return to.ran.Sub(from.ran) }

// atMost returns an upper bound on the time between two readings.
func atMost(from, to reading) time.Duration { return max(to.ran.Sub(from.ran), to.all-from.all) }
