package kv_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// reserving wraps a driver so that it cannot store the key "ns:.". It counts the calls that
// reach the driver.
func reserving(calls *int) kv.StoreOption {
	return kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver {
		info := d.Info()
		info.Name, info.ReservedKey = "reserving", func(key string) bool { return key == "ns:." }
		return &observing{described{d, info}, calls}
	})
}

type observing struct {
	described
	calls *int
}

func (d *observing) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	*d.calls++
	return d.Driver.Get(ctx, req)
}

func (d *observing) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	*d.calls++
	return d.Driver.Write(ctx, req)
}

func (d *observing) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	*d.calls++
	return d.Driver.WriteMany(ctx, req)
}

func (d *observing) WriteAtomic(ctx context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	*d.calls++
	return d.Driver.WriteAtomic(ctx, req)
}

// The rule: a read or a write of a key that the driver cannot store returns ErrInvalidKey,
// before any I/O and with the driver's name. Such a key may be a prefix or a bound of a scan.
// In a namespace, the key as it is stored decides, with the namespace's prefix.
func TestReservedKey(t *testing.T) {
	t.Parallel()
	ctx, calls := t.Context(), 0
	store := memkv.New().With(reserving(&calls))
	ns := namespace(t, store, "ns:")
	for name, view := range map[string]struct {
		store    *kv.Store
		reserved string
		legal    string
	}{
		"the store":    {store, "ns:.", "."},
		"a namespace":  {ns, ".", "ns:."},
		"a middleware": {ns.With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return d })), ".", "ns:."},
	} {
		s, key := view.store, view.reserved
		for op, call := range map[string]func() error{
			"Get":        func() error { _, err := s.Get(ctx, key); return err },
			"Exists":     func() error { _, err := s.Exists(ctx, key); return err },
			"Put":        func() error { _, err := s.Put(ctx, key, nil); return err },
			"Touch":      func() error { _, err := s.Touch(ctx, key, kv.TTL(time.Hour)); return err },
			"Delete":     func() error { return s.Delete(ctx, key) },
			"GetMany":    func() error { _, err := s.GetMany(ctx, []string{"a", key}); return err },
			"PutMany":    func() error { _, err := s.PutMany(ctx, []kv.Item{{Key: "a"}, {Key: key}}); return err },
			"DeleteMany": func() error { return s.DeleteMany(ctx, []string{"a", key}) },
			"Increment":  func() error { _, err := s.Increment(ctx, key, 1); return err },
			"AtomicWrite": func() error {
				_, err := s.AtomicWrite(ctx, kv.PutOp(key, nil))
				return err
			},
		} {
			calls = 0
			if err := call(); !errors.Is(err, kv.ErrInvalidKey) || !strings.Contains(err.Error(), "reserving") || calls != 0 {
				t.Errorf("rule: a reserved key is ErrInvalidKey before any I/O, with the driver's name; %s in %s: %v, after %d calls", op, name, err, calls)
			}
		}
		if _, err := s.Put(ctx, view.legal, nil); err != nil {
			t.Errorf("rule: the key as it is stored decides; Put of %q in %s: %v", view.legal, name, err)
		}
		var keys []string
		for e, err := range s.Scan(ctx, key, kv.From(key)) {
			if err != nil {
				t.Errorf("rule: a reserved key may be a prefix and a bound; a scan in %s: %v", name, err)
			}
			keys = append(keys, e.Key)
		}
		if slices.Contains(keys, key) {
			t.Errorf("a scan in %s yields %q", name, keys)
		}
	}
}
