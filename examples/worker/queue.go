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

// A job is an entry "job:ID". The worker that does it holds "lease:ID", an entry
// that expires unless it is renewed, so that a dead worker's job becomes free
// again. The result is "done:ID", put only if absent: a worker that lost its
// lease without noticing cannot replace the result of its successor. A job may
// be begun more than once, but has one result.
const (
	jobs    = "job:"
	leases  = "lease:"
	results = "done:"
)

// keepResults is how long results are kept. The job is deleted long before.
const keepResults = 24 * time.Hour

type queue struct {
	store *kv.Store
	lease time.Duration
}

func newQueue(store *kv.Store) *queue { return &queue{store: store, lease: 15 * time.Second} }

// add queues a job. IDs sort by time, so that jobs are begun in about this
// order.
func (q *queue) add(ctx context.Context, text string) (id string, err error) {
	id = fmt.Sprintf("%013d-%s", time.Now().UnixMilli(), rand.Text()[:8])
	_, err = q.store.Put(ctx, jobs+id, []byte(text), kv.IfNotExists())
	return id, err
}

// results calls f with every result, in order of the jobs.
func (q *queue) results(ctx context.Context, f func(id, result string)) error {
	for entry, err := range q.store.Scan(ctx, results) {
		if err != nil {
			return err
		}
		f(strings.TrimPrefix(entry.Key, results), string(entry.Value))
	}
	return nil
}

// work does one job, the first that nobody works on, and reports whether there
// was one. The job's context ends when the lease is lost. A job that fails is
// free again at once, and its error is returned.
func (q *queue) work(ctx context.Context, worker string, do func(ctx context.Context, text string) (string, error)) (bool, error) {
	for entry, err := range q.store.Scan(ctx, jobs) {
		if err != nil {
			return false, err
		}
		id := strings.TrimPrefix(entry.Key, jobs)
		version, err := q.store.Put(ctx, leases+id, []byte(worker), kv.TTL(q.lease), kv.IfNotExists())
		if errors.Is(err, kv.ErrConditionFailed) {
			continue // another worker does it
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
		return true, q.finish(ctx, id, string(entry.Value), version, do)
	}
	return false, nil
}

// finish does the job whose lease is held in version.
func (q *queue) finish(ctx context.Context, id, text string, version kv.Version, do func(ctx context.Context, text string) (string, error)) error {
	working, cancel := context.WithCancelCause(ctx)
	renewed := make(chan kv.Version)
	go func() { renewed <- q.renew(working, cancel, id, version) }()
	result, err := do(working, text)
	cancel(nil)
	version = <-renewed
	if err == nil {
		_, err = q.store.Put(ctx, results+id, []byte(result), kv.TTL(keepResults), kv.IfNotExists())
		if errors.Is(err, kv.ErrConditionFailed) {
			err = nil // the lease was lost, and another worker has done the job
		}
		if err == nil {
			// Only then: if this worker dies here, the next one finds the result.
			err = q.store.Delete(ctx, jobs+id)
		}
	}
	return errors.Join(err, q.release(context.WithoutCancel(ctx), id, version))
}

// renew renews a lease until ctx ends, and returns its last version. When the
// lease is lost, or cannot be renewed, it cancels the work.
func (q *queue) renew(ctx context.Context, lost context.CancelCauseFunc, id string, version kv.Version) kv.Version {
	ticker := time.NewTicker(q.lease / 3)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return version
		case <-ticker.C:
		}
		next, err := q.store.Put(context.WithoutCancel(ctx), leases+id, nil, kv.TTL(q.lease), kv.IfVersion(version))
		if err != nil {
			lost(fmt.Errorf("the lease of job %s cannot be renewed: %w", id, err))
			return version
		}
		version = next
	}
}

// release releases a lease, unless another worker holds it now.
func (q *queue) release(ctx context.Context, id string, version kv.Version) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := q.store.Delete(ctx, leases+id, kv.IfVersion(version))
	if errors.Is(err, kv.ErrConditionFailed) || errors.Is(err, kv.ErrIndeterminate) {
		return nil // it is deleted, or will expire
	}
	return err
}
