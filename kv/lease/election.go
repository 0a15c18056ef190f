package lease

import (
	"context"
	"iter"
	"slices"
)

// Leader is the holder of a lease.
type Leader struct {
	// Exists is false when the lease was never acquired, or released, or not renewed for
	// its TTL.
	Exists bool

	Token int64  // the last holder's token; 0 when there was none
	Value []byte // the value that the leader passed to Campaign
}

// Campaign waits until it leads, as [Leases.Acquire] does. [Leases.Observe] yields value,
// such as an address, to others. It has at most [MaxValueLen] bytes, or the error matches
// kv.ErrValueTooLarge. The leader leads while it holds the lease, and resigns by
// [Lease.Release].
func (s *Leases) Campaign(ctx context.Context, name string, value []byte) (*Lease, error) {
	return s.acquire(ctx, acquisition{op: "campaign", name: name, patience: untilAcquired, value: slices.Clone(value)})
}

// Observe yields the present leader of that name, and each change of it, until ctx ends.
// The last error is the error of ctx. Observe reads the record once per Poll. It may miss
// a leader that was replaced within a Poll. If a leader is dead when Observe begins,
// Observe yields it, and notices after a TTL that it is dead.
//
// After an error of a store that is unavailable or throttled, the loop may go on. Any
// other error is the last.
func (s *Leases) Observe(ctx context.Context, name string) iter.Seq2[Leader, error] {
	const op = "observe"
	return func(yield func(Leader, error) bool) {
		last := Leader{Token: -1}
		for {
			found, version, err := s.read(ctx, op, name)
			switch {
			case ctx.Err() != nil:
			case err != nil:
				if !yield(Leader{}, err) || !passing(err) {
					return
				}
			default:
				now := Leader{Token: found.Token}
				if found.Holder != "" && s.see(name, version) < found.ttl() {
					now.Exists, now.Value = true, found.Value
				}
				if now.Exists != last.Exists || now.Token != last.Token {
					last = now
					if !yield(now, nil) {
						return
					}
				}
			}
			if err := sleep(ctx, s.pause()); err != nil {
				yield(Leader{}, s.fail(op, name, nil, err))
				return
			}
		}
	}
}
