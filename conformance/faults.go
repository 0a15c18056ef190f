package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/skykv/skykv/kv"
)

// faultyWrite is a write of "key", for cases in which its requests fail.
type faultyWrite struct {
	name, words string
	before      string // the state of the key: "" (no entry), "live" or "expired"
	holds       bool   // whether the write's condition holds
	delete      bool
	run         func(t *trial, ctx context.Context, current, stale kv.Version) (kv.Version, error)
}

var faultyWrites = []faultyWrite{
	{name: "put", words: "an unconditional Put", before: "live", holds: true,
		run: func(t *trial, ctx context.Context, _, _ kv.Version) (kv.Version, error) {
			return t.putNew(ctx)
		}},
	{name: "put-if-not-exists", words: "a put-if-absent", holds: true,
		run: func(t *trial, ctx context.Context, _, _ kv.Version) (kv.Version, error) {
			return t.putNew(ctx, kv.IfNotExists())
		}},
	{name: "put-if-not-exists-expired", words: "a put-if-absent of an expired entry", before: "expired", holds: true,
		run: func(t *trial, ctx context.Context, _, _ kv.Version) (kv.Version, error) {
			return t.putNew(ctx, kv.IfNotExists())
		}},
	{name: "put-if-not-exists-live", words: "a put-if-absent of a key that has an entry", before: "live",
		run: func(t *trial, ctx context.Context, _, _ kv.Version) (kv.Version, error) {
			return t.putNew(ctx, kv.IfNotExists())
		}},
	{name: "put-if-version", words: "a compare-and-swap", before: "live", holds: true,
		run: func(t *trial, ctx context.Context, current, _ kv.Version) (kv.Version, error) {
			return t.putNew(ctx, kv.IfVersion(current))
		}},
	{name: "put-if-version-stale", words: "a compare-and-swap with an old version", before: "live",
		run: func(t *trial, ctx context.Context, _, stale kv.Version) (kv.Version, error) {
			return t.putNew(ctx, kv.IfVersion(stale))
		}},
	{name: "delete", words: "an unconditional Delete", before: "live", holds: true,
		delete: true, run: func(t *trial, ctx context.Context, _, _ kv.Version) (kv.Version, error) {
			return kv.Version{}, t.Delete(ctx, "key")
		}},
	{name: "delete-if-version", words: "a conditional Delete", before: "live", holds: true,
		delete: true, run: func(t *trial, ctx context.Context, current, _ kv.Version) (kv.Version, error) {
			return kv.Version{}, t.Delete(ctx, "key", kv.IfVersion(current))
		}},
	{name: "delete-if-version-stale", words: "a conditional Delete with an old version", before: "live",
		delete: true, run: func(t *trial, ctx context.Context, _, stale kv.Version) (kv.Version, error) {
			return kv.Version{}, t.Delete(ctx, "key", kv.IfVersion(stale))
		}},
}

// prepare brings "key" into the state that w.before names, and returns the write.
func (w faultyWrite) prepare(t *trial) func(context.Context) (kv.Version, error) {
	var current, stale kv.Version
	switch w.before {
	case "live":
		stale = t.put("key", "older")
		current = t.put("key", "old")
	case "expired":
		t.put("key", "old", kv.TTL(time.Second))
		t.clock.advance(time.Second)
	}
	return func(ctx context.Context) (kv.Version, error) { return w.run(t, ctx, current, stale) }
}

// putNew makes the Put of a faultyWrite.
func (t *trial) putNew(ctx context.Context, opts ...kv.PutOption) (kv.Version, error) {
	return t.Put(ctx, "key", []byte("new"), append(opts, kv.TTL(time.Hour))...)
}

