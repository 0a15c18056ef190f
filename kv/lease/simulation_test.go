package lease

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skykv/skykv/internal/testing/faults"
	"github.com/skykv/skykv/internal/testing/torture"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// machine contends for a lease. It has its own clocks and its own connection to the store.
type machine struct {
	mu        sync.Mutex
	begun     time.Time
	speed     float64       // speed of its clocks
	stopped   time.Time     // when it was suspended; zero if it is running
	suspended time.Duration // total time of suspensions, which the monotonic clock does not count
	blind     bool          // simulates a bug: no clock counts suspensions

	cut atomic.Bool // the machine is disconnected from the store
}

func (m *machine) clock() reading {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if !m.stopped.IsZero() {
		now = m.stopped // no program on a suspended machine sees its clocks move
	}
	passed := now.Sub(m.begun)
	run := func(d time.Duration) time.Duration { return time.Duration(float64(d) * m.speed) }
	r := reading{m.begun.Add(run(passed - m.suspended)), run(passed)}
	if m.blind {
		r.all = run(passed - m.suspended)
	}
	return r
}

// suspend suspends the machine for a time. Its requests do not arrive, and its monotonic clock
// stops.
func (m *machine) suspend(d time.Duration) {
	m.cut.Store(true)
	m.mu.Lock()
	m.stopped = time.Now()
	m.mu.Unlock()
	time.Sleep(d)
	m.mu.Lock()
	m.stopped = time.Time{}
	m.suspended += d
	m.mu.Unlock()
	m.cut.Store(false)
}

// simulation describes a run in which several machines contend for one lease for 20 minutes of
// fake time.
type simulation struct {
	seed   uint64
	speeds []float64
	blind  bool
	broken func(kv.Driver) kv.Driver // faulty middleware for the shared data; may be nil
}

// counted has the numbers of events in a simulation.
type counted struct{ releases, losses, suspensions, cuts, faults int64 }

// run runs the simulation. It returns the violations of the rules, the number of acquisitions,
// and the numbers of events.
func (sim simulation) run(t *testing.T) (violations []string, acquired int, happened counted) {
	synctest.Test(t, func(t *testing.T) {
		const lasts = 20 * time.Minute
		options := Options{TTL: 4 * time.Second}
		data := memkv.New()
		if sim.broken != nil {
			data = data.With(kv.Wrap(kv.Level1, sim.broken))
		}
		begun := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), lasts)
		defer cancel()
		var holders torture.Holders
		var contending sync.WaitGroup
		for i, speed := range sim.speeds {
			m := &machine{begun: begun, speed: speed, blind: sim.blind}
			network := new(faults.Injector)
			random := rand.New(rand.NewPCG(sim.seed, uint64(i)))
			var dice sync.Mutex // requests come from several goroutines
			network.Use(func(r faults.Request) faults.Kind {
				dice.Lock()
				defer dice.Unlock()
				kinds := []faults.Kind{faults.Drop, faults.Lose, faults.Late, faults.Fail, faults.Throttle, faults.Delay, faults.Delay}
				switch n := random.IntN(40); {
				case m.cut.Load():
					return faults.Drop
				case n < len(kinds):
					return kinds[n]
				}
				return faults.Pass
			})
			// The store's clock may be hours fast or slow. Leases do not use it.
			ahead := time.Duration(i-2) * time.Hour
			store := data.With(kv.Wrap(kv.Level1, faults.Driver(network, 1+i%2)), kv.Clock(func() time.Time { return time.Now().Add(ahead) }))
			leases, err := New(store, &options)
			if err != nil {
				t.Fatal(err)
			}
			leases.clock = m.clock
			contending.Go(func() {
				defer func() { atomic.AddInt64(&happened.faults, int64(network.Faults())) }()
				ours := rand.New(rand.NewPCG(sim.seed, uint64(1000+i)))
				for n := 0; ctx.Err() == nil; n++ {
					l, err := leases.Acquire(ctx, "one")
					if err != nil {
						if !errors.Is(err, context.DeadlineExceeded) {
							t.Errorf("Acquire ends with %v; want it to go on until its context ends", err)
						}
						return
					}
					// work calls Held now and then, and claims to be the holder each time that Held returns true.
					work := func(lasts time.Duration) {
						for end := time.Now().Add(lasts); time.Now().Before(end); time.Sleep(time.Duration(1+ours.IntN(50)) * time.Millisecond) {
							at := time.Since(begun).Nanoseconds()
							if l.Held() {
								holders.Claim(torture.Claim{Holder: fmt.Sprintf("machine %d for the %d. time", i, n), Token: l.Token(), Begin: at, End: at})
							}
						}
					}
					work(time.Duration(ours.IntN(6000)) * time.Millisecond)
					switch ours.IntN(4) {
					case 0:
						m.suspend(time.Duration(ours.IntN(9000)) * time.Millisecond)
						atomic.AddInt64(&happened.suspensions, 1)
						work(time.Second)
					case 1: // the machine is cut off, as if it was killed, but calls Held
						m.cut.Store(true)
						work(5 * time.Second)
						if l.Held() {
							t.Error("rule: a lease that cannot be renewed is not held after its TTL")
						}
						m.cut.Store(false)
						atomic.AddInt64(&happened.cuts, 1)
					}
					err = l.Release(context.WithoutCancel(ctx))
					if l.Held() {
						t.Error("rule: a lease is not held after Release")
					}
					if errors.Is(err, ErrLost) {
						atomic.AddInt64(&happened.losses, 1)
					} else if err == nil {
						atomic.AddInt64(&happened.releases, 1)
					}
				}
			})
		}
		contending.Wait()
		time.Sleep(time.Minute) // until delayed requests have arrived
		violations, acquired = holders.Violations(), holders.Tokens()
	})
	return violations, acquired, happened
}

