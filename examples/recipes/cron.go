package recipes

import (
	"context"
	"time"

	"github.com/skykv/skykv/kv/lease"
)

// Cron runs a job once per interval, until ctx ends, and returns the error of ctx. All replicas
// call it, and one of them runs the job. The documentation of lease.Leases.Once says when
// intervals begin.
//
// While it does not run the job, each replica checks about ten times per interval whether the job
// is done. So if the job fails, or the replica that runs it dies, the job is soon run again. Until
// ctx ends, Cron calls failed with every error.
func Cron(ctx context.Context, jobs *lease.Leases, name string, every time.Duration, job func(context.Context) error, failed func(error)) error {
	for {
		_, err := jobs.Once(ctx, name, every, func(ctx context.Context, _ *lease.Lease) error { return job(ctx) })
		if err != nil && ctx.Err() == nil {
			failed(err)
		}
		pause := min(every/10, time.Until(time.Now().Truncate(every).Add(every)))
		next := time.NewTimer(max(pause, 100*time.Millisecond)) // every may be a forgotten unit, which is an error each time
		select {
		case <-next.C:
		case <-ctx.Done():
			next.Stop()
			return ctx.Err()
		}
	}
}
