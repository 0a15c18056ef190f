package seal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// versionsOf returns the version of each entry of a store.
func versionsOf(t testing.TB, store *kv.Store) map[string]kv.Version {
	t.Helper()
	versions := make(map[string]kv.Version)
	for entry, err := range store.Scan(t.Context(), "", kv.KeysOnly()) {
		if err != nil {
			t.Fatal(err)
		}
		versions[entry.Key] = entry.Version
	}
	return versions
}

func TestReseal(t *testing.T) {
	t.Parallel()
	below := memkv.New()
	old, both := over(t, below, "may=m"), over(t, below, "november=n", "may=m")
	at := time.Now().Add(time.Hour).Truncate(time.Millisecond).UTC()
	const entries = 2*resealGroup + 50
	for i := range entries {
		put(t, old, fmt.Sprintf("old:%03d", i), fmt.Sprint(i), kv.ExpiresAt(at))
	}
	put(t, old, "old:for-ever", "1")
	put(t, old, "other", "1")
	put(t, both, "old:new", "1")
	before := versionsOf(t, below)

	n, err := Reseal(t.Context(), both, "old:")
	if n != entries+1 || err != nil {
		t.Fatalf("rule: Reseal returns how many entries it sealed anew; it returns %d, %v, want %d", n, err, entries+1)
	}
	after := versionsOf(t, below)
	if after["old:new"] != before["old:new"] || after["other"] != before["other"] {
		t.Error("rule: what the primary key sealed, or has another prefix, is not written again")
	}
	replaced := over(t, below, "november=n")
	for i := range entries {
		key := fmt.Sprintf("old:%03d", i)
		entry, err := replaced.Get(t.Context(), key)
		if err != nil || string(entry.Value) != fmt.Sprint(i) || !entry.ExpiresAt.Equal(at) {
			t.Fatalf("rule: an entry that is sealed anew keeps value and expiry; %s is %q until %s, %v", key, entry.Value, entry.ExpiresAt, err)
		}
	}
	if entry, err := replaced.Get(t.Context(), "old:for-ever"); err != nil || !entry.ExpiresAt.IsZero() {
		t.Errorf("rule: an entry without expiry gets none; %s, %v", entry.ExpiresAt, err)
	}
	if n, err := Reseal(t.Context(), both, "old:"); n != 0 || err != nil {
		t.Errorf("rule: Reseal again finds nothing to do; it returns %d, %v", n, err)
	}
}

// meddling calls meddle before each batch of writes, as if somebody else wrote at that moment.
type meddling struct {
	kv.Driver
	meddle func()
}

func (d *meddling) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	d.meddle()
	return d.Driver.WriteMany(ctx, req)
}

func TestResealOfWhatChangesMeanwhile(t *testing.T) {
	t.Parallel()
	below := memkv.New()
	for _, key := range []string{"deleted", "kept", "replaced", "touched"} {
		put(t, over(t, below, "may=m"), key, "before")
	}
	both := values(t, ring(t, "november=n", "may=m"), nil)
	at := time.Now().Add(time.Hour).Truncate(time.Millisecond).UTC()
	store := below.With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver {
		return &meddling{d, func() {
			if _, err := below.With(both).Touch(t.Context(), "touched", kv.ExpiresAt(at)); err != nil {
				t.Error(err)
			}
			put(t, below.With(both), "replaced", "meanwhile")
			if err := below.Delete(t.Context(), "deleted"); err != nil {
				t.Error(err)
			}
		}}
	}), both)
	if n, err := Reseal(t.Context(), store, ""); n != 3 || err != nil {
		t.Errorf("rule: what somebody wrote meanwhile stays, and is no error; Reseal returns %d, %v", n, err)
	}
	replaced := over(t, below, "november=n")
	wantValue(t, replaced, "replaced", "meanwhile")
	wantValue(t, replaced, "kept", "before")
	if entry, err := replaced.Get(t.Context(), "touched"); err != nil || string(entry.Value) != "before" || !entry.ExpiresAt.Equal(at) {
		t.Errorf("rule: an entry that somebody touches meanwhile is sealed again, and keeps its new expiry; it is %q until %s, %v", entry.Value, entry.ExpiresAt, err)
	}
	if found, err := store.Exists(t.Context(), "deleted"); found || err != nil {
		t.Errorf("rule: Reseal brings nothing back; Exists returns %v, %v", found, err)
	}
}

func TestResealNamesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	below := memkv.New()
	put(t, over(t, below, "may=m"), "a", "1")
	put(t, below, "b", "not sealed")
	put(t, over(t, below, "april=a"), "c", "1")
	put(t, over(t, below, "may=m"), "d", "1")
	before := versionsOf(t, below)
	n, err := Reseal(t.Context(), over(t, below, "november=n", "may=m"), "")
	batch, _ := errors.AsType[*kv.BatchError](err)
	if n != 2 || batch == nil || len(batch.Failed) != 2 || !errors.Is(batch.Failed["b"], ErrNotSealed) || !errors.Is(batch.Failed["c"], ErrNoKey) {
		t.Errorf("rule: what cannot be read is named at the end, and the others are sealed anew; got %d, %v", n, err)
	}
	after := versionsOf(t, below)
	if after["b"] != before["b"] || after["c"] != before["c"] {
		t.Error("rule: what cannot be read is left as it is")
	}
}

func TestResealStops(t *testing.T) {
	t.Parallel()
	below := memkv.New()
	for i := range resealGroup {
		put(t, below, fmt.Sprint(i), "plain")
	}
	before := versionsOf(t, below)
	if n, err := Reseal(t.Context(), below, ""); n != 0 || !errors.Is(err, kv.ErrInvalidOption) {
		t.Errorf("rule: a store that seals nothing is refused; got %d, %v", n, err)
	}
	if !maps.Equal(versionsOf(t, below), before) {
		t.Error("rule: a store that seals nothing is not written to")
	}
	sealing := over(t, below, "a=a")
	if _, err := Reseal(t.Context(), sealing, "no key"); !errors.Is(err, kv.ErrInvalidKey) {
		t.Errorf("rule: the error of the scan is that of Reseal; got %v", err)
	}
	broken := memkv.New()
	put(t, over(t, broken, "may=m"), "a", "1")
	put(t, over(t, broken, "may=m"), "b", "1")
	store := broken.With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return breaking{d} }), values(t, ring(t, "a=a", "may=m"), nil))
	if _, err := Reseal(t.Context(), store, ""); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("rule: a scan that fails stops it; got %v", err)
	}
}

// A key with a longer name makes values longer. So the new key may be unable to seal what the old
// one sealed.
func TestResealNamesWhatItCannotWrite(t *testing.T) {
	t.Parallel()
	below := memkv.New().With(kv.MaxValue(kv.MaxLargeValueLen))
	old, both := over(t, below, "may=m"), over(t, below, "november=n", "may=m")
	longest := both.Info().MaxValueLen
	for key, length := range map[string]int{"a": 1, "b": longest + 1, "c": longest} {
		put(t, old, key, strings.Repeat("x", length))
	}
	before := versionsOf(t, below)
	n, err := Reseal(t.Context(), both, "")
	batch, _ := errors.AsType[*kv.BatchError](err)
	if n != 2 || batch == nil || len(batch.Failed) != 1 || !errors.Is(batch.Failed["b"], kv.ErrValueTooLarge) || !strings.Contains(err.Error(), `"b"`) {
		t.Errorf("rule: an entry that cannot be written is named at the end, and the others are resealed; got %d, %v", n, err)
	}
	if versionsOf(t, below)["b"] != before["b"] {
		t.Error("rule: an entry that cannot be written stays as it is")
	}
}

// With an AEAD other than Keys, Reseal seals all values again. If a store seals its values twice,
// the outer AEAD decides. Both also hold in a namespace.
func TestResealThroughViews(t *testing.T) {
	t.Parallel()
	below := memkv.New()
	keys, other := values(t, ring(t, "a=a"), nil), values(t, newTink(t), nil)
	for name, c := range map[string]struct {
		opts []kv.StoreOption
		want int
	}{
		"keys":           {[]kv.StoreOption{keys}, 0},
		"tink":           {[]kv.StoreOption{other}, 1},
		"keys over tink": {[]kv.StoreOption{other, keys}, 0},
		"tink over keys": {[]kv.StoreOption{keys, other}, 1},
	} {
		store, err := below.With(c.opts...).Namespace("n" + strings.ReplaceAll(name, " ", "-") + ":")
		if err != nil {
			t.Fatal(err)
		}
		put(t, store, "k", "1")
		if n, err := Reseal(t.Context(), store, ""); n != c.want || err != nil {
			t.Errorf("rule: where an AEAD cannot tell, all entries are sealed anew, and the upper one of two is asked; with %s Reseal returns %d, %v, want %d", name, n, err, c.want)
		}
		wantValue(t, store, "k", "1")
	}
}
