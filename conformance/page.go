package conformance

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/skykv/skykv/kv"
)

func pageCases() []testCase {
	cases := []testCase{
		rule("page/empty-store",
			"A page of an empty store has no entries, no Next and no error.",
			func(t *trial) {
				if page := t.page("", 5, ""); len(page.Entries) > 0 || page.Next != "" {
					t.Errorf("ScanPage = %d entries, Next %q; want none", len(page.Entries), page.Next)
				}
			}),
		rule("page/no-match",
			"A page of a prefix without keys has no entries and no Next.",
			func(t *trial) {
				t.fillKeys("a", "c")
				if page := t.page("b", 1, ""); len(page.Entries) > 0 || page.Next != "" {
					t.Errorf("ScanPage = %d entries, Next %q; want none", len(page.Entries), page.Next)
				}
			}),
		rule("page/entries",
			"A page's entries are complete and equal to the entries of Get: key, value, version and expiry.",
			func(t *trial) {
				t.put("a", "one")
				t.put("b", "two", kv.TTL(time.Hour))
				t.put("c", "")
				entries := t.pages("", 2, nil)
				t.wantKeys("ScanPage", entries, []string{"a", "b", "c"})
				for _, e := range entries {
					got := t.get(e.Key)
					t.wantEntry("ScanPage", e, e.Key, want{string(got.Value), got.Version, got.ExpiresAt})
				}
			}),
		rule("page/prefix",
			"Together the pages have exactly the keys that start with the prefix.",
			func(t *trial) {
				t.fillKeys(t.family()...)
				t.wantKeys("ScanPage", t.pages("a:", 3, nil), t.familyOf("a:", ""))
				t.wantKeys("ScanPage", t.pages("z", 2, nil), t.familyOf("z", ""))
				t.wantKeys("ScanPage", t.pages("", 10, nil), t.family())
			}),
		rule("page/keys-only",
			"KeysOnly applies to every page.",
			func(t *trial) {
				keys := numbered("key:", 5)
				t.fillKeys(keys...)
				entries := t.pages("key:", 2, nil, kv.KeysOnly())
				t.wantKeys("ScanPage", entries, keys)
				for _, e := range entries {
					if e.Value != nil {
						t.Errorf("ScanPage with KeysOnly: the value of %q is not nil", e.Key)
					}
				}
			}),
		rule("page/after",
			"After applies to every page: a page starts after the later of cursor and After.",
			func(t *trial) {
				keys := numbered("key:", 10)
				t.fillKeys(keys...)
				t.wantKeys("ScanPage", t.pages("key:", 3, nil, kv.After(keys[1])), keys[2:])
				cursor := t.page("key:", 4, "").Next
				t.wantKeys("ScanPage with a later After", t.page("key:", 3, cursor, kv.After(keys[5])).Entries, keys[6:9])
				t.wantKeys("ScanPage with an earlier After", t.page("key:", 3, cursor, kv.After(keys[0])).Entries, keys[4:7])
			}),
		rule("page/range",
			"From and Before apply to every page. A page starts after its cursor if that is later than From.",
			func(t *trial) {
				keys := numbered("key:", 12)
				t.fillKeys(keys...)
				t.wantKeys("ScanPage", t.pages("key:", 3, nil, kv.From(keys[2]), kv.Before(keys[11])), keys[2:11])
				cursor := t.page("key:", 4, "").Next
				t.wantKeys("ScanPage with a later From", t.page("key:", 3, cursor, kv.From(keys[6])).Entries, keys[6:9])
				t.wantKeys("ScanPage with an earlier From", t.page("key:", 3, cursor, kv.From(keys[1])).Entries, keys[4:7])
				page := t.page("key:", 3, cursor, kv.Before(keys[7]))
				t.wantKeys("ScanPage with Before", page.Entries, keys[4:7])
				if page.Next != "" {
					t.Errorf("Next is not empty, although Before ends the scan with this page")
				}
			}),
		rule("page/limit-invalid",
			"A page limit below 1 is refused with ErrInvalidOption before any I/O, and Next is the cursor of the call.",
			func(t *trial) {
				t.fillKeys(numbered("key:", 3)...)
				cursor := t.page("key:", 1, "").Next
				for _, limit := range []int{0, -1, math.MinInt} {
					t.wantRefused(fmt.Sprintf("ScanPage with limit %d", limit), kv.ErrInvalidOption, func() error {
						page, err := t.ScanPage(t.ctx, "key:", limit, cursor)
						if len(page.Entries) > 0 || page.Next != cursor {
							t.Errorf("ScanPage with limit %d: %d entries, Next %q; want none and the cursor", limit, len(page.Entries), page.Next)
						}
						return err
					})
				}
				t.wantRefused("ScanPage with a nil option", kv.ErrInvalidOption, func() error {
					_, err := t.ScanPage(t.ctx, "key:", 1, "", nil)
					return err
				})
			}),
		rule("page/limit-huge",
			"A page with a limit above the number of entries has all of them, however large the limit is.",
			func(t *trial) {
				keys := numbered("key:", 30)
				t.fillKeys(keys...)
				for _, limit := range []int{31, 1 << 20, math.MaxInt} {
					page := t.page("key:", limit, "")
					t.wantKeys(fmt.Sprintf("ScanPage with limit %d", limit), page.Entries, keys)
					if page.Next != "" {
						t.Errorf("ScanPage with limit %d: Next is not empty at the end", limit)
					}
				}
			}),
		rule("page/same-cursor-twice",
			"A cursor is a position, not a session: it returns the same page again.",
			func(t *trial) {
				keys := numbered("key:", 9)
				t.fillKeys(keys...)
				cursor := t.page("key:", 3, "").Next
				for range 2 {
					t.wantKeys("ScanPage", t.page("key:", 3, cursor).Entries, keys[3:6])
				}
			}),
		rule("page/other-limit",
			"The limit may change from page to page.",
			func(t *trial) {
				keys := numbered("key:", 20)
				t.fillKeys(keys...)
				var entries []kv.Entry
				cursor := ""
				for _, limit := range []int{1, 5, 2, 8, 100} {
					page := t.page("key:", limit, cursor)
					entries, cursor = append(entries, page.Entries...), page.Next
				}
				t.wantKeys("ScanPage", entries, keys)
				if cursor != "" {
					t.Errorf("Next is not empty at the end")
				}
			}),
		rule("page/expired-runs",
			"Pages have limit live entries, however many expired entries are between them.",
			func(t *trial) {
				live := numbered("b", 11)
				t.fillWithExpired(live, slices.Concat(numbered("a", 70), numbered("b0001x", 70), numbered("b0003x", 7), numbered("b0006x", 70)))
				t.wantKeys("ScanPage", t.pages("", 4, nil), live)
				t.wantKeys("ScanPage", t.pages("b", 2, nil, kv.KeysOnly()), live)
			}),
		rule("page/expired-tail",
			"Next is empty if only expired entries follow.",
			func(t *trial) {
				live := numbered("a", 6)
				t.fillWithExpired(live, numbered("b", 80))
				for _, size := range []int{2, 3, 6} {
					t.wantKeys("ScanPage", t.pages("", size, nil), live)
					cursor := ""
					for range 6 / size {
						cursor = t.page("", size, cursor).Next
					}
					if cursor != "" {
						t.Errorf("after 6 entries in pages of %d, Next is not empty, although only expired entries follow", size)
					}
				}
			}),
		rule("page/expires-between",
			"Expiry is judged when a page is read: an entry that expired since the page before is left out.",
			func(t *trial) {
				keys := numbered("key:", 8)
				for i, key := range keys {
					if i%2 == 0 {
						t.put(key, "stays")
					} else {
						t.put(key, "goes", kv.TTL(time.Second))
					}
				}
				entries := t.pages("", 3, func(n int) { t.clock.advance(time.Second) })
				t.wantKeys("ScanPage", entries, []string{keys[0], keys[1], keys[2], keys[4], keys[6]})
			}),
		rule("page/deleted-between",
			"Deleting entries between pages loses none of the others, even if the last entry of the page is deleted.",
			func(t *trial) {
				keys := numbered("key:", 20)
				t.fillKeys(keys...)
				entries := t.pages("key:", 5, func(n int) {
					t.delete(keys[5*n-1])
					t.delete(keys[0], kv.IfVersion(t.put(keys[0], "again")))
				})
				t.wantKeys("ScanPage", entries, keys)
			}),
		rule("page/deleted-ahead",
			"An entry that was deleted before its page was read is not in it.",
			func(t *trial) {
				keys := numbered("key:", 12)
				t.fillKeys(keys...)
				entries := t.pages("key:", 4, func(n int) {
					if n == 1 {
						t.delete(keys[4])
						t.delete(keys[9])
					}
				})
				t.wantKeys("ScanPage", entries, slices.Concat(keys[:4], keys[5:9], keys[10:]))
			}),
		rule("page/inserted-between",
			"An entry that is inserted between pages is found if it is after the cursor, even right after it, and not if it is before.",
			func(t *trial) {
				keys := numbered("key:", 10)
				t.fillKeys(keys...)
				entries := t.pages("key:", 5, func(n int) {
					if n == 1 {
						t.fillKeys("key:0001x", "key:0003zzz", "key:0004-", "key:0007x", "key:9999")
					}
				})
				t.wantKeys("ScanPage", entries, slices.Concat(keys[:5], []string{"key:0004-"}, keys[5:8], []string{"key:0007x"}, keys[8:], []string{"key:9999"}))
			}),
		rule("page/replaced-between",
			"An entry that is replaced between pages is neither repeated nor lost, and its page has the value at the time of the read.",
			func(t *trial) {
				keys := numbered("key:", 9)
				t.fillKeys(keys...)
				entries := t.pages("key:", 3, func(n int) {
					t.put(keys[0], "replaced")
					t.put(keys[3*n-1], "replaced")
					t.put(keys[8], fmt.Sprintf("replaced %d", n))
				})
				t.wantKeys("ScanPage", entries, keys)
				if len(entries) == 9 && string(entries[8].Value) != "replaced 2" {
					t.Errorf("the value of %q is %q; want the value of the last Put before the page", keys[8], entries[8].Value)
				}
			}),
		rule("page/own-writes",
			"Pages are strongly consistent: each sees the last acknowledged writes.",
			func(t *trial) {
				t.fillKeys("a", "b", "c")
				for i := range 4 {
					value := fmt.Sprintf("value %d", i)
					v := t.put("a", value)
					page := t.page("", 1, "")
					t.wantKeys("ScanPage", page.Entries, []string{"a"})
					for _, e := range page.Entries {
						t.wantEntry("ScanPage", e, "a", want{value: value, version: v})
					}
				}
			}),
		rule("page/cancelled",
			"If a page fails before anything was read, Next is the cursor of the call, so that the position is kept.",
			func(t *trial) {
				keys := numbered("key:", 6)
				t.fillKeys(keys...)
				cursor := t.page("key:", 2, "").Next
				ctx, cancel := context.WithCancel(t.ctx)
				cancel()
				page, err := t.ScanPage(ctx, "key:", 2, cursor)
				t.wantError("ScanPage with a cancelled context", err, context.Canceled)
				if len(page.Entries) > 0 || page.Next != cursor {
					t.Errorf("ScanPage = %d entries, Next %q; want none and the cursor", len(page.Entries), page.Next)
				}
				t.wantKeys("ScanPage", t.page("key:", 2, page.Next).Entries, keys[2:4])
			}),
		rule("page/broken-off",
			"A page that ends early has the entries read so far, and Next is the position reached, from which the rest follows.",
			func(t *trial) {
				keys := numbered("key:", 60)
				t.fillKeys(keys...)
				broken := t.with(kv.Wrap(kv.Level1, breakingScans(keys[30])))
				cursor := t.page("key:", 5, "").Next
				page, err := broken.ScanPage(t.ctx, "key:", 100, cursor)
				t.wantError("ScanPage", err, kv.ErrUnavailable)
				if len(page.Entries) > 25 {
					t.Fatalf("ScanPage = %d entries; only 25 are before the break", len(page.Entries))
				}
				t.wantKeys("ScanPage", page.Entries, keys[5:5+len(page.Entries)])
				if page.Next == "" {
					t.Fatalf("ScanPage broke off, and Next is empty")
				}
				t.wantKeys("ScanPage from there", t.page("key:", 100, page.Next).Entries, keys[5+len(page.Entries):])
			}),
		rule("page/damaged-entry",
			"A record that cannot be read ends the page with an error that names its key. The page has the entries read so far, and Next is the position after that record.",
			func(t *trial) {
				keys := numbered("key:", 9)
				t.fillKeys(keys...)
				damaged := t.with(kv.Wrap(kv.Level1, damaging(keys[4])))
				page, err := damaged.ScanPage(t.ctx, "key:", 7, "")
				t.wantError("ScanPage", err, kv.ErrIncompatible)
				if e, ok := errors.AsType[*kv.Error](err); !ok || e.Key != keys[4] {
					t.Errorf("ScanPage: the error %v does not name %q", err, keys[4])
				}
				t.wantKeys("ScanPage", page.Entries, keys[:4])
				page, err = damaged.ScanPage(t.ctx, "key:", 7, page.Next)
				if err != nil || page.Next != "" {
					t.Errorf("ScanPage from there: %v, Next %q; want the end", err, page.Next)
				}
				t.wantKeys("ScanPage from there", page.Entries, keys[5:])
			}),
	}
	for _, p := range []struct{ size, entries int }{
		{1, 5}, {7, 30}, {100, 250}, {1000, 1100},
		// In these cases the last page is full, lacks one entry, or has only one entry.
		{1, 1}, {7, 7}, {7, 21}, {7, 20}, {7, 22}, {100, 200}, {100, 199}, {100, 201},
	} {
		cases = append(cases, rule(fmt.Sprintf("page/size-%d/of-%d", p.size, p.entries),
			"All pages but the last are full. Together they have every key once and in order. Next is empty exactly at the end, even if the last page is full.",
			func(t *trial) {
				keys := numbered("key:", p.entries)
				t.fillKeys(append([]string{"j", "l"}, keys...)...)
				n := 0
				t.wantKeys("ScanPage", t.pages("key:", p.size, func(int) { n++ }), keys)
				if pages := (p.entries + p.size - 1) / p.size; n+1 != pages {
					t.Errorf("there are %d pages; want %d", n+1, pages)
				}
			}))
	}
	return cases
}

// pages reads all pages of a scan. It checks that all but the last are full, and that each page
// continues after the page before it. Before it reads page n+1, it calls between(n), unless
// between is nil.
func (t *trial) pages(prefix string, size int, between func(n int), opts ...kv.PageOption) []kv.Entry {
	var entries []kv.Entry
	cursor := ""
	for n := 1; ; n++ {
		page := t.page(prefix, size, cursor, opts...)
		entries = append(entries, page.Entries...)
		switch {
		case len(page.Entries) > size:
			t.Fatalf("page %d has %d entries; the limit is %d", n, len(page.Entries), size)
		case page.Next != "" && len(page.Entries) < size:
			t.Errorf("page %d has %d entries of %d, although the scan goes on", n, len(page.Entries), size)
		case page.Next != "" && (page.Next == cursor || len(page.Entries) == 0 || len(entries) > t.driver.mostRecords()):
			t.Fatalf("page %d does not move on", n)
		case page.Next == "":
			return entries
		}
		if cursor = page.Next; between != nil {
			between(n)
		}
	}
}
