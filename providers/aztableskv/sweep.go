package aztableskv

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/kv"
)

// sweepGrace is how long past its expiry an entity is left alone, so that no
// entry is deleted early for a program whose clock is behind.
const sweepGrace = time.Hour

// DefaultSweepRate is the number of entities that [Sweep] deletes per second
// unless its options say otherwise.
const DefaultSweepRate = 500

// SweepOptions adjusts [Sweep]. The zero SweepOptions is the default.
type SweepOptions struct {
	// Interval is the time from the start of one pass over the table to the start
	// of the next. Zero stands for a single pass.
	Interval time.Duration

	// Rate is how many entities are deleted per second at most; zero stands for
	// [DefaultSweepRate]. They are deleted in transactions of up to 100.
	Rate int

	// Clock tells what has expired; nil stands for time.Now. It is read once a pass.
	Clock func() time.Time

	// Progress, when set, is called after every transaction, partition and pass,
	// by the goroutine that called Sweep.
	Progress func(SweepProgress)
}

// SweepProgress says how far one pass of [Sweep] has come.
type SweepProgress struct {
	Pass   int // 1 for the first
	Shards int // partitions the pass has finished
	Of     int // partitions there are

	// What became of the expired entities that the pass met:
	Deleted int
	Kept    int // replaced, deleted or re-created before their turn came
	Foreign int // not written by skykv, and left alone

	// Done is set at the end of the pass, with the error that ended it, if one did.
	Done bool
	Err  error
}

// Sweep deletes the entities of table that expired more than an hour ago, which
// the service does not do by itself. Stores treat them as absent all the same: a
// table that nobody sweeps costs more, and nothing else. Any number of sweepers,
// and stores, may be at work at once.
//
// An entity is deleted only in the state in which it was found, by its ETag, so
// that a key that was re-created meanwhile keeps its entry. Entities that skykv
// did not write are left alone.
//
// Without an interval Sweep returns after one pass, with its error. With one it
// goes on until ctx ends, and returns the context's error: a pass that fails is
// reported to Progress, and the next one tries again. It returns
// [kv.ErrInvalidOption] for options out of range, and before the first pass
// [kv.ErrNotProvisioned] when there is no table and [kv.ErrIncompatible] when no
// store was ever opened on it. The last pass is returned in any case.
func Sweep(ctx context.Context, client *aztables.ServiceClient, table string, opts *SweepOptions) (SweepProgress, error) {
	const op = "sweep"
	if opts == nil {
		opts = &SweepOptions{}
	}
	s := sweeper{clock: opts.Clock, report: opts.Progress, rate: opts.Rate}
	switch {
	case opts.Rate < 0:
		return s.progress, invalid(op, "Rate is %d; it must be positive, or 0 for %d", opts.Rate, DefaultSweepRate)
	case opts.Interval < 0:
		return s.progress, invalid(op, "Interval is %s; it must be positive, or 0 for a single pass", opts.Interval)
	case opts.Rate == 0:
		s.rate = DefaultSweepRate
	}
	if s.clock == nil {
		s.clock = time.Now
	}
	if s.report == nil {
		s.report = func(SweepProgress) {}
	}
	d, err := newDriver(op, client, table, policy.RetryOptions{})
	if err != nil {
		return s.progress, err
	}
	s.driver = d
	found, err := d.readLayout(ctx)
	if err == nil && found == nil {
		err = &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("table %s has no layout record: no store was ever opened on it", table)}
	}
	if err != nil {
		return s.progress, failed(op, err)
	}
	d.setShards(found.Shards)
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
			return s.progress, failed(op, ctx.Err())
		}
	}
}

type sweeper struct {
	driver   *driver
	clock    func() time.Time
	report   func(SweepProgress)
	rate     int
	progress SweepProgress
	next     time.Time // before which nothing is deleted
}

// pass sweeps all partitions once.
func (s *sweeper) pass(ctx context.Context) error {
	s.progress = SweepProgress{Pass: s.progress.Pass + 1, Of: s.driver.shards}
	deadline := s.clock().Add(-sweepGrace).UnixMilli()
	var err error
	for shard := range s.driver.shards {
		if err = s.sweep(ctx, shard, deadline); err != nil {
			err = failed("sweep", err)
			break
		}
		s.progress.Shards++
		s.report(s.progress)
	}
	s.progress.Done, s.progress.Err = true, err
	s.report(s.progress)
	return err
}

// sweep deletes what expired in one partition until deadline.
func (s *sweeper) sweep(ctx context.Context, shard int, deadline int64) error {
	d := s.driver
	size := min(maxTransaction, s.rate)
	t := &transaction{single: s.deleteSingle}
	// Entities without x do not match: they are not even read.
	filter := "PartitionKey eq '" + d.partitions[shard] + "' and " + expiredBy(deadline)
	for e, err := range d.list(ctx, filter, false, maxPage) {
		if err != nil {
			return err
		}
		key := text(e.rowKey)
		_, foreign := e.record(key, false)
		if foreign != nil || kv.ValidateKey(key) != nil || kv.Shard(key, d.shards) != shard {
			s.progress.Foreign++
			continue
		}
		etag := text(e.etag)
		if etag == "" {
			return errAnswer(errNoETag)
		}
		t.add(d.partitions[shard], kv.Write{Record: kv.Record{Key: key}, Delete: true}, etag)
		if len(t.writes) == size {
			if err := s.delete(ctx, t); err != nil {
				return err
			}
			t = &transaction{single: s.deleteSingle}
		}
	}
	return s.delete(ctx, t)
}

// delete makes the deletions of t when their turn has come.
func (s *sweeper) delete(ctx context.Context, t *transaction) error {
	if len(t.writes) == 0 {
		return nil
	}
	if err := s.pace(ctx, len(t.writes)); err != nil {
		return err
	}
	failed := s.driver.transact(ctx, t)
	var first error
	kept := 0
	for _, err := range failed {
		if errors.Is(err, kv.ErrConditionFailed) {
			kept++
		} else if first == nil {
			first = err
		}
	}
	s.progress.Kept += kept
	s.progress.Deleted += len(t.writes) - len(failed)
	s.report(s.progress)
	return first
}

// deleteSingle deletes one entity, unless it changed.
func (s *sweeper) deleteSingle(ctx context.Context, w kv.Write, action aztables.TransactionAction) error {
	callCtx, call := s.driver.watchWrite(ctx)
	match := azcore.ETag(*action.IfMatch)
	_, err := s.driver.table.DeleteEntity(callCtx, s.driver.partition(w.Key), w.Key, &aztables.DeleteEntityOptions{IfMatch: &match})
	code := code(err)
	switch {
	case err == nil:
		return nil
	case absent(code), code == aztables.UpdateConditionNotSatisfied:
		return &kv.Error{Kind: kv.ErrConditionFailed}
	}
	return call.write(ctx, err)
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
