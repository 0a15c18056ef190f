package torture

import (
	"context"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skykv/skykv/conformance"
	"github.com/skykv/skykv/internal/testing/faults"
	"github.com/skykv/skykv/kv"
)

// waysOfLosing a request or a response are all ways but a broken connection, which the
// providers use when they run the conformance suite. The suite says what a call may report
// and what may be stored.
var waysOfLosing = []faults.Kind{faults.Truncate, faults.Late, faults.Fail, faults.Garbage, faults.Refuse}

// playing makes the suite's Config for the cases that lose a request or response, in the
// way that kind says. The worlds end with t.
func playing(t testing.TB, newWorld func(testing.TB) *world, kind faults.Kind) conformance.Config {
	plays, concerns := conformance.Lose, []string{"response-lost", "-retry"}
	if !kind.Forwarded() {
		plays, concerns = conformance.Drop, []string{"request-lost"}
	}
	return conformance.Config{
		CaseTimeout: 2 * time.Minute, // on a very busy machine
		Faulty: func(_ context.Context, decide func(bool) conformance.Fault) (*kv.Store, error) {
			w, landing := newWorld(t), new(sync.RWMutex)
			w.Use(func(r faults.Request) faults.Kind {
				fault := decide(r.Write)
				if fault != plays {
					return faults.Kind(fault)
				}
				if kind == faults.Late && r.Write {
					landing.RLock()
				}
				return kind
			})
			w.Between(func(a faults.Attempt) {
				if a.Kind == faults.Late && a.Write {
					landing.RUnlock()
				}
			})
			return w.stores[0].With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return settled{d, landing} })), nil
		},
		Only: func(c conformance.Case) bool {
			switch c.Name {
			case "faults/put/response-lost", "faults/put-many/response-lost", "faults/touch/response-lost":
				if kind == faults.Late {
					return false // the version is that of whichever request comes last
				}
			}
			for _, suffix := range concerns {
				if strings.HasPrefix(c.Name, "faults/") && strings.HasSuffix(c.Name, suffix) {
					return true
				}
			}
			return false
		},
	}
}

// settled is a driver whose reads wait until the late writes have been carried out. Each of
// those holds landing for reading until then.
type settled struct {
	kv.Driver
	landing *sync.RWMutex
}

func (d settled) wait() {
	d.landing.Lock()
	defer d.landing.Unlock()
}

func (d settled) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	d.wait()
	return d.Driver.Get(ctx, req)
}

func (d settled) GetMany(ctx context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	d.wait()
	return d.Driver.GetMany(ctx, req)
}

func (d settled) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	d.wait()
	return d.Driver.Scan(ctx, req)
}

// TestLostResponses: in whatever way a request or its response is lost, what the call
// reports is true, and exact where it can be known.
func TestLostResponses(t *testing.T) {
	t.Parallel()
	for _, each := range worlds {
		t.Run(each.name, func(t *testing.T) {
			t.Parallel()
			each.make(t) // or skip, with the reason
			for _, kind := range some(waysOfLosing, 3) {
				t.Run(string(kind), func(t *testing.T) { conformance.Run(t, playing(t, each.make, kind)) })
			}
		})
	}
}
