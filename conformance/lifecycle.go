package conformance

import (
	"context"

	"github.com/skykv/skykv/kv"
)

// An operation is one method of the store, called as it should succeed where
// there is an entry under "key", of version v, and "key" is the prefix of others.
type operation struct {
	name string
	call func(ctx context.Context, s store, v kv.Version) error

	// writes: the operation changes "key", or stores "new".
	writes bool
}

var operations = []operation{
	{"get", func(ctx context.Context, s store, _ kv.Version) error { _, err := s.Get(ctx, "key"); return err }, false},
	{"exists", func(ctx context.Context, s store, _ kv.Version) error { _, err := s.Exists(ctx, "key"); return err }, false},
	{"get-many", func(ctx context.Context, s store, _ kv.Version) error {
		_, err := s.GetMany(ctx, []string{"key", "absent"})
		return err
	}, false},
	{"scan", func(ctx context.Context, s store, _ kv.Version) error {
		for _, err := range s.Scan(ctx, "") {
			if err != nil {
				return err
			}
		}
		return nil
	}, false},
	{"scan-page", func(ctx context.Context, s store, _ kv.Version) error {
		_, err := s.ScanPage(ctx, "", 100, "")
		return err
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
		_, err := s.DeletePrefix(ctx, "key")
		return err
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
				derived := t.with(kv.Wrap(named("another-provider")))
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
