package conformance

import (
	"sync"
	"time"
)

// clock is what a trial's stores go by. It moves only when told to.
type clock struct {
	mu sync.Mutex
	at time.Time
}

// newClock starts a clock within a second of the real time: services delete
// expired entries by their own clocks. Its milliseconds are always the same, and
// none from which a TTL of the cases leads to a whole second: at that instant no
// case would notice a driver that keeps whole seconds.
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
