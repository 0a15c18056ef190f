package cache

import "time"

// instant is the time on both clocks of this machine at one moment. On Linux, the monotonic
// clock stops while the machine is suspended.
type instant struct{ monotonic, wall time.Duration }

var started = time.Now()

func now() instant {
	t := time.Now()
	return instant{t.Sub(started), time.Duration(t.UnixNano())}
}

// The method until returns the time between two instants, by the clock that measured more.
func (i instant) until(later instant) time.Duration {
	return max(later.monotonic-i.monotonic, later.wall-i.wall)
}
