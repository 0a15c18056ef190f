// Package conformance checks that a provider keeps the contract of [kv.Store].
//
// The suite is a table of cases. Each case has a name, such as "put/if-not-exists/expired",
// and the rule that it checks, in words. The suite is the same for every provider: two
// providers that pass it can be exchanged. [Cases] and [FaultCases] return the cases.
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
// Each case calls the constructor for an empty store of its own, sometimes for a second
// one, and closes these stores. The constructor should take milliseconds, because there are
// more than 700 cases. It is called concurrently: "go test -parallel" says how many cases
// run at once. Together the cases make more than 4,200 calls of a driver with one shard, and
// more than 18,000 of a driver with 16. With an emulator that takes less than a minute.
//
// If a store for each case costs too much, such as a table in the cloud, set
// [Config.Shared]: the cases then run one after another in one store. Programs that do not
// use the testing package run the cases with [Check].
//
// # Faults
//
// [Config.New] alone cannot test what a store does after a lost response. [Config.Faulty]
// opens a store over a connection that can fail, such as an HTTP transport, a gRPC
// interceptor or a proxy. If it is set, the suite also runs the cases of [FaultCases]. They
// check these rules, among others:
//
//   - A conditional write that was applied succeeds, even if its response was lost and the
//     client retried it. A conditional write that was not applied does not succeed.
//   - If a store cannot know whether a write was applied, the error is ErrIndeterminate.
//   - An entry that a retry stores again has a new version.
//   - Batches forget no key, and scans forget no entry.
//   - If the service throttles a call, the error is ErrThrottled. The client pauses between its
//     attempts, and the number of attempts is limited.
//
// Without Faulty none of these cases is run, and passing says nothing about faults. A
// provider without a network may simulate one, or leave Faulty unset.
//
// # Middleware
//
// Middleware is tested in the same way: New opens the store of a provider that passes, and
// adds the middleware by With and [kv.Wrap]. Like any driver, middleware may lower the limits
// of keys, values and atomic writes. The case "info/limits" names the lowest limits. The other
// cases use the limits of the Info that the middleware returns.
//
// # Optional features
//
// A driver may lack the following features. A case that needs one then checks only what is
// documented for such a store, mostly that the store refuses to use the feature. [Result].Lacks
// names the feature. No case is skipped.
//
//   - A driver without MaxAtomicWrites has no AtomicWrite.
//   - A driver for the layout of another program may have NoGrace: its service may remove an
//     entry at its expiry, without an hour of grace.
//   - A driver for the layout of another program may have a ReservedKey: its service cannot
//     store some keys. Cases about anything else do not use these keys.
//
// Only drivers of this module may have NoGrace or a ReservedKey. The case "info/lacks" checks
// that. Every driver must have all other features.
//
// # Time
//
// Cases do not sleep. The clock of their stores starts at the real time, and the cases move
// it, by up to centuries. So a driver must use the Now of its requests wherever it needs
// the time. A service that removes expired entries by its own clock must keep them for an
// hour after their expiry. Otherwise it could remove an entry that a case still needs. A
// service with NoGrace need not keep expired entries. So for a store with NoGrace, the clock
// of a case starts an hour ahead of the real time.
//
// A driver that removes expired records itself may remove a record only if it has been
// expired for an hour by the clock of its host and by the clock of the call. It must never
// use the clock of another call: one of two stores over the same data may be a day ahead.
//
// # Limits
//
// A case that takes longer than [Config.CaseTimeout] fails, and its failure names the
// driver calls that are running. The context of its calls ends. If the case still does not
// end, the suite abandons it: a call that hangs may run until the process ends, but no later
// call of the case except Close reaches a driver. The other cases go on, even if the driver hangs
// in every case: "go test" gets all results within its ten minutes. With [Config.Shared],
// however, the suite ends at the first case that does not end, or at the third that takes
// too long.
//
// If a scan of a driver yields 1,000 records more than there are keys, the suite ends the
// scan and the case fails.
//
// # Reading a failure
//
//	--- FAIL: TestConformance/delete/none/absent (0.01s)
//	    conformance.go:64: delete.go:14: Delete: kv: delete "key" on mykv: not found
//	        rule: Delete without a condition removes the entry if there is one. Deleting an absent key
//	        is not an error. Here the key never had an entry (the version is of another store).
//
// The provider broke that rule. The second place, delete.go:14, is the line at which the
// case failed. The file has the name of the case's group, and most cases are a few lines
// long. To run one case: "go test -run TestConformance/delete/none/absent".
//
// One bug often makes many cases fail. Fix the groups in this order: info, keys, values,
// large, get, put, touch, delete, versions, expiry, scan, page, count, cursor, groups,
// batch, driver, update, atomic, json, errors, close, concurrency, context, faults. The
// later groups rely on rules that the earlier ones check.
//
// Some cases put a driver of their own between the store and your driver. One sends a write
// twice, like an SDK after a lost response. One ends a scan with an error. One yields an error
// instead of a record. One fails for one key of a batch. One cancels the context of a call on its
// way to your driver. The names of most of these cases say so: response-lost, before-retry,
// broken-off, damaged-entry, partial-failure, cancelled-on-the-way.
//
// The suite checks the results of calls. It does not check whether a call leaves something
// running: it does not notice a goroutine that goes on fetching after the loop of a scan
// has ended.
package conformance
