package main

import (
	"strings"
	"sync"
)

// counterPrefix begins the keys of counters. A service keeps what is written to a counter. It
// always answers requests for other keys in the same way, whatever was written.
const counterPrefix = "counter:"

// counter is the state of one counter. Its value is encoded as in the service's requests.
type counter struct {
	value, token, predecessors string
	writes                     int // how often it was written
}

// counters are the entries that a service keeps. Each exists from the start, with the value
// "0".
type counters struct {
	zero  string // the value "0", encoded as in requests
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

// put replaces the entry if the function holds returns true for the stored one. It returns
// the entry that is then stored, and whether it replaced the entry.
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
