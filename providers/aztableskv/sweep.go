package aztableskv

import (
	"context"
	"fmt"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

// DefaultSweepRate is the number of entities that [Sweep] deletes per second at most, if the
// options do not set a Rate.
const DefaultSweepRate = 500

// Sweep is like [SweepWith], for the table of a URL: see [Open]. If the URL names a layout
// and the table has a different one, Sweep returns kv.ErrIncompatible.
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

// SweepWith deletes the entities of a table that expired at least [kv.ExpiryGrace] ago,
// because the service does not delete them. Stores treat expired entities as absent even
// without sweeps, but the entities cost storage. Any number of sweepers and stores may run
// at once. SweepWith deletes the tombstone of an atomic write once [kv.ExpiryGrace] has
// passed since the entity's Timestamp, by the sweeper's clock.
//
// SweepWith deletes an entity only if its ETag has not changed since SweepWith read it. So a
// key that was created again in the meantime keeps its entry. In a table of the Alien
// platform, SweepWith also deletes the expired entities of other programs, because nothing
// else deletes them. It keeps entities that are not of the table's layout. It deletes in
// transactions of up to 100, and reports the progress after each transaction, partition and
// pass. A Rate of zero means [DefaultSweepRate].
//
// Without an interval, SweepWith returns after one pass, with the error of the pass. With an
// interval it runs until ctx ends, and returns the context's error. If a pass fails,
// SweepWith reports that to Progress, and tries again in the next pass. It always returns
// the progress of the last pass.
//
// Before the first pass, SweepWith returns [kv.ErrInvalidOption] for options out of range,
// [kv.ErrNotProvisioned] if there is no table, and [kv.ErrIncompatible] if the table has no
// layout record, or one of a different format.
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
		return s.progress, errInvalid(op, "Rate is %d; want a positive number, or 0 for %d", opts.Rate, DefaultSweepRate)
	case opts.Interval < 0:
		return s.progress, errInvalid(op, "Interval is %s; want a positive duration, or 0 for a single pass", opts.Interval)
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
		err = &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("table %s has no layout record: no store has used it", d.name)}
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
		s.pass(ctx) // pass itself reports its error
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
	next     time.Time // the earliest time of the next deletion
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
		case !s.driver.layout.unswept(rec, now): // sweepFilter excludes such a record, but the service returned it
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

// delete carries out deletions at the sweep's rate, and returns the first error.
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
