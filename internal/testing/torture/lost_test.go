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

// waysOfLosing are faults that lose a request or a response, and that the conformance suite does
// not have. The suite has Drop and Lose, and the providers' own runs of it use these two. The
// cases of the suite say what a call may report after such a loss, and what may be stored.
var waysOfLosing = []faults.Kind{faults.Truncate, faults.Late, faults.Fail, faults.Garbage, faults.Refuse}

// playing returns a Config for those cases of the suite that lose a request or a response. kind
// is how the request or response is lost. The worlds last until t ends.
func playing(t testing.TB, newWorld func(testing.TB) *world, kind faults.Kind) conformance.Config {
	plays, concerns := conformance.Lose, []string{"response-lost", "-retry"}
	if !kind.Forwarded() {
		plays, concerns = conformance.Drop, []string{"request-lost"}
	}
	return conformance.Config{
		CaseTimeout: 2 * time.Minute, // a very busy machine takes long
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
			case "faults/increment/read-before-retry":
				if kind == faults.Garbage {
					return false // the Azure SDK reads only the status of this response, so it does not notice the fault
				}
			case "faults/put/response-lost", "faults/put-many/response-lost", "faults/touch/response-lost":
				if kind == faults.Late {
					return false // the late request comes last, so the entry does not have the version that the call returned
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

// settled is a driver whose reads wait until all late writes have been carried out. Until
// a late write is carried out, it holds a read lock of landing.
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

// TestLostResponses checks that a call reports the truth, however a request or a response
// is lost. If the result can be known, the call must report it.
func TestLostResponses(t *testing.T) {
	t.Parallel()
	for _, each := range worlds {
		t.Run(each.name, func(t *testing.T) {
			t.Parallel()
			each.make(t) // if the emulator cannot run, this skips the test, with the reason
			for _, kind := range some(waysOfLosing, 3) {
				t.Run(string(kind), func(t *testing.T) { conformance.Run(t, playing(t, each.make, kind)) })
			}
		})
	}
}
