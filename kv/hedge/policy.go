package hedge

import (
	"math/bits"
	"sync"
	"time"
)

// policy decides which calls get a second request. It reads no clock.
type policy struct {
	least      int     // so many times must be known
	generation int     // how many times a histogram has before the next one begins
	perCall    float64 // what each call adds to the tokens; a second request takes 1
	burst      float64 // the most tokens
	crowd      int     // from so many calls under way on, most of them must be in time

	mu        sync.Mutex
	threshold time.Duration // 0: not enough times are known
	tokens    float64
	underWay  int // calls
	late      int // of them, past their threshold

	current, previous histogram // times of first requests
}

func newPolicy() *policy {
	return &policy{least: 100, generation: 1000, perCall: 0.02, burst: 10, crowd: 4}
}

// begin begins a call, and returns how long its first request may take before it is late,
// or 0 while that is not known.
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

// end ends a call, whose first request took so long, or longer when it is not over. A time
// of 0 says nothing: the request failed.
func (p *policy) end(late bool, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.underWay--
	if late {
		p.late--
	}
	if took <= 0 {
		return
	}
	if p.current.total == p.generation {
		p.previous, p.current = p.current, histogram{}
	}
	p.current.add(took)
	if known := p.current.total + p.previous.total; known >= p.least && known%review == 0 {
		p.threshold = max(2*p.quantile(known, 0.5), p.quantile(known, 0.95)*5/4)
	}
}

// review is after how many times the threshold is determined anew.
const review = 50

// quantile returns the time that a share of the known times does not exceed.
func (p *policy) quantile(known int, share float64) time.Duration {
	rank, seen := int(share*float64(known)), 0
	for i := range p.current.counts {
		if seen += int(p.current.counts[i]) + int(p.previous.counts[i]); seen > rank {
			return longest(i)
		}
	}
	return 0 // not reached: rank is below the number of known times
}

// histogram counts times in classes whose bounds differ by 3 percent or less.
type histogram struct {
	counts [(64 - fineBits) << fineBits]uint16
	total  int
}

// fineBits is how many bits of a time, after its first one, tell the classes apart.
const fineBits = 5

func (h *histogram) add(took time.Duration) {
	h.counts[class(took)]++
	h.total++
}

// class returns the index of the class of a time.
func class(took time.Duration) int {
	n := uint64(took)
	shift := max(bits.Len64(n)-fineBits-1, 0)
	return shift<<fineBits + int(n>>shift)
}

// longest returns the longest time of a class.
func longest(class int) time.Duration {
	shift := max(class>>fineBits-1, 0)
	return time.Duration(uint64(class-shift<<fineBits+1)<<shift - 1)
}
