package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/skykv/skykv/kv"
)

// A job is an entry "job:ID". The worker that does the job holds the entry "lease:ID". The lease
// expires unless it is renewed, so the job of a dead worker becomes free again. The result is the
// entry "done:ID". It is put only if absent, so a worker that lost its lease without noticing
// cannot replace the result of its successor. A job may be begun more than once, but has one
// result.
//
// The queue does not use package kv/lease. That package is for a limited number of names, because
// it keeps the record of each lease.
const (
	jobs    = "job:"
	leases  = "lease:"
	results = "done:"
)

// keepResults is how long results are kept. A job is deleted as soon as its result is stored.
const keepResults = 24 * time.Hour

type queue struct {
	store   *kv.Store
	lease   time.Duration // how long a lease lasts
	renewal time.Duration // how often it is renewed
}

func newQueue(store *kv.Store) *queue {
	return &queue{store: store, lease: 15 * time.Second, renewal: 5 * time.Second}
}

// add queues a job. IDs sort by time, so that jobs are begun in about the order in which they were
// added.
func (q *queue) add(ctx context.Context, text string) (id string, err error) {
	id = fmt.Sprintf("%013d-%s", time.Now().UnixMilli(), rand.Text()[:8])
	_, err = q.store.Put(ctx, jobs+id, []byte(text), kv.IfNotExists())
	return id, err
}

// The method results calls f with every result, in about the order in which the jobs were added.
func (q *queue) results(ctx context.Context, f func(id, result string)) error {
	for entry, err := range q.store.Scan(ctx, results) {
		if err != nil {
			return err
		}
		f(strings.TrimPrefix(entry.Key, results), string(entry.Value))
	}
	return nil
}

// work does the first job that nobody works on, and reports whether there was one. The context of
// the job ends when the lease is lost. If the job fails, it is free again at once, and work returns
// its error.
func (q *queue) work(ctx context.Context, worker string, do func(ctx context.Context, text string) (string, error)) (bool, error) {
	for entry, err := range q.store.Scan(ctx, jobs) {
		if err != nil {
			return false, err
		}
		id := strings.TrimPrefix(entry.Key, jobs)
		until := time.Now().Add(q.lease)
		version, err := q.store.Put(ctx, leases+id, []byte(worker), kv.TTL(q.lease), kv.IfNotExists())
		if errors.Is(err, kv.ErrConditionFailed) {
			continue // another worker is doing the job
		}
		if err != nil {
			return false, err
		}
		// The job may have been done between the scan and the lease.
		if exists, err := q.store.Exists(ctx, jobs+id); err != nil || !exists {
			if err := errors.Join(err, q.release(ctx, id, version)); err != nil {
				return false, err
			}
			continue
		}
		return true, q.finish(ctx, id, string(entry.Value), version, until, do)
	}
	return false, nil
}

// finish does a job whose lease this worker holds until the instant until. version is the present
// version of the lease.
func (q *queue) finish(ctx context.Context, id, text string, version kv.Version, until time.Time, do func(ctx context.Context, text string) (string, error)) error {
	working, cancel := context.WithCancelCause(ctx)
	defer cancel(nil) // even if do panics: otherwise the lease would be renewed forever
	renewed := make(chan kv.Version, 1)
	go func() { renewed <- q.renew(working, cancel, id, version, until) }()
	result, err := do(working, text)
	cancel(nil)
	version = <-renewed
	if err == nil {
		_, err = q.store.Put(ctx, results+id, []byte(result), kv.TTL(keepResults), kv.IfNotExists())
		if errors.Is(err, kv.ErrConditionFailed) {
			// Another worker has stored the result. Either this worker has lost its lease, or the
			// other worker died before it deleted the job.
			err = nil
		}
		if err == nil {
			// The job is deleted last. If this worker dies before that, the next one does the
			// job again, and finds the result.
			err = q.store.Delete(ctx, jobs+id)
		}
	}
	return errors.Join(err, q.release(context.WithoutCancel(ctx), id, version))
}

// renew renews a lease until ctx ends, and returns the last version of the lease. If the lease is
// lost, or cannot be renewed before it expires at the instant until, renew cancels the work.
func (q *queue) renew(ctx context.Context, lost context.CancelCauseFunc, id string, version kv.Version, until time.Time) kv.Version {
	ticker := time.NewTicker(q.renewal)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return version
		case <-ticker.C:
		}
		begun := time.Now()
		put, cancel := context.WithDeadline(context.WithoutCancel(ctx), until)
		next, err := q.store.Put(put, leases+id, nil, kv.TTL(q.lease), kv.IfVersion(version))
		cancel()
		if err != nil {
			lost(fmt.Errorf("the lease of job %s cannot be renewed: %w", id, err))
			return version
		}
		version, until = next, begun.Add(q.lease)
	}
}

// release releases a lease if its record still has this version. Otherwise another worker holds
// it, or it expires by itself.
func (q *queue) release(ctx context.Context, id string, version kv.Version) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := q.store.Delete(ctx, leases+id, kv.IfVersion(version))
	if errors.Is(err, kv.ErrConditionFailed) || errors.Is(err, kv.ErrIndeterminate) {
		return nil // another worker holds the lease, or it is already deleted, or it expires by itself
	}
	return err
}
