// Package gocron makes schedulers of [github.com/go-co-op/gocron/v2] share their jobs. With a
// Locker, each run of a job is on one of the schedulers. With an Elector, all jobs run on the
// scheduler that leads. Both use leases of package [github.com/skykv/skykv/kv/lease].
//
//	leases, err := lease.New(records, nil)
//	scheduler, err := gocron.NewScheduler(
//		gocron.WithDistributedLocker(gocronkv.NewLocker(leases, time.Second)))
//
// # Price
//
// Locker: each scheduler reads once when a job is due. The scheduler that runs the job writes
// twice, and once more for every third of the TTL while it holds the lock.
//
// Elector: IsLeader sends no request. The leader writes every third of the TTL: 12 times a minute
// with the default TTL of 15 seconds. Each of the others reads once or twice per Poll: 40 to 80
// small reads a minute with the default options.
//
// # Caveats
//
// A job is not told that its lock is lost. A process loses its locks if it is stopped, or cannot
// reach the store, for a TTL. Another scheduler may then run the job at the same time. Use
// lease.Leases.Once for a job that must learn of the loss.
//
// If a scheduler dies while it runs a job, the lock of the job is not released. The next time that
// the job is due, another scheduler may find the lock held, and skip the job. It runs the job when
// the job is due at least a TTL later.
//
// Give each job a name with gocron.WithName, because its lock has the same name. The default is the
// name of the Go function. For each name, a record of some 100 bytes remains in the store.
package gocron
