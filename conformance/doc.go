// Package conformance proves that a provider keeps the contract of [kv.Store].
//
// The suite is a table of cases. Each has a name, such as
// "put/if-not-exists/expired", and the rule that it checks, in words. It is the
// same for every provider: what passes it can be exchanged for any other that
// does. [Cases] lists all of them.
//
// # Running it
//
// A provider's test hands [Run] a constructor:
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
// Each case calls it for an empty store of its own, sometimes for a second one,
// and closes what it got. Cases run in parallel, as many at once as "go test
// -parallel" says, so the constructor is called concurrently. Making a store
// should take milliseconds: there are 445 cases. Together they make 4,200 calls
// of a driver with one shard and 18,000 of one with 16, which an emulator answers
// within a minute.
//
// Where a store of one's own for each case costs too much, as a table in the
// cloud does, [Config.Shared] runs the cases one after the other in the same one.
// Programs without the testing package run the cases by [Check].
//
// # Faults
//
// What a store says after a response was lost cannot be tested through [Config.New]
// alone. [Config.Faulty] opens a store whose client and service have something between
// them that breaks when it is told to: an HTTP transport, a gRPC interceptor, a proxy.
// With it the suite has the cases of [FaultCases] as well: a conditional write that
// landed is reported as stored though its response was lost and the client repeated it,
// one that did not land is not, what cannot be known is ErrIndeterminate, a repeat brings
// back no version, batches forget no key, scans no entry, throttling is ErrThrottled, and
// a client pauses and gives up.
//
// Without it none of these cases is run, and passing says nothing about faults: a
// provider without a network may simulate one, or do without.
//
// # Middleware
//
// Middleware is tested in the same way: New returns the store of a provider that
// passes, With the middleware. A driver may lower the limits of keys and values,
// to no less than the case "info/limits" says, and the cases keep to what it
// says.
//
// A driver without MaxAtomicWrites has no AtomicWrite. In a layout of other programs there
// may be no hour of grace after an expiry, and some keys may be reserved. Both are for
// providers of this module alone to say, as the case "info/lacks" checks. The cases for what
// a store lacks check that it lacks it as it says, and [Result].Lacks names it. Other cases
// leave out the keys that are reserved. Nothing else can be declared away: no case is
// skipped.
//
// # Time
//
// Cases do not sleep. They move the clock of the store, which begins at the real
// time, by up to centuries. A driver must go by the Now of its requests
// wherever it asks for the time. A service that removes expired entries by its
// own clock does so an hour after their expiry, so none is missing too early. For a store
// with NoGrace the clock begins an hour ahead of the real time, to the same end.
//
// A driver that removes expired records itself removes one only when it has been expired
// for an hour by the clock of its host and by the clock of the call as well. It never goes
// by the clock of another call: of two stores over the same data one may be a day ahead.
//
// # Limits
//
// A case that takes longer than [Config.CaseTimeout] fails and names the calls that are
// under way. The context of its calls ends. If it still goes on after that, it is left
// behind: the call that hangs stays under way up to the end of the process, but no later
// call of the case reaches a driver. The other cases go on, also if the driver hangs in
// every case: "go test" gets all results within its ten minutes. In a shared store a case
// that does not end, and the third one that takes too long, end the suite.
//
// A scan of a driver that yields 1,000 records more than there are keys fails the case
// and is broken off.
//
// # Reading a failure
//
//	--- FAIL: TestConformance/delete/none/absent (0.01s)
//	    conformance.go:66: delete.go:14: Delete: kv: delete "key" on mykv: not found
//	        rule: Delete without a condition removes the entry if there is one; deleting an absent key
//	        is no error. Here the key never had an entry (the version is of another store).
//
// The rule is what the provider broke. The place is the line of the case that saw
// it, in the file of the case's group; cases are short and can be read from there.
// "go test -run TestConformance/delete/none/absent" runs the case alone.
//
// A bug often fails many cases. Start with the groups in this order: info, keys,
// values, get, put, touch, delete, versions, expiry, scan, page, count, cursor, groups, batch,
// driver, update, atomic, json, errors, close, concurrency, context, faults. The later
// ones rely on what the earlier ones check.
//
// Some cases put a driver of their own between the store and yours: one that
// sends a write twice, as an SDK does after a lost response, one that loses a
// record of a scan, one that cancels the context on the way. They show in the
// names: response-lost, broken-off, damaged-entry, cancelled-on-the-way.
//
// The suite sees what calls return, and not what they leave behind: a goroutine
// that goes on fetching after the loop of a scan was broken off passes.
package conformance
