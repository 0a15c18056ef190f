package conformance

import (
	"fmt"
	"strings"

	"github.com/skykv/skykv/kv"
)

func cursorCases() []testCase {
	// someCursor returns ten keys, and a cursor in the middle of them.
	someCursor := func(t *trial) (keys []string, cursor string) {
		keys = numbered("key:", 10)
		t.fillKeys(append([]string{"a", "z"}, keys...)...)
		if cursor = t.page("key:", 5, "").Next; cursor == "" {
			t.Fatalf("Next is empty, though the scan goes on")
		}
		return keys, cursor
	}
	refused := func(t *trial, prefix, cursor string) {
		t.wantRefused(fmt.Sprintf("ScanPage(%q) with cursor %s", prefix, short(cursor)), kv.ErrInvalidCursor, func() error {
			page, err := t.ScanPage(t.ctx, prefix, 100, cursor)
			if len(page.Entries) > 0 {
				t.Errorf("ScanPage(%q) with cursor %s: %d entries", prefix, short(cursor), len(page.Entries))
			}
			return err
		})
	}
	return []testCase{
		rule("cursor/cut",
			"A cursor without some of its characters is refused with ErrInvalidCursor before any I/O.",
			func(t *trial) {
				_, cursor := someCursor(t)
				for i := 1; i < len(cursor); i++ {
					refused(t, "key:", cursor[:i])
					refused(t, "key:", cursor[i:])
				}
			}),
		rule("cursor/bit-flipped",
			"A cursor with any one bit flipped is refused with ErrInvalidCursor before any I/O.",
			func(t *trial) {
				_, cursor := someCursor(t)
				for i := range len(cursor) {
					for bit := range 8 {
						flipped := []byte(cursor)
						flipped[i] ^= 1 << bit
						refused(t, "key:", string(flipped))
					}
				}
			}),
		rule("cursor/extended",
			"A cursor with text before or after it is refused with ErrInvalidCursor before any I/O.",
			func(t *trial) {
				_, cursor := someCursor(t)
				for _, text := range []string{strings.Repeat(cursor, 10_000), cursor + "A", "A" + cursor, cursor + "=", cursor + "\n", " " + cursor, cursor + cursor, cursor + "AAAA"} {
					refused(t, "key:", text)
				}
			}),
		rule("cursor/no-cursor",
			"A text that is not a cursor, such as a key or a version, is refused with ErrInvalidCursor before any I/O.",
			func(t *trial) {
				keys, _ := someCursor(t)
				for _, text := range []string{" ", "0", "key:", keys[3], "null", "é", "\x00", t.get(keys[3]).Version.String()} {
					refused(t, "key:", text)
				}
			}),
		rule("cursor/other-prefix",
			"A cursor belongs to its prefix: with a longer, shorter, different or empty prefix it is refused with ErrInvalidCursor before any I/O.",
			func(t *trial) {
				_, cursor := someCursor(t)
				for _, prefix := range []string{"key:0", "key:0009", "key", "k", "a", "KEY:", ""} {
					refused(t, prefix, cursor)
				}
			}),
		rule("cursor/of-everything",
			"The cursor of a scan of everything is not valid for a prefix.",
			func(t *trial) {
				t.fillKeys(numbered("key:", 5)...)
				cursor := t.page("", 2, "").Next
				refused(t, "key:", cursor)
				refused(t, "k", cursor)
			}),
		rule("cursor/never-widens",
			"No cursor widens a scan beyond the prefix of the call.",
			func(t *trial) {
				t.fillKeys("a:1", "a:2", "b:1", "b:2", "c:1")
				for _, from := range []string{"", "a", "a:", "b:", "b"} {
					cursor := t.page(from, 1, "").Next
					page, err := t.ScanPage(t.ctx, "b:", 100, cursor)
					if from == "b:" {
						t.wantKeys("ScanPage", page.Entries, []string{"b:2"})
						continue
					}
					t.wantError(fmt.Sprintf("ScanPage of b: with a cursor for %q", from), err, kv.ErrInvalidCursor)
					t.wantKeys("ScanPage", page.Entries, nil)
				}
			}),
		rule("cursor/other-store",
			"A cursor is a position: it works on any store, for the same prefix.",
			func(t *trial) {
				keys := numbered("key:", 12)
				t.fillKeys(keys...)
				cursor := t.page("key:", 4, "").Next
				other := t.another()
				var items []kv.Item
				for _, key := range keys {
					items = append(items, kv.Item{Key: key})
				}
				if _, err := other.PutMany(t.ctx, items); err != nil {
					t.Fatalf("PutMany: %v", err)
				}
				page, err := other.ScanPage(t.ctx, "key:", 4, cursor)
				if err != nil {
					t.Fatalf("ScanPage: %v", err)
				}
				t.wantKeys("ScanPage", page.Entries, keys[4:8])
			}),
		rule("cursor/derived-store",
			"A cursor works on the stores that With returns.",
			func(t *trial) {
				keys, cursor := someCursor(t)
				page, err := t.with(kv.Wrap(kv.Level1, named("another-provider"))).ScanPage(t.ctx, "key:", 3, cursor)
				if err != nil {
					t.Fatalf("ScanPage: %v", err)
				}
				t.wantKeys("ScanPage", page.Entries, keys[5:8])
			}),
		rule("cursor/emptied-store",
			"A cursor stays valid when the entries are gone: the next page is then empty, and the last one.",
			func(t *trial) {
				_, cursor := someCursor(t)
				if _, err := t.DeletePrefix(t.ctx, "key:"); err != nil {
					t.Fatalf("DeletePrefix: %v", err)
				}
				if page := t.page("key:", 5, cursor); len(page.Entries) > 0 || page.Next != "" {
					t.Errorf("ScanPage = %d entries, Next %q; want none", len(page.Entries), page.Next)
				}
			}),
	}
}