// rule returns the text of the rule for this write under the trouble tr.
func (w faultyWrite) rule(tr trouble) string {
	says := "and the client retries it, the write succeeds"
	switch {
	case tr.fault == Hang:
		says = "the call ends at the deadline, and nothing is written"
	case tr.fault == Throttle && tr.always:
		says = "the call makes a limited number of attempts with pauses, returns ErrThrottled or ends at its deadline, and writes nothing"
	case tr.fault == Drop && tr.always:
		says = "the call returns ErrUnavailable or ends at its deadline, and nothing is written"
	case tr.fault == Lose && tr.always && w.holds:
		says = "the write is applied, and the error is ErrIndeterminate unless the client finds out the result"
	case tr.fault == Lose && tr.always:
		says = "the call does not succeed, and nothing is written"
	case tr.fault == Throttle && !w.holds:
		says = "and the client retries it, the error is ErrConditionFailed, and nothing is written"
	case !w.holds:
		says = "and the client retries it, the error is ErrConditionFailed or ErrIndeterminate, and nothing is written"
	case tr.fault == Lose && w.name == "delete-if-version":
		says = "the write is applied, and the error is ErrIndeterminate unless the client finds out the result"
	case tr.fault == Lose:
		says = "and the client retries it and finds its own write, the write succeeds. Without a retry the error is ErrIndeterminate"
	}
	return fmt.Sprintf(tr.words, w.words) + ", " + says + "."
}

func (w faultyWrite) test(t *trial, tr trouble) {
	call := w.prepare(t)
	was := t.situation()
	var version kv.Version
	requests, err := t.meet(tr.plan(true), func(ctx context.Context) (err error) { version, err = call(ctx); return err })
	is := t.situation()
	applied := is.exists && string(is.entry.Value) == "new"
	if w.delete {
		applied = was.exists && !is.exists
	}
	t.wantFate("the call", tr, fate{
		requests: requests, err: err, holds: w.holds, applied: applied, traceless: w.name == "delete-if-version",
	})
	switch {
	case err == nil && is.exists:
		t.wantEntry("Get", is.entry, "key", want{"new", version, t.clock.now().Add(time.Hour)})
	case err != nil && (!w.holds || tr.fault != Lose):
		t.wantUnchanged(was)
	}
}

// testMeanwhile loses the response to the write, and calls the function act before the client's
// retry. The function act stands for somebody else's write. If unknown is set, the store cannot
// know the result of its write, and must return ErrIndeterminate. Otherwise the write must
// succeed. Without a retry, the error may be ErrIndeterminate in both cases.
func (w faultyWrite) testMeanwhile(t *trial, act func(), unknown bool) {
	call := w.prepare(t)
	p := responseLost.plan(true)
	p.again = act
	requests, err := t.meet(p, func(ctx context.Context) error { _, err := call(ctx); return err })
	switch repeated := requests > 1; {
	case repeated && !unknown && err != nil:
		t.Errorf("the error is %v; want none", err)
	case repeated && unknown && !isUnknown(err):
		t.Errorf("the error is %v; want ErrIndeterminate", err)
	case !repeated && err != nil && !isUnknown(err):
		t.Errorf("the error of the call, which the client did not retry, is %v; want ErrIndeterminate", err)
	}
	if requests < 2 {
		act() // the checks after this function expect that act was called
	}
}

// testVersionAfterRetry loses the response to a write of "key", and calls act, which stands
// for somebody else's write, before the client's retry. If the retry stores the entry
// again, the entry must have a new version.
func testVersionAfterRetry(t *trial, act func(), write func(ctx context.Context) (kv.Version, error)) {
	var first, version kv.Version
	p := responseLost.plan(true)
	p.again = func() {
		first = t.get("key").Version
		act()
	}
	_, err := t.meet(p, func(ctx context.Context) (err error) { version, err = write(ctx); return err })
	if known(err) {
		t.Errorf("the error is %v, so nothing may be written, but it was", err)
	}
	if first.IsZero() {
		return // the client did not retry the write
	}
	is := t.situation()
	switch {
	case is.exists && is.entry.Version == first:
		t.Errorf("the entry that the retry stored again has its old version")
	case err == nil && !version.IsZero() && (!is.exists || is.entry.Version != version):
		t.Errorf("the version that the call returned is not the version of the entry that the retry stored again")
	}
	_, err = t.Put(t.ctx, "key", []byte("newer"), kv.IfVersion(first))
	t.wantError("a compare-and-swap with the version that was replaced", err, kv.ErrConditionFailed)
}

