package conformance

import (
	"errors"
	"sync"

	"github.com/skykv/skykv/kv"
)

func closeCases() []testCase {
	var cases []testCase
	for _, op := range operations {
		cases = append(cases, rule("close/then-"+op.name,
			"Every operation of a closed store returns ErrClosed and does not reach the driver.",
			func(t *trial) {
				v := t.put("key", "old")
				if err := t.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
				t.wantRefused("the operation after Close", kv.ErrClosed, func() error { return op.call(t.ctx, t.store, v) })
			}))
	}
	for _, op := range operations {
		cases = append(cases, rule("close/on-the-way/"+op.name,
			"An operation that runs when the store is closed returns the right result or ErrClosed. It never reports an entry that exists as absent.",
			func(t *trial) {
				v := t.put("key", "old")
				t.driver.before = sync.OnceFunc(func() {
					if err := t.Close(); err != nil {
						t.Errorf("Close: %v", err)
					}
				})
				err := op.call(t.ctx, t.store, v)
				t.driver.before = nil
				if err != nil && !errors.Is(err, kv.ErrClosed) {
					t.Errorf("the operation: %v; want the right result, or an error that matches ErrClosed", err)
				}
			}))
	}
	return append(cases,
		rule("close/twice",
			"Close may be called several times, even concurrently, and returns nil.",
			func(t *trial) {
				t.put("key", "value")
				for _, err := range atOnce(8, func(int) error { return t.Close() }) {
					if err != nil {
						t.Errorf("one of eight concurrent Closes: %v", err)
					}
				}
				if err := t.Close(); err != nil {
					t.Errorf("the last Close: %v", err)
				}
			}),
		rule("close/with-derived",
			"A store and the stores that With derived from it close together, whichever is closed.",
			func(t *trial) {
				derived := t.with(kv.Wrap(kv.Level1, named("another-provider")))
				t.put("key", "value")
				if err := derived.Close(); err != nil {
					t.Errorf("Close of the derived store: %v", err)
				}
				_, err := t.Get(t.ctx, "key")
				t.wantError("Get of the store it was derived from", err, kv.ErrClosed)
				_, err = derived.Get(t.ctx, "key")
				t.wantError("Get of the derived store", err, kv.ErrClosed)
				if err := t.Close(); err != nil {
					t.Errorf("Close of the store it was derived from: %v", err)
				}
			}),
		rule("close/during-scan",
			"A scan that runs when the store is closed ends with ErrClosed, not as if it were complete.",
			func(t *trial) {
				t.fillKeys(numbered("key:", 50)...)
				n := 0
				var last error
				for _, err := range t.Scan(t.ctx, "") {
					n++
					last = err
					if n == 2 {
						if err := t.Close(); err != nil {
							t.Errorf("Close: %v", err)
						}
					}
				}
				t.wantError("Scan", last, kv.ErrClosed)
				if n > 3 {
					t.Errorf("Scan yields %d times; want 2 entries and the error", n)
				}
			}),
		rule("close/unused",
			"A store can be closed before any use.",
			func(t *trial) {
				if err := t.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			}),
	)
}
