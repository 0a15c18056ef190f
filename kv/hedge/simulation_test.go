package hedge

import (
	"context"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skykv/skykv/kv"
)

// The simulations in this file run in the fake time of synctest. Calls form an open loop: each
// begins at its time, whether or not earlier calls have ended. The time that a request takes
// depends only on its key and on whether it is the second request, so runs are reproducible.

const (
	calls = 10_000
	gap   = 2 * time.Millisecond // mean time between two calls
)

// service is a driver with a simulated time for each request.
type service struct {
	kv.Driver
	takes    func(key string, second bool) time.Duration
	slots    chan struct{}        // limits the requests that are served at once; nil for no limit
	stalls   func() time.Duration // returns how long the service stalls from now on
	requests atomic.Int64

	mu   sync.Mutex
	seen map[string]bool
}

func (s *service) Info() kv.Info { return kv.Info{Name: "simulated", Shards: 1} }
func (s *service) Close() error  { return nil }

func (s *service) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	s.requests.Add(1)
	s.mu.Lock()
	second := s.seen[req.Key]
	s.seen[req.Key] = true
	s.mu.Unlock()
	if s.slots != nil {
		s.slots <- struct{}{}
		defer func() { <-s.slots }()
	}
	if s.stalls != nil {
		time.Sleep(s.stalls())
	}
	time.Sleep(s.takes(req.Key, second))
	return kv.Found{Record: kv.Record{Key: req.Key, Value: []byte{}, Version: "1"}, Exists: true}, nil
}

// drawn returns the random source for the time of a request.
func drawn(key string, second bool) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprint(h, key, second)
	return rand.New(rand.NewPCG(h.Sum64(), 1))
}

// outcome is the result of a simulation.
type outcome struct {
	p50, p99, p999 time.Duration
	requests       float64 // mean number of requests of a call
}

func (o outcome) String() string {
	return fmt.Sprintf("p50 %s, p99 %s, p99.9 %s, %.4f requests", o.p50, o.p99, o.p999, o.requests)
}

// simulate sends calls to the service that begin returns, in fake time of its own.
func simulate(t *testing.T, begin func() *service, opts ...kv.StoreOption) (o outcome) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := begin()
		s.seen = make(map[string]bool)
		store := kv.New(s).With(opts...)
		arrivals := rand.New(rand.NewPCG(1, 2))
		times := make([]time.Duration, calls)
		var running sync.WaitGroup
		for i := range times {
			time.Sleep(time.Duration(arrivals.ExpFloat64() * float64(gap)))
			running.Go(func() {
				begun := time.Now()
				if _, err := store.Get(context.Background(), fmt.Sprint(i)); err != nil {
					t.Error(err)
				}
				times[i] = time.Since(begun)
			})
		}
		running.Wait()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
		slices.Sort(times)
		at := func(share float64) time.Duration { return times[int(share*calls)] }
		o = outcome{at(0.5), at(0.99), at(0.999), float64(s.requests.Load()) / calls}
	})
	return o
}

// uneven returns a service that takes 100 ms for about one request in a hundred, and 2 ms for
// all others.
func uneven() *service {
	return &service{takes: func(key string, second bool) time.Duration {
		if drawn(key, second).IntN(100) == 0 {
			return 100 * time.Millisecond
		}
		return 2 * time.Millisecond
	}}
}

// lognormal returns a service whose times have a median of 2 ms and a 99th percentile of 10 ms.
func lognormal() *service {
	return &service{takes: func(key string, second bool) time.Duration {
		return time.Duration(float64(2*time.Millisecond) * math.Exp(0.7*drawn(key, second).NormFloat64()))
	}}
}

// stalling returns a service that serves 4 requests at once, but none during 200 ms of every 5 s.
func stalling() *service {
	s := lognormal()
	s.slots = make(chan struct{}, 4)
	var begun time.Time
	var once sync.Once
	s.stalls = func() time.Duration {
		once.Do(func() { begun = time.Now() })
		if at := time.Since(begun) % (5 * time.Second); at > 4800*time.Millisecond {
			return 5*time.Second - at
		}
		return 0
	}
	return s
}

// slowing returns a service that takes longer for each further request.
func slowing() *service {
	s := lognormal()
	takes, n := s.takes, new(atomic.Int64)
	s.takes = func(key string, second bool) time.Duration {
		return takes(key, second) * time.Duration(1000+n.Add(1)) / 1000
	}
	return s
}

// overloaded returns a service that serves one request at a time, and about 4 in the time in
// which 5 arrive.
func overloaded() *service {
	s := lognormal()
	s.slots = make(chan struct{}, 1)
	return s
}

func TestSlowReadsOvertaken(t *testing.T) {
	t.Parallel()
	plain, hedged := simulate(t, uneven), simulate(t, uneven, Reads(nil))
	t.Logf("plain: %s; hedged: %s", plain, hedged)
	if hedged.p999 > plain.p999/8 {
		t.Errorf("rule: the 99.9th percentile is an eighth at most; it is %s, and was %s", hedged.p999, plain.p999)
	}
	if hedged.p50 != plain.p50 {
		t.Errorf("rule: the median does not change; it is %s, and was %s", hedged.p50, plain.p50)
	}
	if hedged.requests > 1.02 || hedged.requests < 1.005 {
		t.Errorf("rule: there are second requests, and at most 2 percent; there are %.4f requests for each call", hedged.requests)
	}
}

func TestNoHarm(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		service  func() *service
		requests bool // limit only the number of requests, not the times
	}{
		"lognormal":         {service: lognormal},
		"slow for all":      {service: stalling},
		"slower and slower": {service: slowing},
		// The queue grows all the time, so every additional request makes later calls slower.
		"overloaded": {overloaded, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plain, hedged := simulate(t, c.service), simulate(t, c.service, Reads(nil))
			t.Logf("plain: %s; hedged: %s", plain, hedged)
			for share, times := range map[string][2]time.Duration{"p50": {plain.p50, hedged.p50}, "p99": {plain.p99, hedged.p99}, "p99.9": {plain.p999, hedged.p999}} {
				if !c.requests && float64(times[1]) > 1.03*float64(times[0]) {
					t.Errorf("rule: no percentile is worse by more than 3 percent; %s is %s, and was %s", share, times[1], times[0])
				}
			}
			if hedged.requests > 1.02 {
				t.Errorf("rule: at most 2 percent more requests; there are %.4f for each call", hedged.requests)
			}
		})
	}
}
