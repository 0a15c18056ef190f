package conformance

import (
	"context"
	"errors"
	"sync"

	"github.com/skykv/skykv/kv"
)

// An operation is one method of the store, called as it should succeed where all
// there is is an entry under "key", of version v and with the value "old".
type operation struct {
	name string
	call func(ctx context.Context, s store, v kv.Version) error // errWrong is for a wrong answer

	// writes: the operation changes "key", or stores "new".
	writes bool
}

var errWrong = errors.New("no error, and the answer is wrong")

// answered is err, or errWrong when there is none and the answer is not right.
func answered(right bool, err error) error {
	if err == nil && !right {
		return errWrong
	}
	return err
}

var operations = []operation{
	{"get", func(ctx context.Context, s store, _ kv.Version) error {
		e, err := s.Get(ctx, "key")
		return answered(string(e.Value) == "old", err)
	}, false},
	{"exists", func(ctx context.Context, s store, _ kv.Version) error {
		ok, err := s.Exists(ctx, "key")
		return answered(ok, err)
	}, false},
	{"get-many", func(ctx context.Context, s store, _ kv.Version) error {
		entries, err := s.GetMany(ctx, []string{"key", "absent"})
		return answered(len(entries) == 1 && string(entries["key"].Value) == "old", err)
	}, false},
	{"scan", func(ctx context.Context, s store, _ kv.Version) error {
		n := 0
		for e, err := range s.Scan(ctx, "") {
			if err != nil {
				return err
			}
			if n++; string(e.Value) != "old" {
				return errWrong
			}
		}
		return answered(n == 1, nil)
	}, false},
	{"scan-page", func(ctx context.Context, s store, _ kv.Version) error {
		page, err := s.ScanPage(ctx, "", 100, "")
		return answered(len(page.Entries) == 1 && string(page.Entries[0].Value) == "old" && page.Next == "", err)
	}, false},
	{"put", func(ctx context.Context, s store, _ kv.Version) error {
		_, err := s.Put(ctx, "key", []byte("new"))
		return err
	}, true},
	{"put-if-not-exists", func(ctx context.Context, s store, _ kv.Version) error {
		_, err := s.Put(ctx, "new", []byte("new"), kv.IfNotExists())
		return err
	}, true},
	{"put-if-version", func(ctx context.Context, s store, v kv.Version) error {
		_, err := s.Put(ctx, "key", []byte("new"), kv.IfVersion(v))
		return err
	}, true},
	{"delete", func(ctx context.Context, s store, _ kv.Version) error { return s.Delete(ctx, "key") }, true},
	{"delete-if-version", func(ctx context.Context, s store, v kv.Version) error { return s.Delete(ctx, "key", kv.IfVersion(v)) }, true},
	{"put-many", func(ctx context.Context, s store, _ kv.Version) error {
		return s.PutMany(ctx, []kv.Item{{Key: "key", Value: []byte("new")}, {Key: "new"}})
	}, true},
	{"delete-many", func(ctx context.Context, s store, _ kv.Version) error {
		return s.DeleteMany(ctx, []string{"key", "absent"})
	}, true},
	{"delete-prefix", func(ctx context.Context, s store, _ kv.Version) error {
		n, err := s.DeletePrefix(ctx, "key")
		return answered(n == 1, err)
	}, true},
}

func closeCases() []testCase {
	var cases []testCase
	for _, op := range operations {
		cases = append(cases, rule("close/then-"+op.name,
			"Every operation of a closed store is ErrClosed and does not reach the driver.",
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
			"An operation that is on its way to the service when the store is closed gives the right answer or ErrClosed, never an absence that is none.",
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
					t.Errorf("the operation: %v; want the right answer, or an error that matches ErrClosed", err)
				}
			}))
	}
	return append(cases,
		rule("close/twice",
			"Close may be called again, at the same time too, and returns nil.",
			func(t *trial) {
				t.put("key", "value")
				for _, err := range atOnce(8, func(int) error { return t.Close() }) {
					if err != nil {
						t.Errorf("Close, one of eight: %v", err)
					}
				}
				if err := t.Close(); err != nil {
					t.Errorf("the last Close: %v", err)
				}
			}),
		rule("close/with-derived",
			"A store and those that With made of it close together, whichever is closed.",
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
			"A scan that is under way when the store is closed ends with ErrClosed, not as if it were complete.",
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
			"A store can be closed without having been used.",
			func(t *trial) {
				if err := t.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			}),
	)
}
