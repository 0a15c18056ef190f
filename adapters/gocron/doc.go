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
// Locker: each scheduler reads once when a job is due. The one that runs it writes twice, and once every
// third of the TTL while the job runs.
//
// Elector: IsLeader asks nothing. The leader writes every third of the TTL, and the others read
// every Poll: with the default TTL of 15 seconds 12 writes, and 40 to 80 small reads, a minute.
//
// # Caveats
//
// A job is not told when its lock is lost, which takes a process that was stopped, or that cannot reach the store,
// for a TTL. Another scheduler may run the job then. A job that must run once per interval, and
// learn of the loss, is for lease.Leases.Once.
//
// After a scheduler died within a job, the next time that the job is due shows the others that its
// lock is not renewed, and the one after that, at least a TTL later, runs it.
//
// Give each job a name (gocron.WithName): the lock has it, and without one it is that of the Go
// function. The record of each name stays in the store, some 100 bytes.
package gocron
