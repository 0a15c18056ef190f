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
// its TTL, until [Lease.Release]. When the holder dies, or cannot reach the store for a
// TTL, another program takes it. A failed renewal does not end a lease while time is left:
// it is retried.
//
// [Lease.Held] reports whether the program still holds the lease now. After Held has
// returned false it never returns true again. [Lease.Context] ends when the lease ends, if
// the program runs then: a process that is stopped, or a machine that is suspended,
// notices nothing. Call Held after anything that may take long.
//
// # Fencing
//
// A process can stop between Held and the work that follows. Then only the resource that
// it works on can refuse the work of a former holder. [Lease.Token] is for that: each
// holder's token is greater than all earlier tokens. Send it along, and let the resource
// refuse a token that is smaller than one that it has seen. For data in the same kind of
// store, keep the token in the entry's value, and write with [kv.IfVersion].
//
// # Clocks
//
// No two clocks need to agree. A lease has no instant of expiry that others judge by their
// own clocks; its record has the length of the TTL. A holder counts the TTL from the
// moment before it sends a renewal. Others count it from the moment after they read the
// record of that renewal, which is later. They take the lease when the record has not
// changed for that long. Wall clocks may be hours apart, and may be set.
//
// Only the speeds of clocks matter. A holder stops using the lease a sixteenth of the TTL
// early, so clocks may differ in speed by 6 percent.
//
// The holder's clock must count the time while the machine is suspended. Go's monotonic
// clock does not on Linux, so Held also reads CLOCK_BOOTTIME there. On other systems it
// also reads the wall clock, and uses the later time. A wall clock that is set forward can
// end a lease early. A machine that is suspended while its wall clock is set back by as
// much does not notice. A virtual machine that its host stops may see neither clock move:
// use the token.
//
// # Price
//
// A holder writes once, and reads nothing, every third of the TTL: 12 requests a minute
// with the default TTL of 15 seconds. A program that waits reads after pauses of half a
// Poll to a whole Poll: 40 to 80 requests a minute with the default, a tenth of the TTL.
// [Leases.Observe] costs the same. Acquiring a free lease takes a read and a write, and
// releasing it a write. Each is of one small entry.
//
// A lease that is released is taken within a Poll. After a holder dies, a program that
// waits takes the lease within a TTL and a Poll. A program that begins to wait later needs
// a whole TTL, because it must see that nobody renews. [Leases.TryAcquire] does not wait,
// so it takes the lease of a dead holder only from a [Leases] that saw it a TTL ago. A
// program that starts, tries once and ends never does: use Acquire, with a deadline of two
// TTLs.
//
// # Caveats
//
// The record of a lease stays in the store under the name of the lease, some 100 bytes. It
// must not be deleted, nor written by anything else: tokens would begin at 1 again. Use a
// [kv.Store.Namespace] for the leases. Names are keys; [kv.EscapeKey] turns any text into
// a key.
//
// When Acquire returns an error that matches [kv.ErrIndeterminate], the lease may be taken
// although nobody holds it. It is free after a TTL.
//
// The store's [kv.Clock] has no effect on leases. In testing/synctest leases use the time
// of the bubble.
package lease