func versionAfterRetryCases() []testCase {
	const says = " the entry before the client retries it, the entry that the retry stores again has a new version, and a compare-and-swap with the first version fails."
	version := func(name, words, act string, do func(*trial), write func(*trial, context.Context) (kv.Version, error)) testCase {
		return rule("faults/"+name+"/version-after-retry", fmt.Sprintf(responseLost.words, words)+" and somebody else "+act+says, func(t *trial) {
			testVersionAfterRetry(t, func() { do(t) }, func(ctx context.Context) (kv.Version, error) { return write(t, ctx) })
		})
	}
	return []testCase{
		version("put", "an unconditional Put", "replaces", func(t *trial) { t.put("key", "somebody else's") },
			func(t *trial, ctx context.Context) (kv.Version, error) { return t.putNew(ctx) }),
		version("put-if-not-exists", "a put-if-absent", "deletes", func(t *trial) { t.delete("key") },
			func(t *trial, ctx context.Context) (kv.Version, error) { return t.putNew(ctx, kv.IfNotExists()) }),
		version("put-many", "a PutMany", "replaces", func(t *trial) { t.put("key", "somebody else's") },
			func(t *trial, ctx context.Context) (kv.Version, error) {
				versions, err := t.PutMany(ctx, []kv.Item{{Key: "key", Value: []byte("new")}})
				return versions["key"], err
			}),
	}
}

func faultyWriteCases() []testCase {
	var cases []testCase
	for _, w := range faultyWrites {
		for _, tr := range troubles {
			cases = append(cases, rule("faults/"+w.name+"/"+tr.name, w.rule(tr), func(t *trial) { w.test(t, tr) }))
		}
		if !w.holds || w.name == "put" || w.name == "delete" {
			continue
		}
		lost := fmt.Sprintf(responseLost.words, w.words)
		cases = append(cases, rule("faults/"+w.name+"/replaced-before-retry",
			lost+" and somebody else replaces the entry before the client retries it, the error is ErrIndeterminate, and the other entry stays.",
			func(t *trial) {
				w.testMeanwhile(t, func() { t.put("key", "somebody else's") }, true)
				t.wantValue("key", "somebody else's")
			}))
		switch {
		case w.delete:
			// Here the request is lost, not the response. After a lost response the entry
			// would already be deleted, so nobody else could delete it.
			cases = append(cases, rule("faults/"+w.name+"/deleted-before-retry",
				fmt.Sprintf(requestLost.words, w.words)+" and somebody else deletes the entry before the client retries it, the error is ErrIndeterminate or ErrConditionFailed, because only one of several such Deletes may succeed.",
				func(t *trial) {
					call := w.prepare(t)
					version := t.get("key").Version
					p := requestLost.plan(true)
					p.again = func() { t.delete("key", kv.IfVersion(version)) }
					requests, err := t.meet(p, func(ctx context.Context) error { _, err := call(ctx); return err })
					if requests > 1 && !isFailed(err) && !isUnknown(err) {
						t.Errorf("the error is %v; want ErrIndeterminate or ErrConditionFailed", err)
					}
				}))
		case w.name == "put-if-version":
			cases = append(cases, rule("faults/"+w.name+"/deleted-before-retry",
				lost+" and somebody else deletes the entry before the client retries it, the error is ErrIndeterminate, and the entry does not come back.",
				func(t *trial) {
					w.testMeanwhile(t, func() { t.delete("key") }, true)
					t.wantAbsent("key")
				}))
		default:
			cases = append(cases, rule("faults/"+w.name+"/deleted-before-retry",
				lost+" and somebody else deletes the entry before the client retries it, the put is applied again and succeeds.",
				func(t *trial) {
					repeated := false
					w.testMeanwhile(t, func() { t.delete("key"); repeated = true }, false)
					if repeated && t.situation().exists {
						t.wantValue("key", "new")
					}
				}))
		}
	}
	return cases
}

