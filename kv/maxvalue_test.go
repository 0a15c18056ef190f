package kv_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// holding wraps a driver so that its Info says that it can store values of at most n bytes.
func holding(n int) kv.StoreOption {
	return kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver {
		info := d.Info()
		info.MaxValueLen = n
		return described{d, info}
	})
}

func TestLimitInForce(t *testing.T) {
	t.Parallel()
	const most = kv.MaxLargeValueLen
	for _, c := range []struct {
		what string
		opts []kv.StoreOption
		want int
	}{
		{"a store", nil, kv.MaxValueLen},
		{"a driver that sets no limit", []kv.StoreOption{holding(0)}, kv.MaxValueLen},
		{"a driver that holds less", []kv.StoreOption{holding(1000)}, 1000},
		{"MaxValue", []kv.StoreOption{kv.MaxValue(100_000)}, 100_000},
		{"the largest MaxValue", []kv.StoreOption{kv.MaxValue(most)}, most},
		{"a MaxValue below the usual limit", []kv.StoreOption{kv.MaxValue(10)}, 10},
		{"the later of two", []kv.StoreOption{kv.MaxValue(most), kv.MaxValue(10)}, 10},
		{"MaxValue below middleware that holds less", []kv.StoreOption{kv.MaxValue(most), holding(1000)}, 1000},
		{"MaxValue over middleware that holds less", []kv.StoreOption{holding(50_000), kv.MaxValue(50_000)}, 50_000},
		{"MaxValue and other options", []kv.StoreOption{kv.MaxValue(most), kv.Stale()}, most},
	} {
		store := memkv.New().With(c.opts...)
		view, err := store.Namespace("a:")
		if err != nil {
			t.Fatal(err)
		}
		nested, err := view.Namespace("b:")
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []*kv.Store{store, store.With(), view, nested, view.With()} {
			if n := s.Info().MaxValueLen; n != c.want {
				t.Errorf("rule: Info has the current limit, in derived stores too; for %s (namespace %q) it is %d, want %d", c.what, s.Info().Namespace, n, c.want)
			}
		}
	}
	view, err := memkv.New().Namespace("a:")
	if err != nil {
		t.Fatal(err)
	}
	if n := view.With(kv.MaxValue(most)).Info().MaxValueLen; n != most {
		t.Errorf("rule: a namespace has its driver's limit; with MaxValue of %d its limit is %d", most, n)
	}
}

func TestMaxValueRefuses(t *testing.T) {
	t.Parallel()
	value := make([]byte, 60_000)
	for _, c := range []struct {
		opts []kv.StoreOption
		says string
	}{
		{[]kv.StoreOption{kv.MaxValue(0)}, "MaxValue is 0; it must be 1 to 393216"},
		{[]kv.StoreOption{kv.MaxValue(-7)}, "MaxValue is -7"},
		{[]kv.StoreOption{kv.MaxValue(kv.MaxLargeValueLen + 1)}, "MaxValue is 393217; it must be 1 to 393216"},
		{[]kv.StoreOption{holding(50_000), kv.MaxValue(50_001)}, "it must be 1 to 50000"},
		{[]kv.StoreOption{holding(0), kv.MaxValue(50_000)}, "it must be 1 to 24576"},
		{[]kv.StoreOption{holding(1 << 20), kv.MaxValue(400_000)}, "it must be 1 to 393216"},
		{[]kv.StoreOption{kv.MaxValue(0), kv.MaxValue(1000)}, "MaxValue is 0"},
	} {
		store := memkv.New().With(c.opts...)
		view, err := store.Namespace("a:")
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []*kv.Store{store, view, store.With(kv.Stale())} {
			_, err := s.Put(t.Context(), "key", value)
			if !errors.Is(err, kv.ErrInvalidOption) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("rule: a MaxValue that is out of range is ErrInvalidOption in every call, and the error says what is wanted; got %v, want %q", err, c.says)
			}
			if _, err := kv.JSON[string](s).Get(t.Context(), "key"); !errors.Is(err, kv.ErrInvalidOption) {
				t.Errorf("rule: a MaxValue that is out of range is ErrInvalidOption, in typed views too; got %v", err)
			}
		}
	}
	_, err := memkv.New().Put(t.Context(), "key", value)
	if want := "the value has 60000 bytes; it must have at most 24576, or at most 393216 in a store with MaxValue"; !errors.Is(err, kv.ErrValueTooLarge) || !strings.Contains(err.Error(), want) {
		t.Errorf("rule: the error of a value that MaxValue would allow says so; got %v, want %q", err, want)
	}
	_, err = memkv.New().With(kv.MaxValue(kv.MaxLargeValueLen)).Put(t.Context(), "key", make([]byte, kv.MaxLargeValueLen+1))
	if !errors.Is(err, kv.ErrValueTooLarge) || strings.Contains(err.Error(), "MaxValue") {
		t.Errorf("rule: the error of a value that MaxValue would not allow names only the limit; got %v", err)
	}
}

// readCounter is a driver that counts the calls of Get.
type readCounter struct {
	kv.Driver
	gets int
}

// Info has no Immediate, because with Immediate every update makes a read.
func (d *readCounter) Info() kv.Info { return waiting(d.Driver) }

func (d *readCounter) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	d.gets++
	return d.Driver.Get(ctx, req)
}

// A store keeps the values that its last updates wrote, so that the next updates need no
// read. The total length of these values is limited.
func TestUpdatesOfLargeValues(t *testing.T) {
	t.Parallel()
	d := new(readCounter)
	store := memkv.New().With(kv.Wrap(kv.Level1, func(next kv.Driver) kv.Driver { d.Driver = next; return d }), kv.MaxValue(kv.MaxLargeValueLen))
	update := func(key string, n int) {
		t.Helper()
		if _, err := store.Update(t.Context(), key, func(kv.Entry, bool) (kv.Change, error) { return kv.Change{Value: make([]byte, n)}, nil }); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		update("key", kv.MaxLargeValueLen)
	}
	if d.gets != 1 {
		t.Errorf("rule: an update that follows one of the same store needs no read, also with large values; 5 updates made %d", d.gets)
	}
	keys := make([]string, 26)
	for i := range keys {
		keys[i] = "key:" + string(rune('A'+i))
		update(keys[i], kv.MaxLargeValueLen)
	}
	d.gets = 0
	for _, key := range keys {
		update(key, 1)
	}
	if d.gets < len(keys)-8 {
		t.Errorf("rule: 128 values of 24 KiB are kept, or 8 of 384 KiB; after %d updates only %d made a read", len(keys), d.gets)
	}
	d.gets = 0
	for _, key := range keys {
		update(key, 1)
	}
	if d.gets != 0 {
		t.Errorf("rule: small values replace large ones; %d updates made %d reads", len(keys), d.gets)
	}
}
