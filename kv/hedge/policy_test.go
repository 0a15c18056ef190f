package hedge

import (
	"testing"
	"time"
)

func TestClassesAreFine(t *testing.T) {
	t.Parallel()
	last := -1
	for n := time.Duration(1); n > 0 && n < 1<<62; n += n/100 + 1 {
		c := class(n)
		if c < last || c > last+1 && n > 100 {
			t.Fatalf("rule: classes follow one another; %d is in %d after %d", n, c, last)
		}
		last = c
		if most := longest(c); most < n || float64(most) > 1.032*float64(n)+1 {
			t.Errorf("rule: the longest time of a class is at most 3 percent above any of it; %d has %d", n, most)
		}
	}
	if c, size := class(1<<63-1), len(histogram{}.counts); c != size-1 {
		t.Errorf("rule: the longest time there is has the last class; it is %d of %d", c, size)
	}
}

// The function record makes the policy p count a number of calls. The function took returns
// the duration of call i.
func record(p *policy, calls int, took func(i int) time.Duration) {
	for i := range calls {
		p.begin()
		p.end(false, took(i))
	}
}

func TestThreshold(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		calls int
		took  func(i int) time.Duration
		want  time.Duration
	}{
		"fewer than 100":   {99, func(int) time.Duration { return ms }, 0},
		"100":              {100, func(int) time.Duration { return ms }, 2 * ms},
		"twice the median": {1000, func(i int) time.Duration { return time.Duration(100+i%10) * ms / 100 }, 210 * ms / 100},
		"the 95th of 100":  {1000, func(i int) time.Duration { return time.Duration(1+i%100) * ms }, 96 * 5 * ms / 4},
		"one in 100 is slow": {1000, func(i int) time.Duration {
			if i%100 == 0 {
				return 100 * ms
			}
			return 2 * ms
		}, 4 * ms},
		"what is long ago does not count": {3000, func(i int) time.Duration {
			if i < 1000 {
				return time.Second
			}
			return ms
		}, 2 * ms},
		"1,000 to 2,000 times count": {1500, func(i int) time.Duration {
			if i < 1000 {
				return 3 * ms
			}
			return ms
		}, 6 * ms},
		"failures say nothing": {1000, func(i int) time.Duration { return time.Duration(i%3/2) * ms }, 2 * ms},
	} {
		p := newPolicy()
		record(p, c.calls, c.took)
		if got := p.begin(); got < c.want || float64(got) > 1.032*float64(c.want)+2 {
			t.Errorf("rule: a read is late after 2 times the median and 1.25 times the 95th percentile; %s: after %s, want %s", name, got, c.want)
		}
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	p := newPolicy()
	second := 0
	call := func() {
		p.begin()
		if p.claim() {
			second++
		}
		p.end(true, time.Millisecond)
	}
	for i := range 5000 {
		call()
		if most := (i + 1) / 50; second > most {
			t.Fatalf("rule: at most one read in 50 gets a second request; %d of %d did", second, i+1)
		}
	}
	if second < 98 {
		t.Errorf("rule: one late read in 50 gets a second request; %d of 5000 did", second)
	}
	record(p, 10_000, func(int) time.Duration { return time.Millisecond })
	second = 0
	for range 20 {
		call()
	}
	if second != 10 {
		t.Errorf("rule: after a quiet time ten late reads in a row get a second request; %d did", second)
	}
}

func TestCrowd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		underWay, late int // including the call that calls claim
		want           bool
	}{{1, 1, true}, {3, 3, true}, {4, 2, true}, {4, 3, false}, {5, 2, true}, {5, 3, false}, {100, 50, true}, {100, 51, false}} {
		p := newPolicy()
		record(p, 1000, func(int) time.Duration { return time.Millisecond })
		for range c.underWay {
			p.begin()
		}
		p.late = c.late - 1
		if got := p.claim(); got != c.want {
			t.Errorf("rule: no second request while 4 or more are under way and more than half of them late; %d of %d: %v", c.late, c.underWay, got)
		}
		p.end(true, 0)
		if p.late != c.late-1 || p.underWay != c.underWay-1 {
			t.Errorf("rule: a call that ended is neither late nor under way; %d, %d", p.late, p.underWay)
		}
	}
}
