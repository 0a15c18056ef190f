package kv_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// PutMany writes an item with a condition as Put does with the same condition.
func TestPutManyConditions(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	store := memkv.New().With(kv.Clock(func() time.Time { return now }))
	put := func(key, value string, opts ...kv.PutOption) kv.Version {
		v, err := store.Put(t.Context(), key, []byte(value), opts...)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	put("taken", "old")
	put("expired", "old", kv.TTL(time.Second))
	current, old := put("current", "old"), put("changed", "old")
	put("changed", "newer")
	ends := put("ends", "old", kv.TTL(time.Second))
	now = now.Add(time.Second)
	_, err := store.PutMany(t.Context(), []kv.Item{
		{Key: "taken", Value: []byte("new"), IfNotExists: true},
		{Key: "absent", Value: []byte("new"), IfNotExists: true},
		{Key: "expired", Value: []byte("new"), IfNotExists: true, TTL: time.Hour},
		{Key: "current", Value: []byte("new"), IfVersion: current},
		{Key: "changed", Value: []byte("new"), IfVersion: old},
		{Key: "ends", Value: []byte("new"), IfVersion: ends},
		{Key: "plain", Value: []byte("new")},
	})
	batch, ok := err.(*kv.BatchError)
	if !ok {
		t.Fatalf("rule: failed conditions are in a *BatchError; got %v", err)
	}
	var failed []string
	for key, err := range batch.Failed {
		if failed = append(failed, key); !errors.Is(err, kv.ErrConditionFailed) || errors.Is(err, kv.ErrIndeterminate) {
			t.Errorf("rule: a condition that fails is ErrConditionFailed; the error of %s is %v", key, err)
		}
	}
	if slices.Sort(failed); !slices.Equal(failed, []string{"changed", "ends", "taken"}) {
		t.Errorf("rule: the items whose conditions do not hold fail; %q failed", failed)
	}
	for key, want := range map[string]string{"taken": "old", "absent": "new", "expired": "new", "current": "new", "changed": "newer", "plain": "new"} {
		if e, err := store.Get(t.Context(), key); string(e.Value) != want || err != nil {
			t.Errorf("rule: an item is stored if its condition holds; %s has %s, %v, want %s", key, e.Value, err, want)
		}
	}
}

func TestPutManyRefusesConditions(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	v, err := store.Put(t.Context(), "a", nil)
	if err != nil {
		t.Fatal(err)
	}
	ended, err := store.Put(t.Context(), "c", nil, kv.TTL(time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Millisecond)
	for name, c := range map[string]struct {
		items []kv.Item
		want  error
	}{
		"two conditions":            {[]kv.Item{{Key: "a", IfNotExists: true, IfVersion: v}}, kv.ErrInvalidOption},
		"a version of another":      {[]kv.Item{{Key: "b", IfVersion: v}}, kv.ErrInvalidVersion},
		"two items, the second":     {[]kv.Item{{Key: "b"}, {Key: "b", IfNotExists: true}}, kv.ErrInvalidOption},
		"two items, the first":      {[]kv.Item{{Key: "b", IfNotExists: true}, {Key: "b"}}, kv.ErrInvalidOption},
		"two items, an old version": {[]kv.Item{{Key: "c"}, {Key: "c", IfVersion: ended}}, kv.ErrInvalidOption},
		"an invalid item as well":   {[]kv.Item{{Key: "a", IfVersion: v}, {Key: "no key"}}, kv.ErrInvalidKey},
	} {
		if _, err := store.PutMany(t.Context(), c.items); !errors.Is(err, c.want) {
			t.Errorf("rule: one invalid item makes the whole batch fail; %s returns %v, want %v", name, err, c.want)
		}
	}
	if e, err := store.Get(t.Context(), "a"); e.Version != v || err != nil {
		t.Errorf("rule: a refused batch writes nothing; got %+v, %v", e, err)
	}
}

// PutMany recognises its own writes after lost responses, as Put does.
func TestPutManyConditionsUnderLoss(t *testing.T) {
	t.Parallel()
	data := memkv.New()
	var items []kv.Item
	for i := range 20 {
		items = append(items, kv.Item{Key: fmt.Sprintf("k%02d", i), Value: []byte("v"), IfNotExists: true})
	}
	store := data.With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return twice{d} }))
	versions, err := store.PutMany(t.Context(), items)
	if err != nil {
		t.Errorf("rule: a batch that is sent twice finds its own writes; got %v", err)
	}
	for _, item := range items {
		if e, err := store.Get(t.Context(), item.Key); err != nil || e.Version != versions[item.Key] {
			t.Errorf("rule: the version of a write that was found is its entry's version; the version of %s is not (%v)", item.Key, err)
		}
	}
	versions, err = data.PutMany(t.Context(), items)
	if len(versions) != 0 || !errors.Is(err, kv.ErrConditionFailed) {
		t.Errorf("rule: another batch does not take them for its own; got %d versions, %v", len(versions), err)
	}
}

// twice is a driver that sends every batch twice.
type twice struct{ kv.Driver }

func (d twice) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	d.Driver.WriteMany(ctx, req)
	results := d.Driver.WriteMany(ctx, req)
	for i := range results {
		results[i].MayHaveApplied = !results[i].Done
	}
	return results
}
