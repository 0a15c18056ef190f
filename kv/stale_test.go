package kv_test

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"testing"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// staleness notes which requests permit stale reads.
type staleness struct {
	kv.Driver
	seen map[string]bool
}

func (d *staleness) note(method string, stale bool) { d.seen[fmt.Sprint(method, " ", stale)] = true }

func (d *staleness) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	d.note("Get", req.Stale)
	return d.Driver.Get(ctx, req)
}

func (d *staleness) GetMany(ctx context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	d.note("GetMany", req.Stale)
	return d.Driver.GetMany(ctx, req)
}

func (d *staleness) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	d.note("Scan", req.Stale)
	return d.Driver.Scan(ctx, req)
}

func TestStaleReads(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for _, c := range []struct {
		name string
		call func(s *kv.Store) error
		want string // the only request of the call in a stale view, as staleness.note writes it
	}{
		{"Get", func(s *kv.Store) error { _, err := s.Get(ctx, "key"); return err }, "Get true"},
		{"Exists", func(s *kv.Store) error { _, err := s.Exists(ctx, "key"); return err }, "Get true"},
		{"GetMany", func(s *kv.Store) error { _, err := s.GetMany(ctx, []string{"key"}); return err }, "GetMany true"},
		{"ScanPage", func(s *kv.Store) error { _, err := s.ScanPage(ctx, "", 1, ""); return err }, "Scan true"},
		{"Scan", func(s *kv.Store) error {
			for _, err := range s.Scan(ctx, "") {
				return err
			}
			return nil
		}, "Scan true"},
		{"Update", func(s *kv.Store) error {
			_, err := s.Update(ctx, "key", func(kv.Entry, bool) (kv.Change, error) { return kv.Change{Leave: true}, nil })
			return err
		}, "Get false"},
		{"DeletePrefix", func(s *kv.Store) error { _, err := s.DeletePrefix(ctx, "key"); return err }, "Scan false"},
	} {
		d := &staleness{seen: make(map[string]bool)}
		store := memkv.New().With(kv.Wrap(kv.Level1, func(inner kv.Driver) kv.Driver { d.Driver = inner; return d }), kv.Stale())
		if _, err := store.Put(ctx, "key", nil); err != nil {
			t.Fatal(err)
		}
		namespace, err := store.Namespace("k")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := namespace.Get(ctx, "ey"); err != nil || !d.seen["Get true"] {
			t.Errorf("rule: a namespace of a stale view is stale too; got %v, %v", d.seen, err)
		}
		clear(d.seen)
		if err := c.call(store); err != nil || !maps.Equal(d.seen, map[string]bool{c.want: true}) {
			t.Errorf("rule: only the reads of a stale view may be stale; %s requests %v, %v", c.name, slices.Sorted(maps.Keys(d.seen)), err)
		}
	}
}
