package recipes

import (
	"context"
	"time"

	"github.com/skykv/skykv/kv/lease"
)

// Cron runs a job once per interval, until ctx ends or the job fails. All replicas call it, and
// one of them runs the job. Where intervals begin is in the documentation of lease.Leases.Once.
func Cron(ctx context.Context, jobs *lease.Leases, name string, every time.Duration, job func(context.Context) error) error {
	for {
		_, err := jobs.Once(ctx, name, every, func(ctx context.Context, _ *lease.Lease) error { return job(ctx) })
		if err != nil {
			return err
		}
		next := time.NewTimer(time.Until(time.Now().Truncate(every).Add(every)))
		select {
		case <-next.C:
		case <-ctx.Done():
			next.Stop()
			return ctx.Err()
		}
	}
}
