package lease

import (
	"context"
	"iter"
	"slices"
)

// Leader is who holds a lease.
type Leader struct {
	// Exists is false when the lease was never acquired, or released, or not renewed for
	// its TTL.
	Exists bool

	Token int64  // of the last holder; 0 when there was none
	Value []byte // what the leader said of itself in Campaign
}

// Campaign waits until it leads, as [Leases.Acquire] does. Others learn value, such as an
// address, by [Leases.Observe]: at most [MaxValueLen] bytes, or the error matches
// kv.ErrValueTooLarge. The leader leads while the lease is held, and resigns by
// [Lease.Release].
func (s *Leases) Campaign(ctx context.Context, name string, value []byte) (*Lease, error) {
	return s.acquire(ctx, acquisition{op: "campaign", name: name, patience: untilAcquired, value: slices.Clone(value)})
}

// Observe yields the leader of that name now, and again whenever there is another one or
// none, until ctx ends, whose error is the last. It reads the record once per Poll. A
// leader that was replaced within a Poll may not be seen. A leader that is dead when
// Observe begins is yielded, and found to be dead after a TTL.
//
// An error of a store that is unavailable or throttled is yielded, and the loop may go on. Any
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