// testBatchWrite makes the requests of a batch of writes fail, and checks the entries
// afterwards. The arguments before and after are the values that each entry has before and
// after its write; "" means no entry. The function write makes the batch, and returns the
// versions if the batch is a PutMany.
func testBatchWrite(t *trial, tr trouble, before, after string, write func(ctx context.Context, keys []string) (map[string]kv.Version, error)) {
	keys := numbered("key:", 120)
	if before != "" {
		items := make([]kv.Item, len(keys))
		for i, key := range keys {
			items[i] = kv.Item{Key: key, Value: []byte(before)}
		}
		t.fill(items...)
	}
	var versions map[string]kv.Version
	requests, err := t.meet(tr.plan(true), func(ctx context.Context) (err error) { versions, err = write(ctx, keys); return err })
	// On a busy machine the deadline may pass before the batch has begun.
	if _, partial := errors.AsType[*kv.BatchError](err); err != nil && !partial && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v; want a *BatchError with the keys", err)
		return
	}
	entries := t.getMany(keys...)
	var stored []string
	for _, key := range keys {
		value, failure := string(entries[key].Value), errorOf(err, key)
		if failure == nil {
			stored = append(stored, key)
		}
		if value != before && value != after {
			t.Fatalf("%s has the value %q", key, value)
		}
		if !t.wantTrue("the write of "+key, failure, true, value == after) {
			return // the other keys probably fail for the same reason
		}
		switch {
		case tr.always && tr.fault != Lose:
			t.wantTrouble("the write of "+key, tr, failure)
		case failure != nil && tr.fault == Throttle:
			t.wantError("the write of "+key, failure, kv.ErrThrottled)
		}
	}
	if after != "" {
		t.wantVersions(versions, stored...)
	}
	unchanged := 0 // number of entries before the batch
	if before != "" {
		unchanged = len(keys)
	}
	if tr.always && tr.fault != Lose && len(entries) != unchanged {
		t.Errorf("%d of %d keys have an entry, and %d had one; no request reached the service", len(entries), len(keys), unchanged)
	}
	if requests == 0 && !tr.always {
		t.Errorf("the batch sent no request that writes")
	}
}

func faultyBatchCases() []testCase {
	var cases []testCase
	for _, tr := range troubles {
		names := "every key whose write may not have been applied has a correct error, and every other key was written, with the returned version if there is one."
		cases = append(cases,
			rule("faults/put-many/"+tr.name, fmt.Sprintf(tr.words, "a PutMany")+", "+names, func(t *trial) {
				testBatchWrite(t, tr, "", "new", func(ctx context.Context, keys []string) (map[string]kv.Version, error) {
					items := make([]kv.Item, len(keys))
					for i, key := range keys {
						items[i] = kv.Item{Key: key, Value: []byte("new")}
					}
					return t.PutMany(ctx, items)
				})
			}),
			rule("faults/put-many-if-not-exists/"+tr.name, fmt.Sprintf(tr.words, "a PutMany with IfNotExists, also over expired entries")+", "+names, func(t *trial) {
				t.fillWithExpired(nil, numbered("key:", 60))
				testBatchWrite(t, tr, "", "new", func(ctx context.Context, keys []string) (map[string]kv.Version, error) {
					items := make([]kv.Item, len(keys))
					for i, key := range keys {
						items[i] = kv.Item{Key: key, Value: []byte("new"), IfNotExists: true, TTL: time.Hour}
					}
					return t.PutMany(ctx, items)
				})
			}),
			rule("faults/delete-many/"+tr.name, fmt.Sprintf(tr.words, "a DeleteMany")+", "+names, func(t *trial) {
				testBatchWrite(t, tr, "old", "", func(ctx context.Context, keys []string) (map[string]kv.Version, error) {
					return nil, t.DeleteMany(ctx, keys)
				})
			}),
		)
		if !tr.always || tr.fault == Lose {
			cases = append(cases, rule("faults/delete-prefix-writes/"+tr.name, fmt.Sprintf(tr.words, "the writes of a DeletePrefix")+", "+names, func(t *trial) {
				testBatchWrite(t, tr, "old", "", func(ctx context.Context, keys []string) (map[string]kv.Version, error) {
					n, err := t.DeletePrefix(ctx, "key:")
					if err == nil && n != len(keys) {
						t.Errorf("DeletePrefix removed %d entries; want %d", n, len(keys))
					}
					return nil, err
				})
			}))
		}
		if !slices.Contains(readTroubles, tr) {
			continue
		}
		cases = append(cases,
			rule("faults/get-many/"+tr.name, fmt.Sprintf(tr.words, "a GetMany")+", every key has either its entry or an error.", func(t *trial) {
				testGetMany(t, tr)
			}),
			rule("faults/delete-prefix/"+tr.name, fmt.Sprintf(tr.words, "the reads of a DeletePrefix")+", DeletePrefix returns an error, or has removed everything.", func(t *trial) {
				keys := numbered("key:", 50)
				t.fillKeys(keys...)
				n := 0
				_, err := t.meet(tr.plan(false), func(ctx context.Context) (err error) { n, err = t.DeletePrefix(ctx, "key:"); return err })
				switch {
				case tr.always:
					t.wantTrouble("DeletePrefix", tr, err)
					t.wantContent(keys...)
				case err == nil:
					t.wantContent()
					if n != len(keys) {
						t.Errorf("DeletePrefix removed %d entries; want %d", n, len(keys))
					}
				default:
					t.wantPassing("DeletePrefix", tr, err)
				}
			}),
		)
	}
	return cases
}

