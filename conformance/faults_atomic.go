package conformance

import (
	"context"
	"fmt"
	"time"

	"github.com/skykv/skykv/kv"
)

// faultyAtomicCases make the requests of an AtomicWrite fail.
func faultyAtomicCases() []testCase {
	var cases []testCase
	for _, tr := range troubles {
		cases = append(cases,
			atomicRule("faults/atomic/"+tr.name,
				fmt.Sprintf(tr.words, "an AtomicWrite")+", all of it or nothing is applied. After a success all of it is applied. After an error that does not match ErrIndeterminate nothing is.",
				func(t *trial) { testFaultyAtomic(t, tr) }),
			atomicRule("faults/atomic-refused/"+tr.name,
				fmt.Sprintf(tr.words, "an AtomicWrite with a condition that fails")+", nothing is written, and the call does not succeed.",
				func(t *trial) {
					v := t.put("g::a", "old")
					t.put("g::a", "newer")
					requests, err := t.meet(tr.plan(true), func(ctx context.Context) error {
						_, err := t.AtomicWrite(ctx, kv.PutOp("g::a", []byte("new"), kv.IfVersion(v)), kv.PutOp("g::b", []byte("new")))
						return err
					})
					t.wantFate("the AtomicWrite", tr, fate{requests: requests, err: err})
					t.wantValue("g::a", "newer")
					t.wantContent("g::a")
				}))
	}
	return cases
}

func testFaultyAtomic(t *trial, tr trouble) {
	a, gone := t.put("g::a", "old"), t.put("g::gone", "old")
	t.put("g::expired", "old", kv.TTL(time.Second))
	t.clock.advance(time.Second)
	var versions []kv.Version
	requests, err := t.meet(tr.plan(true), func(ctx context.Context) (err error) {
		versions, err = t.AtomicWrite(ctx, kv.PutOp("g::a", []byte("new"), kv.IfVersion(a)), kv.PutOp("g::b", []byte("new"), kv.IfNotExists()),
			kv.PutOp("g::expired", []byte("new"), kv.IfNotExists()), kv.DeleteOp("g::gone", kv.IfVersion(gone)))
		return err
	})
	entries := t.getMany("g::a", "g::b", "g::expired", "g::gone")
	applied := string(entries["g::a"].Value) == "new"
	for key, is := range map[string]bool{
		"g::b": entries["g::b"].Value != nil, "g::expired": entries["g::expired"].Value != nil, "g::gone": entries["g::gone"].Value == nil,
	} {
		if is != applied {
			t.Errorf("the write of %s was applied: %v; the write of g::a: %v", key, is, applied)
		}
	}
	t.wantFate("the AtomicWrite", tr, fate{requests: requests, err: err, holds: true, applied: applied})
	if err == nil && (len(versions) != 4 || versions[0] != entries["g::a"].Version || versions[1] != entries["g::b"].Version) {
		t.Errorf("the versions are not the versions of the entries")
	}
}
