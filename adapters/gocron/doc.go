// Package gocron makes schedulers of [github.com/go-co-op/gocron/v2] share their jobs: each job
// runs on one of them, by a Locker, or all run on a leader, by an Elector. Both are leases of
// package [github.com/skykv/skykv/kv/lease].
//
//	leases, err := lease.New(records, nil)
//	scheduler, err := gocron.NewScheduler(
//		gocron.WithDistributedLocker(gocronkv.NewLocker(leases, time.Second)))
//
// # Price
//
// Locker: each scheduler reads once when a job is due. The one that runs it writes twice, and
// once every third of the TTL while it holds the lock.
//
// Elector: IsLeader asks nothing. The leader writes every third of the TTL, and the others read
// every Poll: with the default TTL of 15 seconds 12 writes, and 40 to 80 small reads, a minute.
//
// # Caveats
//
// A job is not told when its lock is lost. That happens to a process that was stopped, or that
// cannot reach the store, for a TTL. Another scheduler may run the job then. A job that must
// learn of the loss is for lease.Leases.Once.
//
// When a scheduler dies within a job, the others see its lock when the job is due again. They
// run the job when it is due after that, and at least a TTL later.
//
// Give each job a name (gocron.WithName): its lock has the same name. The default is the name of
// the Go function. The record of each name stays in the store, some 100 bytes.
package gocron
