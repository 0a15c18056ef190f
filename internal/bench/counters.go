package main

import (
	"strings"
	"sync"
)

// counterPrefix begins the keys of the entries that a service keeps. For all other keys
// its answers are always the same, whatever was written.
const counterPrefix = "counter:"

// counter is the state of such an entry. Its value is encoded as in the service's
// requests.
type counter struct {
	value, token, predecessors string
	writes                     int // made so far
}

// counters are the entries that a service keeps. Each exists from the start, with the
// number 0 in decimal text.
type counters struct {
	zero  string // that number, as requests have it
	mu    sync.Mutex
	state map[string]counter
}

func newCounters(zero string) *counters {
	return &counters{zero: zero, state: make(map[string]counter)}
}

func (c *counters) get(key string) counter {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.find(key)
}

func (c *counters) find(key string) counter {
	if found, ok := c.state[key]; ok {
		return found
	}
	return counter{value: c.zero, token: anyToken}
}

// put replaces the entry if holds returns true for it, and otherwise returns the stored
// one.
func (c *counters) put(key string, next counter, holds func(counter) bool) (now counter, done bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := c.find(key)
	if !holds(found) {
		return found, false
	}
	next.writes = found.writes + 1
	c.state[strings.Clone(key)] = next
	return next, true
}
