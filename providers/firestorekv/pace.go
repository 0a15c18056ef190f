package firestorekv

import (
	"math"
	"sync"
	"time"
)

// Firestore accepts about 500 writes a second to a new range of documents, and 50% more every
// five minutes
// (https://cloud.google.com/firestore/native/docs/best-practices#ramping_up_traffic). A store
// cannot know the present limit. So it sends batches at full speed until the service refuses
// writes because of their rate, and then at half the refused rate. This rate grows by 10%
// every second.
const (
	slowestPace = 25  // writes a second
	fastestPace = 1e6 // above it, nothing waits
	paceGrowth  = 1.1 // times a second
)

// pace spreads the writes of all batches of a store over time. With the zero pace nothing
// waits.
type pace struct {
	mu   sync.Mutex
	rate float64   // writes a second; 0 if the service has refused none
	set  time.Time // when the rate was last lowered
	at   time.Time // rate is the rate at this time; it grows
	next time.Time // when the next write may be sent

	// The writes sent in the second that began at second, and in the one before.
	second       time.Time
	sent, before int
}

// turn returns how long to wait before some writes are sent. They are sent after the writes
// of earlier calls.
func (p *pace) turn(writes int, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count(writes, now)
	p.grow(now)
	if p.rate == 0 {
		return 0
	}
	if p.next.Before(now) {
		p.next = now
	}
	turn := p.next
	p.next = p.next.Add(p.cost(writes))
	return turn.Sub(now)
}

// cost returns how long other writes must wait for these.
func (p *pace) cost(writes int) time.Duration {
	return time.Duration(float64(writes) / p.rate * float64(time.Second))
}

// unused returns the turn of writes that were not sent.
func (p *pace) unused(writes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rate > 0 {
		p.next = p.next.Add(-p.cost(writes))
	}
}

// count notes how many writes were sent recently.
func (p *pace) count(writes int, now time.Time) {
	if since := now.Sub(p.second); since >= time.Second {
		if p.before = p.sent; since >= 2*time.Second {
			p.before = 0
		}
		p.second, p.sent = now, 0
	}
	p.sent += writes
}

// grow raises the rate for the time since it was set.
func (p *pace) grow(now time.Time) {
	if p.rate == 0 {
		return
	}
	p.rate *= math.Pow(paceGrowth, max(now.Sub(p.at).Seconds(), 0))
	if p.at = now; p.rate > fastestPace {
		p.rate = 0
	}
}

// refused halves the rate after a request that the service refused completely or in part. A
// request whose turn was before the last change of the rate does not count.
func (p *pace) refused(asked, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !asked.After(p.set) {
		return
	}
	p.grow(now)
	if p.rate == 0 {
		p.rate = float64(max(p.sent, p.before))
	}
	p.rate = max(p.rate/2, slowestPace)
	p.set, p.at = now, now
}