// evenSpeeds are speeds of clocks that differ by up to 6 percent or so, which package lease allows.
var evenSpeeds = []float64{0.97, 1, 1.03, 1, 0.97}

func TestOneHolder(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		violations, acquired, happened := simulation{seed: seed, speeds: evenSpeeds}.run(t)
		if len(violations) > 0 {
			t.Errorf("seed %d: %s", seed, strings.Join(violations, "\n"))
		}
		if acquired < 100 || happened.releases < 30 || happened.losses < 30 || happened.suspensions < 30 || happened.cuts < 30 || happened.faults < 300 {
			t.Errorf("too little happened to prove anything: %d acquisitions, %+v", acquired, happened)
		}
	}
}

// replacing is middleware that changes writes, or their results.
type replacing struct {
	kv.Driver
	write func(d kv.Driver, ctx context.Context, req kv.WriteRequest) (kv.Outcome, error)
}

func (r replacing) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	return r.write(r.Driver, ctx, req)
}

func replaceWrite(write func(kv.Driver, context.Context, kv.WriteRequest) (kv.Outcome, error)) func(kv.Driver) kv.Driver {
	return func(d kv.Driver) kv.Driver { return replacing{d, write} }
}

// The simulation finds two holders if there is a bug.
func TestOneHolderFindsBugs(t *testing.T) {
	t.Parallel()
	for name, sim := range map[string]simulation{
		"clocks that do not count suspension": {speeds: evenSpeeds, blind: true},
		"slow clocks":                         {speeds: []float64{0.75, 1, 0.75, 1}},
		"fast clocks":                         {speeds: []float64{1, 1.25, 1, 1.25}},
		"a store without conditions": {speeds: evenSpeeds, broken: replaceWrite(func(d kv.Driver, ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
			req.Condition = kv.Condition{}
			return d.Write(ctx, req)
		})},
		"records with a TTL": {speeds: evenSpeeds, broken: replaceWrite(func(d kv.Driver, ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
			req.Expires = req.Now + 4000
			return d.Write(ctx, req)
		})},
		"renewals that are not stored": {speeds: evenSpeeds, broken: replaceWrite(func(d kv.Driver, ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
			found, err := d.Get(ctx, kv.GetRequest{Key: req.Key, WithValue: true})
			if err == nil && found.Exists && req.Condition.Version == found.Version && string(found.Value) == string(req.Value) {
				return kv.Outcome{Done: true, Version: found.Version}, nil
			}
			return d.Write(ctx, req)
		})},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			violations, acquired, _ := sim.run(t)
			if len(violations) == 0 {
				t.Errorf("rule: %s cause two holders of one lease or two equal tokens, and the check finds them; it found nothing in %d acquisitions", name, acquired)
			} else {
				t.Log(violations[0])
			}
		})
	}
}
