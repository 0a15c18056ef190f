package kv_test

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

func TestKeyAlphabetIsTheRule(t *testing.T) {
	t.Parallel()
	if !slices.IsSorted([]byte(kv.KeyAlphabet)) || len(kv.KeyAlphabet) != 66 {
		t.Errorf("rule: keys consist of 66 bytes, listed in ascending order; KeyAlphabet is %q", kv.KeyAlphabet)
	}
	for b := range 256 {
		key := string([]byte{'k', byte(b)})
		legal := strings.IndexByte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_:.", byte(b)) >= 0
		for name, err := range map[string]error{"ValidateKey": kv.ValidateKey(key), "ValidatePrefix": kv.ValidatePrefix(key)} {
			if legal != (err == nil) || !legal && !errors.Is(err, kv.ErrInvalidKey) {
				t.Errorf("rule: keys consist of a-z A-Z 0-9 - _ : . alone; %s(%q) = %v", name, key, err)
			}
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("k", kv.MaxKeyLen)
	for _, c := range []struct {
		name string
		err  error
		want error
		says []string
	}{
		{"empty key", kv.ValidateKey(""), kv.ErrInvalidKey, []string{"empty", "1 to 512 bytes"}},
		{"longest key", kv.ValidateKey(long), nil, nil},
		{"key one longer", kv.ValidateKey(long + "k"), kv.ErrInvalidKey, []string{"513 bytes", "at most 512"}},
		{"non-ASCII key", kv.ValidateKey("schlüssel"), kv.ErrInvalidKey, []string{"byte 4", "a-z A-Z 0-9 - _ : ."}},
		{"empty prefix", kv.ValidatePrefix(""), nil, nil},
		{"longest prefix", kv.ValidatePrefix(long), nil, nil},
		{"prefix one longer", kv.ValidatePrefix(long + "k"), kv.ErrInvalidKey, []string{"prefix", "513 bytes"}},
		{"nil value", kv.ValidateValue(nil), nil, nil},
		{"longest value", kv.ValidateValue(make([]byte, kv.MaxValueLen)), nil, nil},
		{"value one longer", kv.ValidateValue(make([]byte, kv.MaxValueLen+1)), kv.ErrValueTooLarge, []string{"24577 bytes", "at most 24576"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if !errors.Is(c.err, c.want) {
				t.Fatalf("got %v, want %v", c.err, c.want)
			}
			for _, part := range c.says {
				if !strings.Contains(c.err.Error(), part) {
					t.Errorf("rule: an error names what was wrong and what is wanted; %q does not say %q", c.err, part)
				}
			}
		})
	}
}

func TestExpiryOptions(t *testing.T) {
	t.Parallel()
	// The clock is 123.456789 ms after a full second, so the result must be rounded up.
	clock := time.Date(2026, 3, 1, 12, 0, 0, 123_456_789, time.UTC)
	at := func(ms int) time.Time { return time.Date(2026, 3, 1, 12, 0, 0, ms*1_000_000, time.UTC) }
	for _, c := range []struct {
		name string
		opts []kv.PutOption
		want time.Time // zero: ErrInvalidOption
	}{
		{"ttl of 1ns", []kv.PutOption{kv.TTL(1)}, time.Time{}},
		{"ttl just below 1ms", []kv.PutOption{kv.TTL(time.Millisecond - 1)}, time.Time{}},
		{"ttl of 1ms", []kv.PutOption{kv.TTL(time.Millisecond)}, at(125)},
		{"ttl to a whole millisecond", []kv.PutOption{kv.TTL(1_543_211)}, at(125)},
		{"ttl of 999ms", []kv.PutOption{kv.TTL(999 * time.Millisecond)}, at(1123)},
		{"longest ttl", []kv.PutOption{kv.TTL(math.MaxInt64)}, clock.Add(math.MaxInt64).Truncate(time.Millisecond).Add(time.Millisecond)},
		{"ttl of zero", []kv.PutOption{kv.TTL(0)}, time.Time{}},
		{"negative ttl", []kv.PutOption{kv.TTL(-1)}, time.Time{}},
		{"instant in the same millisecond", []kv.PutOption{kv.ExpiresAt(clock.Add(1))}, at(124)},
		{"instant of now", []kv.PutOption{kv.ExpiresAt(at(123))}, time.Time{}},
		{"past instant", []kv.PutOption{kv.ExpiresAt(at(-1))}, time.Time{}},
		{"instant before the epoch", []kv.PutOption{kv.ExpiresAt(time.Unix(-1, 0))}, time.Time{}},
		{"instant so long ago that it overflows", []kv.PutOption{kv.ExpiresAt(time.Unix(-1<<54, 0))}, time.Time{}},
		{"last instant", []kv.PutOption{kv.ExpiresAt(kv.MaxExpiry)}, kv.MaxExpiry},
		{"instant after the last", []kv.PutOption{kv.ExpiresAt(kv.MaxExpiry.Add(1))}, time.Time{}},
		{"instant that overflows", []kv.PutOption{kv.ExpiresAt(time.Unix(math.MaxInt64/2, 0))}, time.Time{}},
		{"both expiries", []kv.PutOption{kv.TTL(time.Hour), kv.ExpiresAt(kv.MaxExpiry)}, time.Time{}},
		{"a condition twice", []kv.PutOption{kv.TTL(time.Hour), kv.IfNotExists(), kv.IfNotExists()}, time.Time{}},
		{"a nil option", []kv.PutOption{kv.TTL(time.Hour), nil}, time.Time{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			store := memkv.New().With(kv.Clock(func() time.Time { return clock }))
			_, err := store.Put(t.Context(), "k", nil, c.opts...)
			entry, getErr := store.Get(t.Context(), "k")
			if c.want.IsZero() {
				if !errors.Is(err, kv.ErrInvalidOption) || !errors.Is(getErr, kv.ErrNotFound) {
					t.Errorf("rule: an expiry out of range is ErrInvalidOption and writes nothing; Put returned %v, Get %v", err, getErr)
				}
				return
			}
			if err != nil || getErr != nil {
				t.Fatalf("Put returned %v, Get %v", err, getErr)
			}
			if entry.ExpiresAt != c.want {
				t.Errorf("rule: the instant is ceil to the millisecond of now + ttl; got %s, want %s", entry.ExpiresAt, c.want)
			}
		})
	}
}

// An expiry of zero means that a record does not expire, so no clock may lead to an
// expiry of zero.
func TestExpiryIsBehindTheEpoch(t *testing.T) {
	t.Parallel()
	store := memkv.New().With(kv.Clock(func() time.Time { return time.UnixMilli(-1000) }))
	for _, c := range []struct {
		item kv.Item
		want error
	}{
		{kv.Item{TTL: time.Millisecond}, kv.ErrInvalidOption},
		{kv.Item{TTL: time.Second}, kv.ErrInvalidOption},
		{kv.Item{TTL: time.Second + 1}, nil},
		{kv.Item{ExpiresAt: time.UnixMilli(-1)}, kv.ErrInvalidOption},
		{kv.Item{ExpiresAt: time.UnixMilli(0)}, kv.ErrInvalidOption},
		{kv.Item{ExpiresAt: time.UnixMilli(1)}, nil},
	} {
		c.item.Key = "k"
		if _, err := store.PutMany(t.Context(), []kv.Item{c.item}); !errors.Is(err, c.want) {
			t.Errorf("rule: an instant of expiry is later than the Unix epoch; PutMany of %+v returns %v, want %v", c.item, err, c.want)
		}
		entry, err := store.Get(t.Context(), "k")
		if c.want == nil && (err != nil || !entry.ExpiresAt.Equal(time.UnixMilli(1))) {
			t.Errorf("rule: the first instant of expiry is a millisecond after the Unix epoch; Get returns %v, %v", entry.ExpiresAt, err)
		}
	}
}
