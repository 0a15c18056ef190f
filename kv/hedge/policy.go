package hedge

import (
	"math/bits"
	"sync"
	"time"
)

// policy decides which calls get a second request. It reads no clock.
type policy struct {
	least      int     // number of calls that must be measured before there is a threshold
	generation int     // number of durations in a histogram when the next histogram begins
	perCall    float64 // tokens that each call adds; a second request takes 1
	burst      float64 // greatest number of tokens
	crowd      int     // with at least this many calls under way, no second request if more than half are late

	mu        sync.Mutex
	threshold time.Duration // a call is late after this time; 0: not enough calls were measured
	tokens    float64
	underWay  int // number of calls under way
	late      int // number of calls under way that are past their threshold

	current, previous histogram // durations of successful calls
}

func newPolicy() *policy {
	return &policy{least: 100, generation: 1000, perCall: 0.02, burst: 10, crowd: 4}
}

// begin begins a call, and returns how long its first request may take before the call is
// late, or 0 while there is no threshold.
func (p *policy) begin() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.underWay++
	p.tokens = min(p.tokens+p.perCall, p.burst)
	return p.threshold
}

// claim counts a call as late, and reports whether it gets a second request.
func (p *policy) claim() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.late++
	if p.tokens < 1 || p.underWay >= p.crowd && 2*p.late > p.underWay {
		return false
	}
	p.tokens--
	return true
}

// end notes that a call has ended. duration runs from the start of the call's first request to
// the answer that the call returns. If the call failed, duration is 0, and end does not add it to
// the histogram. late says whether claim was called for this call.
func (p *policy) end(late bool, duration time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.underWay--
	if late {
		p.late--
	}
	if duration <= 0 {
		return
	}
	if p.current.total == p.generation {
		p.previous, p.current = p.current, histogram{}
	}
	p.current.add(duration)
	if known := p.current.total + p.previous.total; known >= p.least && known%review == 0 {
		p.threshold = max(2*p.quantile(known, 0.5), p.quantile(known, 0.95)*5/4)
	}
}

// The threshold is computed again whenever the number of durations in both histograms is a
// multiple of review.
const review = 50

// quantile returns a duration d. At least the given share of the durations in both histograms are
// not longer than d. known is the number of durations in both histograms.
func (p *policy) quantile(known int, share float64) time.Duration {
	rank, seen := int(share*float64(known)), 0
	for i := range p.current.counts {
		if seen += int(p.current.counts[i]) + int(p.previous.counts[i]); seen > rank {
			return longest(i)
		}
	}
	return 0 // not reached: rank is less than known
}

// histogram counts durations in classes. The bounds of a class differ by about 3 percent or less.
type histogram struct {
	counts [(64 - fineBits) << fineBits]uint16
	total  int
}

// fineBits is the number of bits after the leading bit of a duration that decide its class.
const fineBits = 5

func (h *histogram) add(duration time.Duration) {
	h.counts[class(duration)]++
	h.total++
}

// class returns the index of the class of a duration.
func class(duration time.Duration) int {
	n := uint64(duration)
	shift := max(bits.Len64(n)-fineBits-1, 0)
	return shift<<fineBits + int(n>>shift)
}

// longest returns the longest duration in a class.
func longest(class int) time.Duration {
	shift := max(class>>fineBits-1, 0)
	return time.Duration(uint64(class-shift<<fineBits+1)<<shift - 1)
}