func testGetMany(t *trial, tr trouble) {
	keys := numbered("key:", 120)
	t.fillKeys(keys[:60]...)
	var entries map[string]kv.Entry
	_, err := t.meet(tr.plan(false), func(ctx context.Context) (err error) { entries, err = t.GetMany(ctx, keys); return err })
	batch, partial := errors.AsType[*kv.BatchError](err)
	for i, key := range keys {
		e, ok := entries[key]
		failed := err != nil && (!partial || batch.Failed[key] != nil)
		switch {
		case ok && (i >= 60 || string(e.Value) != key):
			t.Fatalf("GetMany of %s returned the value %s", key, short(string(e.Value)))
		case ok && failed:
			t.Fatalf("GetMany of %s returned an entry and an error", key)
		case !ok && !failed && i < 60:
			t.Fatalf("GetMany of %s returned neither an entry nor an error: %v", key, err)
		case !failed:
		case tr.always:
			t.wantTrouble("GetMany, of "+key, tr, errorOf(err, key))
		default:
			t.wantPassing("GetMany, of "+key, tr, errorOf(err, key))
		}
	}
	if tr.always && err == nil {
		t.Errorf("GetMany: no error; want one, since no request reached the service")
	}
}

// errorOf returns the error that a batch had for key. If err is not a *kv.BatchError, it is
// the error of all keys.
func errorOf(err error, key string) error {
	if batch, ok := errors.AsType[*kv.BatchError](err); ok {
		return batch.Failed[key]
	}
	return err
}

// readTroubles are the troubles of calls that read. requestLost is not among them, because
// to a reader a lost request looks like a lost response.
var readTroubles = []trouble{responseLost, throttled, everyRequestLost, alwaysThrottled, unanswered}

func faultyReadCases() []testCase {
	var cases []testCase
	for _, tr := range readTroubles {
		rest := ", the call returns the right result or an error. It never reports an entry that exists as absent."
		cases = append(cases,
			rule("faults/get/"+tr.name, fmt.Sprintf(tr.words, "a Get")+rest, func(t *trial) {
				t.put("key", "value")
				var e kv.Entry
				requests, err := t.meet(tr.plan(false), func(ctx context.Context) (err error) { e, err = t.Get(ctx, "key"); return err })
				t.wantRead("Get", tr, requests, err, string(e.Value) == "value")
			}),
			rule("faults/exists/"+tr.name, fmt.Sprintf(tr.words, "an Exists")+rest, func(t *trial) {
				t.put("key", "value")
				ok := false
				requests, err := t.meet(tr.plan(false), func(ctx context.Context) (err error) { ok, err = t.Exists(ctx, "key"); return err })
				t.wantRead("Exists", tr, requests, err, ok)
			}),
			rule("faults/count/"+tr.name, fmt.Sprintf(tr.words, "a Count")+rest, func(t *trial) {
				t.fillKeys("key::a", "key::b", "other")
				s := t.opened.With(kv.Clock(t.clock.now)) // without the observer, so that the driver counts
				n := 0
				_, err := t.meet(tr.plan(false), func(ctx context.Context) (err error) { n, err = s.Count(ctx, "key::"); return err })
				switch {
				case tr.always:
					t.wantTrouble("Count", tr, err)
				case err != nil:
					t.wantPassing("Count", tr, err)
				case n != 2:
					t.Errorf("Count = %d; want 2", n)
				}
			}),
			rule("faults/scan/"+tr.name, fmt.Sprintf(tr.words, "a Scan")+", the scan is complete and in order, or ends with an error at the position that it has reached.", func(t *trial) {
				testFaultyScan(t, tr, tr.plan(false), 150)
			}),
			rule("faults/page/"+tr.name, fmt.Sprintf(tr.words, "a ScanPage")+", the cursor that it returns continues without a gap.", func(t *trial) {
				testFaultyPages(t, tr)
			}),
		)
	}
	late := trouble{"later-response-lost", Lose, false, "When the third response to %s is lost"}
	cases = append(cases, rule("faults/scan/"+late.name, fmt.Sprintf(late.words, "a Scan")+", the scan is complete and in order, or ends with an error at the position that it has reached.", func(t *trial) {
		p := late.plan(false)
		p.faults = []Fault{Pass, Pass, Lose}
		testFaultyScan(t, late, p, 1400) // more than two pages of one shard
	}))
	return cases
}

