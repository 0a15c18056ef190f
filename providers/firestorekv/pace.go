package firestorekv

import (
	"math"
	"sync"
	"time"
)

// Firestore serves about 500 writes a second to a range of documents that is new, and
// half as many again every five minutes
// (https://cloud.google.com/firestore/native/docs/best-practices#ramping_up_traffic). A
// store cannot know how far its collection has got. So batches are sent at full speed
// until the service refuses writes for their rate, then at half the rate that it
// refused, which grows by a tenth every second.
const (
	slowestPace = 25  // writes a second
	fastestPace = 1e6 // beyond which nothing waits any more
	paceGrowth  = 1.1 // times a second
)

// pace spreads the writes of all batches of a store over time. The zero pace lets all
// through.
type pace struct {
	mu   sync.Mutex
	rate float64   // writes a second; 0: the service has refused none
	set  time.Time // when the rate was last lowered
	at   time.Time // rate is the rate of this time; it grows
	next time.Time // when the next write may be sent

	// The writes sent in the second that began at second, and in the one before.
	second       time.Time
	sent, before int
}

// turn returns how long to wait before some writes are sent. They come after those of
// earlier calls.
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

// cost returns how long the writes keep others from being sent.
func (p *pace) cost(writes int) time.Duration {
	return time.Duration(float64(writes) / p.rate * float64(time.Second))
}

// unused gives back the turn of writes that are not sent after all.
func (p *pace) unused(writes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rate > 0 {
		p.next = p.next.Add(-p.cost(writes))
	}
}

// count notes how many writes were sent lately.
func (p *pace) count(writes int, now time.Time) {
	if since := now.Sub(p.second); since >= time.Second {
		if p.before = p.sent; since >= 2*time.Second {
			p.before = 0
		}
		p.second, p.sent = now, 0
	}
	p.sent += writes
}

// grow raises the rate by what has passed since it was set.
func (p *pace) grow(now time.Time) {
	if p.rate == 0 {
		return
	}
	p.rate *= math.Pow(paceGrowth, max(now.Sub(p.at).Seconds(), 0))
	if p.at = now; p.rate > fastestPace {
		p.rate = 0
	}
}

// refused halves the rate after a request that the service refused, in part at least. A
// request that asked for its turn before the rate was last lowered says nothing of it.
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
