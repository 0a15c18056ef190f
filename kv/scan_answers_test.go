package kv_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// answering is a service whose scans return prepared keys, shard by shard.
type answering struct {
	kv.Driver
	shards [][]string
	honest bool // yields only keys within the range
}

func (d answering) Info() kv.Info {
	n := len(d.shards)
	return kv.Info{
		Name: "answering", Shards: n,
		Shard:         func(key string) int { return kv.Shard(key, n) },
		ShardOfPrefix: func(prefix string) (int, bool) { return kv.ShardOfPrefix(prefix, n) },
	}
}

func (d answering) Scan(_ context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		for _, key := range d.shards[req.Shard] {
			if d.honest && (key < req.From || key > req.To) {
				continue
			}
			if !yield(kv.Record{Key: key, Value: []byte{}, Token: "t", Version: "v"}, nil) {
				return
			}
		}
	}
}

// scanWith returns the result of a scan of these keys: the keys that were yielded
// without an error, the keys that were yielded with an error, and the last error.
func scanWith(t *testing.T, prefix string, shards [][]string) (keys, beside []string, last error) {
	t.Helper()
	store := memkv.New().With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return answering{d, shards, false} }))
	for entry, err := range store.Scan(t.Context(), prefix) {
		switch {
		case err == nil:
			keys = append(keys, entry.Key)
		case entry.Key != "":
			beside, last = append(beside, entry.Key), err
		default:
			last = err
		}
	}
	return keys, beside, last
}

func TestScansBelieveNoWrongOrder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, prefix string
		answer       []string
		keys         []string
		ends         error
	}{
		{"in order", "", []string{"a", "b", "c"}, []string{"a", "b", "c"}, nil},
		{"another order", "", []string{"b", "c", "a"}, []string{"b", "c"}, kv.ErrUnavailable},
		{"the same key again and again", "", []string{"a", "b", "b", "b"}, []string{"a", "b"}, kv.ErrUnavailable},
		{"a key below the range", "m", []string{"a", "m"}, nil, kv.ErrUnavailable},
		{"a key above the range", "m", []string{"m1", "n"}, []string{"m1"}, kv.ErrUnavailable},
		{"a record without a name", "", []string{"a", ""}, []string{"a"}, kv.ErrUnavailable},
		{"names that are no keys", "", []string{"a", "a\x1b[2J", "b", "c\n", "d/e", strings.Repeat("e", 513), "f"}, []string{"a", "b", "f"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			keys, beside, err := scanWith(t, c.prefix, [][]string{c.answer})
			if !slices.Equal(keys, c.keys) || !errors.Is(err, c.ends) || len(beside) != 0 {
				t.Errorf("rule: a scan checks what the driver returns; it yields %q and %q, and ends with %v; want %q and %v", keys, beside, err, c.keys, c.ends)
			}
		})
	}
}

// A scan of a namespace yields no record from outside the namespace, even if the service
// returns one.
func TestScansOfNamespacesBelieveNoOtherKeys(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string][]string{
		"a key of the store":         {"ns:a", "other"},
		"a key below the namespace":  {"a", "ns:a"},
		"a key of another namespace": {"ns:a", "nt:b"},
		"the prefix itself":          {"ns:", "ns:a"},
	} {
		store := memkv.New().With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return answering{d, [][]string{answer}, false} }))
		var last error
		for entry, err := range namespace(t, store, "ns:").Scan(t.Context(), "") {
			if last = err; err == nil && entry.Key != "a" {
				t.Errorf("rule: a scan does not leave its namespace; with %s it yields %q", name, entry.Key)
			}
		}
		if !errors.Is(last, kv.ErrUnavailable) {
			t.Errorf("rule: a scan checks what the driver returns; with %s a scan of a namespace ends with %v, want ErrUnavailable", name, last)
		}
	}
}

// A scan yields an error with the key of a record that is in the wrong shard. It also yields
// the entry of that key in the right shard.
func TestMisplacedRecords(t *testing.T) {
	t.Parallel()
	var own [2][]string // keys of each shard
	for i := range 40 {
		key := fmt.Sprintf("k%02d", i)
		own[kv.Shard(key, 2)] = append(own[kv.Shard(key, 2)], key)
	}
	all := slices.Sorted(slices.Values(append(slices.Clone(own[0]), own[1]...)))
	for _, misplaced := range own[1] {
		shards := [][]string{slices.Sorted(slices.Values(append(slices.Clone(own[0]), misplaced))), own[1]}
		keys, beside, err := scanWith(t, "", shards)
		if !slices.Equal(keys, all) || !slices.Equal(beside, []string{misplaced}) || !errors.Is(err, kv.ErrIncompatible) {
			t.Errorf("rule: a key in a wrong shard is ErrIncompatible with that key, and its entry in the right shard is yielded; %q has %d of %d keys, %q and %v",
				misplaced, len(keys), len(all), beside, err)
		}
		for _, limit := range []int{1, 3, 40, 100} {
			store := memkv.New().With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return answering{d, shards, true} }))
			var paged []string
			named := 0
			for cursor, more := "", true; more; more = cursor != "" {
				page, err := store.ScanPage(t.Context(), "", limit, cursor)
				for _, entry := range page.Entries {
					paged = append(paged, entry.Key)
				}
				if errors.Is(err, kv.ErrIncompatible) {
					named++
				} else if err != nil {
					t.Fatal(err)
				}
				cursor = page.Next
			}
			if !slices.Equal(paged, all) || named != 1 {
				t.Errorf("rule: pages lose no entry because of a misplaced record with its key, and name the record; with limit %d and %q they have %d of %d keys and %d errors", limit, misplaced, len(paged), len(all), named)
			}
		}
	}
}

func TestTextsThatAreTooLongAreNotDecoded(t *testing.T) { // not parallel, because it counts allocations
	store := memkv.New()
	huge := strings.Repeat("A", 10<<20)
	page := func() error { _, err := store.ScanPage(t.Context(), "", 1, huge); return err }
	version := func() error { _, err := kv.ParseVersion(huge); return err }
	for name, c := range map[string]struct {
		call func() error
		want error
	}{"ScanPage": {page, kv.ErrInvalidCursor}, "ParseVersion": {version, kv.ErrInvalidVersion}} {
		if err := c.call(); !errors.Is(err, c.want) {
			t.Errorf("rule: a text that is longer than any legal text is refused; %s returns %v", name, err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_ = c.call()
		runtime.ReadMemStats(&after)
		if bytes := after.TotalAlloc - before.TotalAlloc; bytes > 1<<20 {
			t.Errorf("rule: the length is checked first; %s allocates %d bytes for a text of 10 MiB", name, bytes)
		}
	}
}
