package aztableskv

import (
	"context"
	"fmt"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

// DefaultSweepRate is the number of entities that [Sweep] deletes per second
// unless its options say otherwise.
const DefaultSweepRate = 500

// Sweep is [SweepWith] for the table of a URL, with the credentials of [Open]. A table in
// another layout than the URL's is kv.ErrIncompatible, if the URL names one.
func Sweep(ctx context.Context, url string, opts *provider.SweepOptions) (provider.SweepProgress, error) {
	const op = "sweep"
	c, err := Connect(ctx, url)
	if err != nil {
		return provider.SweepProgress{}, err
	}
	defer c.Close()
	d, err := c.driver(op)
	if err != nil {
		return provider.SweepProgress{}, err
	}
	return d.sweep(ctx, op, opts)
}

// SweepWith deletes the entities of table that expired [kv.ExpiryGrace] ago or longer,
// which the service does not do by itself. Stores treat them as absent all the same: a
// table that nobody sweeps costs more, and nothing else. Any number of sweepers,
// and stores, may be at work at once.
//
// Tombstones of atomic writes are deleted when the service's Timestamp says that they were
// written [kv.ExpiryGrace] ago, by the sweeper's clock.
//
// An entity is deleted only in the state in which it was found, by its ETag, so
// that a key that was re-created meanwhile keeps its entry. In a table that the
// reference platform's programs share, Sweep deletes what they stored as well, which
// nothing else does. Entities that are none of the table's layout are left alone. Expired
// ones are deleted in transactions of up to 100, and the
// progress is reported after each of them, each partition and each pass. A Rate of zero
// stands for [DefaultSweepRate].
//
// Without an interval SweepWith returns after one pass, with its error. With one it
// goes on until ctx ends, and returns the context's error: a pass that fails is
// reported to Progress, and the next one tries again. It returns
// [kv.ErrInvalidOption] for options out of range, and before the first pass
// [kv.ErrNotProvisioned] when there is no table and [kv.ErrIncompatible] when no
// store was ever opened on it. The last pass is returned in any case.
func SweepWith(ctx context.Context, client *aztables.ServiceClient, table string, opts *provider.SweepOptions) (provider.SweepProgress, error) {
	const op = "sweep"
	d, err := newDriver(op, client, table, nil)
	if err != nil {
		return provider.SweepProgress{}, err
	}
	return d.sweep(ctx, op, opts)
}

func (d *driver) sweep(ctx context.Context, op string, opts *provider.SweepOptions) (provider.SweepProgress, error) {
	if opts == nil {
		opts = &provider.SweepOptions{}
	}
	s := sweeper{driver: d, op: op, clock: opts.Clock, report: opts.Progress, rate: opts.Rate}
	switch {
	case opts.Rate < 0:
		return s.progress, errInvalid(op, "Rate is %d; it must be positive, or 0 for %d", opts.Rate, DefaultSweepRate)
	case opts.Interval < 0:
		return s.progress, errInvalid(op, "Interval is %s; it must be positive, or 0 for a single pass", opts.Interval)
	case opts.Rate == 0:
		s.rate = DefaultSweepRate
	}
	if s.clock == nil {
		s.clock = time.Now
	}
	if s.report == nil {
		s.report = func(provider.SweepProgress) {}
	}
	found, err := d.readLayout(ctx)
	if err == nil && found == nil {
		err = &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("table %s has no layout record: no store was ever opened on it", d.name)}
	}
	if err != nil {
		return s.progress, opError(op, err)
	}
	if d.claims && found.name != d.layout.name {
		return s.progress, opError(op, d.layout.checkRecord(d.name, found))
	}
	d.setLayout(found)
	if opts.Interval == 0 {
		err := s.pass(ctx)
		return s.progress, err
	}
	ticker := time.NewTicker(opts.Interval)
	defer ticker.Stop()
	for {
		s.pass(ctx) // its error was reported
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return s.progress, opError(op, ctx.Err())
		}
	}
}

type sweeper struct {
	driver   *driver
	op       string
	clock    func() time.Time
	report   func(provider.SweepProgress)
	rate     int
	progress provider.SweepProgress
	next     time.Time // before which nothing is deleted
}

// pass sweeps all shards once.
func (s *sweeper) pass(ctx context.Context) error {
	s.progress = provider.SweepProgress{Pass: s.progress.Pass + 1, Of: s.driver.layout.shards()}
	now := s.clock()
	var err error
	for shard := range s.progress.Of {
		if err = s.shard(ctx, shard, now); err != nil {
			err = opError(s.op, err)
			break
		}
		s.progress.Shards++
		s.report(s.progress)
	}
	s.progress.Done, s.progress.Err = true, err
	s.report(s.progress)
	return err
}

// shard sweeps one shard.
func (s *sweeper) shard(ctx context.Context, shard int, now time.Time) error {
	size := min(maxTransaction, s.rate)
	var expired []kv.Write
	for rec, err := range s.driver.records(ctx, kv.ScanRequest{Shard: shard, Limit: maxPage}, s.driver.layout.sweepFilter(shard, now)) {
		switch {
		case err != nil && rec.Key == "":
			return err
		case err != nil, s.driver.layout.shard(rec.Key) != shard:
			s.progress.Foreign++
			continue
		case !s.driver.layout.unswept(rec, now): // the service does not list it
			s.progress.Kept++
			continue
		}
		expired = append(expired, kv.Write{
			Kind: kv.KindDelete, Record: kv.Record{Key: rec.Key}, Condition: kv.Condition{Kind: kv.CondVersion, Version: rec.Version},
		})
		if len(expired) == size {
			if err := s.delete(ctx, expired); err != nil {
				return err
			}
			expired = nil
		}
	}
	return s.delete(ctx, expired)
}

// delete makes deletions when their turn has come, and returns the first error.
func (s *sweeper) delete(ctx context.Context, expired []kv.Write) error {
	if len(expired) == 0 {
		return nil
	}
	if err := s.pace(ctx, len(expired)); err != nil {
		return err
	}
	var first error
	for _, result := range s.driver.WriteMany(ctx, kv.WriteManyRequest{Writes: expired}) {
		switch {
		case result.Done:
			s.progress.Deleted++
		case result.Err == nil:
			s.progress.Kept++
		case first == nil:
			first = result.Err
		}
	}
	s.report(s.progress)
	return first
}

// pace waits until n more entities may be deleted.
func (s *sweeper) pace(ctx context.Context, n int) error {
	if wait := time.Until(s.next); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.next = time.Now().Add(time.Duration(n) * time.Second / time.Duration(s.rate))
	return nil
}
