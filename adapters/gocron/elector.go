package gocron

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/lease"
)

// ErrNotLeader says that another scheduler leads, or that none does.
var ErrNotLeader = errors.New("this scheduler does not lead")

// Elector is a gocron.Elector. It is safe for concurrent use.
type Elector struct {
	leases *lease.Leases
	name   string
	lead   atomic.Pointer[lease.Lease]
}

// NewElector returns an elector. At most one of the electors with the same name leads at a time.
// An elector can lead only while its method Run is running.
func NewElector(leases *lease.Leases, name string) *Elector {
	return &Elector{leases: leases, name: kv.EscapeKey(name)}
}

// Run campaigns for the lead until ctx ends. If it loses the lead, it campaigns again. When ctx
// ends, Run resigns and returns an error that matches the error of ctx. Another scheduler leads
// within a Poll after that, or within a TTL and a Poll if Run could not reach the store. While the
// store is unavailable or throttled, or the outcome of a write is unknown, Run goes on trying. Any
// other error of the store ends Run, which returns it.
func (e *Elector) Run(ctx context.Context) error {
	for {
		lead, err := e.leases.Campaign(ctx, e.name, nil)
		if err != nil {
			return err
		}
		e.lead.Store(lead)
		<-lead.Context(ctx).Done()
		if ctx.Err() != nil {
			_ = release(ctx, lead) // if this fails, the lead is free after its TTL
			return ctx.Err()
		}
	}
}

// IsLeader returns nil while this scheduler leads, and ErrNotLeader otherwise. It reads the clock,
// but not the store.
func (e *Elector) IsLeader(context.Context) error {
	if lead := e.lead.Load(); lead == nil || !lead.Held() {
		return ErrNotLeader
	}
	return nil
}
