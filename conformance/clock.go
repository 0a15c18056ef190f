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

// newClock returns a clock within a second of the real time, because services
// delete expired entries by their own clocks. Its milliseconds are constant, so
// that no TTL of the cases ends at a full second. At a full second no case would
// notice a driver that keeps only seconds.
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
