// Package lease has leases with fencing tokens over a [kv.Store], leader election, and
// jobs that one of many replicas runs once per interval.
//
//	leases, err := lease.New(store, nil)
//	held, err := leases.Acquire(ctx, "report")
//	defer held.Release(context.WithoutCancel(ctx))
//	for held.Held() {
//		step(held.Context(ctx), held.Token()) // the database refuses smaller tokens
//	}
//
// # What a lease is
//
// A lease has at most one holder at a time. It is renewed in the background every third
// of its TTL, until [Lease.Release]. When the holder dies, or cannot reach the store for
// a TTL, another one takes it. A failed renewal does not end a lease while time is left:
// it is tried again.
//
// [Lease.Held] says whether the program still holds the lease, at the moment when it is
// asked. After Held has returned false it never returns true again. [Lease.Context] ends
// when the lease does, as soon as the program runs: a process that is stopped, or a
// machine that is suspended, notices nothing. Ask Held after anything that may take long.
//
// # Fencing
//
// A process can stop between Held and the work that follows. Only what is worked on can
// refuse the work of a former holder then. [Lease.Token] is for that: each holder's token
// is greater than all before it. Send it along, and have the resource refuse a token
// that is smaller than one that it has seen. For data in the same kind of store, keep the
// token in the entry's value, and write with [kv.IfVersion].
//
// # Clocks
//
// No two clocks need to agree. A lease has no instant of expiry that others could judge
// by their own clocks; its record says how long the TTL is. A holder counts the TTL from
// the moment before it sends a renewal. Others count it from the moment after they read
// the record that the renewal wrote, which is later, and take the lease when the record
// has not changed for that long. Wall clocks may be hours apart, and may be set.
//
// Only the speeds of clocks matter. A holder stops believing a sixteenth of the TTL early, so
// that clocks may differ in speed by 6 percent.
//
// The holder's clock must count the time in which the machine is suspended, which Go's
// monotonic clock does not on Linux. There Held asks CLOCK_BOOTTIME as well. Elsewhere it
// asks the wall clock as well, and the later one counts: a wall clock that is set forward
// can end a lease early, and a machine that is suspended while its wall clock is set
// back by as much is not noticed. A virtual machine that its host stops may see neither
// clock move: use the token.
//
// # Price
//
// A holder writes once, and reads nothing, every third of the TTL: 12 requests a minute
// with the default TTL of 15 seconds. A program that waits reads once per Poll, which is
// a tenth of the TTL at most: 40 to 80 requests a minute. [Leases.Observe] costs the same. To
// acquire a free lease takes a read and a write, to release it a write. All of them are of
// one small entry.
//
// A lease that is released is taken within a Poll. After a holder dies, one that
// waits takes the lease within a TTL and a Poll. One that begins to wait later needs a
// whole TTL, since it must see that nobody renews. [Leases.TryAcquire] does not wait, so
// it takes the lease of a dead holder only from a [Leases] that saw it a TTL ago. A program
// that starts, tries once and ends never does: it wants Acquire, with a deadline of two TTLs.
//
// # Caveats
//
// The record of a lease stays in the store under the name of the lease, some 100 bytes.
// It must not be deleted, nor written by anything else: tokens would begin at 1 again. Use
// a [kv.Store.Namespace] for the leases. Names are keys; [kv.EscapeKey] makes them of any
// text.
//
// When Acquire returns an error that matches [kv.ErrIndeterminate], the lease may have been taken
// for nobody, and is free after a TTL.
//
// A clock that the store was given by [kv.Clock] has no part in leases.
package lease