// wantRead checks the result of a read of one entry that exists. The argument right says whether
// the read returned the entry.
func (t *trial) wantRead(what string, tr trouble, requests int, err error, right bool) {
	t.wantBounded(tr, requests)
	switch {
	case tr.always:
		t.wantTrouble(what, tr, err)
	case requests > 1 && err != nil:
		t.Errorf("%s: the error is %v, although the client retried the request; want none", what, err)
	case err != nil:
		t.wantPassing(what+", which the client did not retry", tr, err)
	case !right:
		t.Errorf("%s: the result is wrong", what)
	}
	if errors.Is(err, kv.ErrIndeterminate) {
		t.Errorf("%s: the error %v matches ErrIndeterminate, which is for writes", what, err)
	}
}

// wantNext checks that entries have the keys keys[at], keys[at+1] and so on. It returns the
// index of the key that must come next.
func (t *trial) wantNext(how string, entries []kv.Entry, keys []string, at int) int {
	for _, e := range entries {
		if at == len(keys) || e.Key != keys[at] || string(e.Value) != e.Key {
			t.Fatalf("%s: entry %d is %s; want every entry once, in order", how, at, short(e.Key))
		}
		at++
	}
	return at
}

func testFaultyScan(t *trial, tr trouble, p plan, n int) {
	keys := numbered("key:", n)
	t.fillKeys(keys...)
	got := 0
	requests, err := t.meet(p, func(ctx context.Context) error {
		for e, err := range t.Scan(ctx, "key:") {
			if err != nil {
				return err
			}
			got = t.wantNext("Scan", []kv.Entry{e}, keys, got)
		}
		return nil
	})
	switch {
	case tr.always:
		t.wantTrouble("Scan", tr, err)
	case err == nil && got != len(keys):
		t.Errorf("Scan ended without an error after %d of %d entries", got, len(keys))
	case err != nil && strings.HasPrefix(tr.name, "later") && requests < 3:
		t.Errorf("Scan: %v, although no request failed", err)
	case err != nil:
		t.wantPassing("Scan", tr, err)
	}
}

func testFaultyPages(t *trial, tr trouble) {
	keys := numbered("key:", 150)
	t.fillKeys(keys...)
	got := 0
	var page kv.Page
	_, err := t.meet(tr.plan(false), func(ctx context.Context) (err error) { page, err = t.ScanPage(ctx, "key:", 40, ""); return err })
	switch {
	case tr.always:
		t.wantTrouble("ScanPage", tr, err)
	case err != nil:
		t.wantPassing("ScanPage", tr, err)
	case len(page.Entries) != 40:
		t.Errorf("ScanPage returned %d entries without an error; want 40", len(page.Entries))
	}
	got = t.wantNext("ScanPage", page.Entries, keys, got)
	for page.Next != "" || got == 0 {
		page = t.page("key:", 40, page.Next)
		got = t.wantNext("ScanPage", page.Entries, keys, got)
	}
	if got != len(keys) {
		t.Errorf("the pages have %d entries; want %d", got, len(keys))
	}
}
