package firestorekv

import (
	"math"
	"sync"
	"time"
)

// Firestore accepts about 500 writes a second to a new range of documents, and 50% more every
// five minutes
// (https://cloud.google.com/firestore/native/docs/best-practices#ramping_up_traffic). A store
// cannot know the current limit. So it sends batches at full speed until the service refuses
// writes because of their rate, and then at half the refused rate. This rate grows by 10%
// every second.
const (
	slowestPace = 25  // writes a second
	fastestPace = 1e6 // above it, nothing waits
	paceGrowth  = 1.1 // the factor by which the pace grows in each second
)

// pace spreads the writes of all batches of a store over time. With the zero pace, no write
// waits.
type pace struct {
	mu   sync.Mutex
	rate float64   // writes a second; 0 if the service has refused none
	set  time.Time // when the rate was last lowered
	at   time.Time // the time for which rate was computed; the rate has grown since then
	next time.Time // when the next write may be sent

	// The field second is when the current second of the counts began. The field sent counts
	// the writes in that second, and the field before counts those in the previous second.
	second       time.Time
	sent, before int
}

// The method turn reserves the next turn for a number of writes. It returns how long the writes
// must wait for it, and by how much it delays the next turn. Turns are in the order in which this
// method is called.
func (p *pace) turn(writes int, now time.Time) (wait, cost time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count(writes, now)
	p.grow(now)
	if p.rate == 0 {
		return 0, 0
	}
	if p.next.Before(now) {
		p.next = now
	}
	wait, cost = p.next.Sub(now), time.Duration(float64(writes)/p.rate*float64(time.Second))
	p.next = p.next.Add(cost)
	return wait, cost
}

// The method unused cancels a turn of this cost whose writes were not sent.
func (p *pace) unused(cost time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = p.next.Add(-cost)
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

// grow raises the rate according to the time since the last computation.
func (p *pace) grow(now time.Time) {
	if p.rate == 0 {
		return
	}
	p.rate *= math.Pow(paceGrowth, max(now.Sub(p.at).Seconds(), 0))
	if p.at = now; p.rate > fastestPace {
		p.rate = 0
	}
}

// The method refused halves the rate because the service refused a request completely or in
// part. The request asked for its turn at the time asked. If the rate was lowered after that
// time, the method does nothing, because the lower rate did not yet apply to the request.
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
