// Package lease has leases with fencing tokens over a [kv.Store], leader election, and
// jobs that one of many replicas runs once per interval.
//
//	leases, err := lease.New(store, nil)
//	held, err := leases.Acquire(ctx, "report")
//	defer held.Release(context.WithoutCancel(ctx))
//	working := held.Context(ctx)
//	for held.Held() {
//		step(working, held.Token()) // the database refuses smaller tokens
//	}
//
// # What a lease is
//
// A lease has at most one holder at a time. It is renewed in the background every third of
// its TTL, until [Lease.Release]. If the holder dies, or cannot reach the store for a TTL,
// another program can take the lease. A failed renewal does not end the lease: it is retried
// until the lease ends.
//
// [Lease.Held] reports whether the program holds the lease now. Once Held has returned
// false, it never returns true again. [Lease.Context] ends when the lease ends, but only
// if the program is running: a process that is stopped, or a machine that is suspended,
// does not notice the end. Call Held after anything that may take long.
//
// # Fencing
//
// A process can be stopped between a call of Held and the work that follows. When it
// continues, another program may hold the lease, and only the resource that the process
// works on can refuse its work. [Lease.Token] is for that: each holder's token is greater
// than all earlier tokens. Send the token with the work, and make the resource refuse a
// token that is smaller than one that it has seen. For data in the same kind of store,
// keep the token in the entry's value, and write with [kv.IfVersion].
//
// # Clocks
//
// Clocks need not agree. The record of a lease contains the length of the TTL, but no time
// of expiry that others would compare with their own clocks. A holder counts the TTL from
// the moment before it sends a renewal. Other programs count it from the moment after they
// read the record that the renewal wrote, which is later. They take the lease when the
// record has not changed for a TTL. Wall clocks may be hours apart, and may be set.
//
// Only the speeds of clocks matter. Held returns false a sixteenth of the TTL before others
// can take the lease, so clocks may differ in speed by 6 percent.
//
// The holder's clock must count the time while the machine is suspended. Go's monotonic
// clock does not do that on Linux, so Held also reads CLOCK_BOOTTIME there. On other
// systems Held also reads the wall clock. Held uses the longer of the two measured times. On
// those other systems, a wall clock that is set forward can end a lease early. If the machine
// is suspended there, and its wall clock is set back by as much, Held may miss the suspension.
// A virtual machine that its host stops may see neither clock move: use the token.
//
// # Price
//
// A holder writes once, and reads nothing, every third of the TTL: 12 requests a minute
// with the default TTL of 15 seconds. A program that waits reads the record after pauses
// of half a Poll to a whole Poll. With the default Poll, a tenth of the TTL, that is 40 to
// 80 requests a minute. [Leases.Observe] costs the same. Acquiring a free lease takes a
// read and a write, and releasing it takes a write. Each request is for one small entry.
//
// A program that waits takes a lease within a Poll after the holder's release, and within a TTL
// and a Poll after the holder's death. A program that begins to wait after the holder died needs
// a whole TTL, because it must see that nobody renews the lease. [Leases.TryAcquire] does
// not wait, so it takes the lease of a dead holder only if the same [Leases] saw the lease
// at least a TTL ago. A program that starts, tries once and ends never takes such a lease: use
// Acquire, with a deadline of two TTLs.
//
// # Caveats
//
// The record of a lease stays in the store under the name of the lease, and takes some 100
// bytes besides the value of a leader. Do not change or delete it: after a deletion, tokens begin
// at 1 again. Use a [kv.Store.Namespace] for the leases. Names are keys; [kv.EscapeKey] turns
// any text into a key.
//
// If Acquire returns an error that matches [kv.ErrIndeterminate], the record may name a holder
// although no program holds the lease. Other programs can take the lease after a TTL.
//
// The store's [kv.Clock] has no effect on leases. In testing/synctest leases use the time
// of the bubble.
package lease
