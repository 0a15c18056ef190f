package conformance

import (
	"fmt"
	"strings"
	"time"

	"github.com/skykv/skykv/kv"
)

func countCases() []testCase {
	return []testCase{
		rule("count/prefix",
			"Count returns the number of entries whose keys start with the prefix, including the prefix itself. The empty prefix counts all entries.",
			func(t *trial) {
				t.wantCount("", 0)
				t.fillKeys(t.family()...)
				for _, prefix := range []string{"", "a", "a:", "a:1", "aa", "A", "z", ".", "-", "::", "nothing", "zzzz"} {
					t.wantCount(prefix, len(t.familyOf(prefix, "")))
				}
			}),
		rule("count/many",
			"Count counts any number of entries, with values of any size.",
			func(t *trial) {
				t.fillKeys(append(numbered("key:", 1500), "key", "keyz")...)
				t.put("key:long", strings.Repeat("v", t.maxValueLen()))
				t.wantCount("key:", 1501)
				t.wantCount("key:01", 100)
				t.wantCount("", 1503)
			}),
		rule("count/expired",
			"Count leaves out exactly the entries that have expired by the store's clock, however many there are.",
			func(t *trial) {
				live, expired := numbered("live:", 30), numbered("old:", 120)
				t.fillWithExpired(live, append(expired, "mixed:1", "mixed:2"))
				t.put("mixed:3", "live", kv.TTL(time.Second))
				t.wantCount("", 31)
				t.wantCount("live:", 30)
				t.wantCount("old:", 0)
				t.wantCount("mixed:", 1)
				t.clock.advance(time.Second - time.Millisecond)
				t.wantCount("mixed:", 1)
				t.clock.advance(time.Millisecond)
				t.wantCount("mixed:", 0)
				t.clock.advance(-2 * time.Second) // a time at which nothing has expired
				t.wantCount("", 153)
				t.wantCount("old:", 120)
			}),
		rule("count/follows-writes",
			"Count sees every write that was acknowledged before it began.",
			func(t *trial) {
				for i := range 5 {
					t.put(fmt.Sprintf("key:%d", i), "value")
					t.wantCount("key:", i+1)
				}
				t.put("key:0", "again")
				t.touch("key:1", kv.TTL(time.Second))
				t.wantCount("key:", 5)
				t.clock.advance(time.Second)
				t.wantCount("key:", 4)
				t.put("key:1", "back")
				t.delete("key:2")
				t.wantCount("key:", 4)
			}),
		rule("count/range",
			"From, After and Before limit a Count as they limit a Scan.",
			func(t *trial) {
				t.fillKeys(t.family()...)
				for _, opts := range [][]kv.RangeOption{
					{kv.From("a:1")}, {kv.After("a:1")}, {kv.Before("a:1")}, {kv.After("a:"), kv.Before("aa")}, {kv.From("b"), kv.Before("b")}, {kv.From("z"), kv.Before("a")}, {kv.After("zzz")},
				} {
					for _, prefix := range []string{"", "a:", "z"} {
						scanOpts := []kv.ScanOption{kv.KeysOnly()}
						for _, opt := range opts {
							scanOpts = append(scanOpts, opt)
						}
						t.wantCount(prefix, len(t.scan(prefix, scanOpts...)), opts...)
					}
				}
			}),
		rule("count/groups",
			"Count counts the entries of one group, and of a prefix of many groups.",
			func(t *trial) {
				keys := append(groups(), colons()...)
				t.fillKeys(keys...)
				for _, prefix := range []string{"", "g", "g1", "g1:", "g1::", "g1::b", "g1::b::", "g23::a", "u::", "::", "::u", "u:::"} {
					t.wantCount(prefix, len(startingWith(prefix, keys)))
				}
			}),
		rule("count/namespace",
			"Count of a namespace counts its entries, by the keys of the namespace.",
			func(t *trial) {
				t.fillKeys("a", "n:", "n:a", "n:b", "n:b::1", "n:b::2", "nn:a", "o")
				whole := t.inNamespace("n:")
				t.wantCount("", 4)
				t.wantCount("b", 3)
				t.wantCount("b::", 2)
				t.wantCount("", 2, kv.After("b"), kv.Before("b::3"))
				t.wantCount("n:", 0)
				t.store = whole
			}),
		rule("count/damaged-entry",
			"If a record cannot be read, Count returns the number of the others, and a *BatchError with exactly its key.",
			func(t *trial) {
				keys := numbered("key:", 9)
				t.fillKeys(append(keys, "other")...)
				n, err := t.with(kv.Wrap(kv.Level1, damaging(keys[4]))).Count(t.ctx, "key:")
				t.wantFailed("Count", err, keys[4])
				if n != 8 {
					t.Errorf("Count = %d; want 8", n)
				}
			}),
		rule("count/broken-off",
			"A Count that fails returns the error and 0.",
			func(t *trial) {
				keys := numbered("key:", 90)
				t.fillKeys(keys...)
				n, err := t.with(kv.Wrap(kv.Level1, breakingScans(keys[40]))).Count(t.ctx, "")
				t.wantError("Count", err, kv.ErrUnavailable)
				if n != 0 {
					t.Errorf("Count = %d with an error; want 0", n)
				}
			}),
		rule("count/middleware",
			"Count does not count records that middleware hides from scans, even if the middleware knows nothing of Count.",
			func(t *trial) {
				keys := numbered("key:", 9)
				t.fillKeys(keys...)
				n, err := t.opened.With(kv.Clock(t.clock.now), kv.Wrap(kv.Level1, hiding(keys[4]))).Count(t.ctx, "key:")
				if n != 8 || err != nil {
					t.Errorf("Count of 9 entries, one of them hidden by middleware, = %d, %v; want 8", n, err)
				}
			}),
		rule("count/invalid",
			"Count refuses an illegal prefix or bound before any I/O.",
			func(t *trial) {
				t.fillKeys("key")
				for _, bad := range []string{"bad key", strings.Repeat("k", t.maxKeyLen()+1)} {
					t.wantRefused("Count of a prefix", kv.ErrInvalidKey, func() error { _, err := t.Count(t.ctx, bad); return err })
					t.wantRefused("Count after a key", kv.ErrInvalidKey, func() error { _, err := t.Count(t.ctx, "", kv.After(bad)); return err })
				}
				t.wantRefused("Count with a nil option", kv.ErrInvalidOption, func() error { _, err := t.Count(t.ctx, "", nil); return err })
			}),
	}
}

// wantCount checks both ways of counting: by a scan, as every store with middleware
// counts, and by the driver if it can count.
func (t *trial) wantCount(prefix string, want int, opts ...kv.RangeOption) {
	if n, err := t.Count(t.ctx, prefix, opts...); err != nil || n != want {
		t.Errorf("Count(%s), with middleware, = %d, %v; want %d", short(prefix), n, err, want)
	}
	if n, err := t.opened.With(kv.Clock(t.clock.now)).Count(t.ctx, prefix, opts...); err != nil || n != want {
		t.Errorf("Count(%s) = %d, %v; want %d", short(prefix), n, err, want)
	}
}
