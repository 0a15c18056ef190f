package gocron

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/lease"
)

// ErrNotLeader: another scheduler leads, or none does yet.
var ErrNotLeader = errors.New("this scheduler does not lead")

// Elector is a gocron.Elector. It is safe for concurrent use.
type Elector struct {
	leases *lease.Leases
	name   string
	lead   atomic.Pointer[lease.Lease]
}

// NewElector returns an elector for the schedulers that share a name. It leads only while Run
// runs.
func NewElector(leases *lease.Leases, name string) *Elector {
	return &Elector{leases: leases, name: kv.EscapeKey(name)}
}

// Run campaigns, and again after it lost the lead, until ctx ends. Then it resigns, so that
// another scheduler leads within a Poll, and returns an error that matches that of ctx. While
// the store is unavailable or throttled, Run goes on trying. It returns any other error of the
// store.
func (e *Elector) Run(ctx context.Context) error {
	for {
		lead, err := e.leases.Campaign(ctx, e.name, nil)
		if err != nil {
			return err
		}
		e.lead.Store(lead)
		<-lead.Context(ctx).Done()
		if ctx.Err() != nil {
			_ = release(ctx, lead) // otherwise the lead is free after its TTL
			return ctx.Err()
		}
	}
}

// IsLeader returns nil while this scheduler leads, and ErrNotLeader otherwise. It asks the
// clock, not the store.
func (e *Elector) IsLeader(context.Context) error {
	if lead := e.lead.Load(); lead == nil || !lead.Held() {
		return ErrNotLeader
	}
	return nil
}
