package lease

import (
	"context"
	"iter"
	"slices"
)

// Leader is the holder of a lease, if there is one.
type Leader struct {
	// Exists is false if the lease was never acquired, was released, or was not renewed for
	// its TTL.
	Exists bool

	Token int64  // the last holder's token; 0 when there was none
	Value []byte // the value that the leader passed to Campaign
}

// Campaign acquires the lease of that name, in the same way as [Leases.Acquire]. The holder is
// the leader until the lease ends, and resigns with [Lease.Release]. Other programs get the
// leader's value, such as its address, from [Leases.Observe]. If value has more than
// [MaxValueLen] bytes, the error matches [kv.ErrValueTooLarge].
func (s *Leases) Campaign(ctx context.Context, name string, value []byte) (*Lease, error) {
	return s.acquire(ctx, acquisition{op: "campaign", name: name, patience: untilAcquired, value: slices.Clone(value)})
}

// Observe yields the present leader under name. After that it yields each new leader. When
// there is no leader, it yields a Leader with Exists false. It goes on until ctx ends, and its
// last error is the error of ctx. Observe reads the record about once per Poll, so
// it may miss a leader that was replaced within a Poll. If the leader is dead when Observe
// begins, Observe first yields it as the leader, and notices its death a TTL later.
//
// If the store is unavailable or throttled, Observe yields the error, and the loop may go
// on. Observe ends after any other error.
func (s *Leases) Observe(ctx context.Context, name string) iter.Seq2[Leader, error] {
	const op = "observe"
	return func(yield func(Leader, error) bool) {
		last := Leader{Token: -1}
		var seen sighting
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
				if found.Holder != "" && s.see(name, version, &seen) < found.ttl() {
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
