// Package conformance proves that a provider keeps the contract of [kv.Store].
//
// The suite is a table of cases. Each has a name, such as "put/if-not-exists/expired",
// and the rule that it checks, in words. The suite is the same for every provider: two
// providers that pass it can be exchanged. [Cases] returns all cases.
//
// # Running it
//
// A provider's test passes a constructor to [Run]:
//
//	func TestConformance(t *testing.T) {
//		client := newClient(t)
//		conformance.Run(t, conformance.Config{New: func(ctx context.Context) (*kv.Store, error) {
//			table := "test-" + rand.Text()
//			if err := EnsureTable(ctx, client, table); err != nil {
//				return nil, err
//			}
//			t.Cleanup(func() { DropTable(client, table) })
//			return New(ctx, client, table)
//		}})
//	}
//
// Each case calls it for its own empty store, sometimes for a second one, and closes the
// stores. Cases run in parallel, as many at once as "go test -parallel" says, so the
// constructor is called concurrently. It should take milliseconds: there are 445 cases.
// Together they make 4,200 calls of a driver with one shard and 18,000 calls of a driver
// with 16. With an emulator that takes less than a minute.
//
// If a store for each case costs too much, like a table in the cloud, [Config.Shared]
// runs the cases one after another in one store. Programs without the testing package run
// the cases by [Check].
//
// # Faults
//
// [Config.New] alone cannot test what a store does after a lost response. [Config.Faulty]
// opens a store over a connection that can fail: an HTTP transport, a gRPC interceptor or
// a proxy. With it the suite also runs the cases of [FaultCases]. They check that a
// conditional write that was applied succeeds although its response was lost and the
// client retried; that one that was not applied does not succeed; that an unknown result
// is ErrIndeterminate; that a retry brings back no version; that batches forget no key
// and scans no entry; that throttling is ErrThrottled; and that a client pauses and gives
// up.
//
// Without it none of these cases is run, and passing says nothing about faults. A
// provider without a network may simulate one, or leave Faulty unset.
//
// # Middleware
//
// Middleware is tested in the same way: New returns the store of a provider that passes,
// With the middleware. A driver may lower the limits of keys and values, down to the
// limits of the case "info/limits". The cases use the driver's limits.
//
// A driver without MaxAtomicWrites has no AtomicWrite. A layout of other programs may
// have no hour of grace after an expiry, or reserve some keys; only providers of this
// module may say so, as the case "info/lacks" checks. The cases for such a feature check
// that the store refuses it as documented, and [Result].Lacks names it. Other cases leave
// out the keys that are reserved. A driver cannot opt out of anything else: no case is
// skipped.
//
// # Time
//
// Cases do not sleep. They move the clock of the store, which begins at the real time, by
// up to centuries. A driver must use the Now of its requests wherever it needs the time.
// A service that removes expired entries by its own clock does so an hour after their
// expiry, so no entry is missing too early. For a store with NoGrace the clock begins an
// hour ahead of the real time, for the same reason.
//
// A driver that removes expired records itself may remove a record only if it has been
// expired for an hour by the clock of its host and by the clock of the call. It must
// never use the clock of another call: one of two stores over the same data may be a day
// ahead.
//
// # Limits
//
// A case that takes longer than [Config.CaseTimeout] fails, and names the calls that are
// under way. The context of its calls ends. If it still does not end, the suite abandons
// it: the call that hangs may run until the end of the process, but no later call of the
// case reaches a driver. The other cases go on, also if the driver hangs in every case:
// "go test" gets all results within its ten minutes. In a shared store a case that does
// not end, and the third case that takes too long, end the suite.
//
// If a scan of a driver yields 1,000 records more than there are keys, the case fails and
// the scan ends.
//
// # Reading a failure
//
//	--- FAIL: TestConformance/delete/none/absent (0.01s)
//	    conformance.go:66: delete.go:14: Delete: kv: delete "key" on mykv: not found
//	        rule: Delete without a condition removes the entry if there is one. Deleting an absent key
//	        is no error. Here the key never had an entry (the version is of another store).
//
// The provider broke that rule. The place is the line of the case that found it, in the
// file of the case's group. Cases are short and can be read from there. "go test -run
// TestConformance/delete/none/absent" runs the case alone.
//
// One bug often fails many cases. Start with the groups in this order: info, keys,
// values, get, put, touch, delete, versions, expiry, scan, page, count, cursor, groups,
// batch, driver, update, atomic, json, errors, close, concurrency, context, faults. The
// later groups rely on what the earlier ones check.
//
// Some cases put their own driver between the store and yours. One sends a write twice,
// as an SDK does after a lost response. One loses a record of a scan. One cancels the
// context on the way. The names of these cases say so: response-lost, broken-off,
// damaged-entry, cancelled-on-the-way.
//
// The suite checks what calls return. It does not check what they leave running: a
// goroutine that goes on fetching after the loop of a scan has ended passes.
package conformance
