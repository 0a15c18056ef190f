package cache

import "time"

// instant is what both clocks of this machine read at one moment. The monotonic one stands
// still on Linux while the machine is suspended.
type instant struct{ monotonic, wall time.Duration }

var started = time.Now()

func now() instant {
	t := time.Now()
	return instant{t.Sub(started), time.Duration(t.UnixNano())}
}

// until returns how much time has passed between two instants, by the clock that says more.
func (i instant) until(later instant) time.Duration {
	return max(later.monotonic-i.monotonic, later.wall-i.wall)
}
