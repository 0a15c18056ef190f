package conformance

import (
	"sync"
	"time"
)

// clock is the clock of a trial's stores. It moves only when the trial moves it.
type clock struct {
	mu sync.Mutex
	at time.Time
}

// newClock returns a clock that starts within a second of the real time, because services
// delete expired entries by their own clocks. It starts at a fixed fraction of a second,
// so that no TTL of the cases ends at a full second. If one did, its case would not
// notice a driver that stores only whole seconds.
func newClock() *clock {
	return &clock{at: time.Now().Truncate(time.Second).Add(123 * time.Millisecond)}
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) set(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = at
}

func (c *clock) advance(d time.Duration) { c.set(c.now().Add(d)) }
