package conformance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/skykv/skykv/kv"
)

func scanCases() []testCase {
	cases := []testCase{
		rule("scan/empty-store",
			"A scan of an empty store yields nothing, and no error.",
			func(t *trial) {
				t.wantContent()
				t.wantKeys("Scan", t.scan("a"), nil)
				t.wantKeys("Scan", t.scan("", kv.Limit(5)), nil)
				t.wantKeys("Scan", t.scan("", kv.After("a")), nil)
			}),
		rule("scan/order/alphabet",
			"Scans yield keys in ascending order of their bytes, for all 66 characters: - . 0-9 : A-Z _ a-z.",
			func(t *trial) {
				keys := legal(t.Info(), strings.Split(kv.KeyAlphabet, ""))
				shuffled := slices.Clone(keys)
				rand.New(rand.NewPCG(1, 2)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
				t.fillKeys(shuffled...)
				t.wantKeys("Scan", t.scan(""), keys)
			}),
		rule("scan/order/after-a-prefix",
			"Keys with one prefix are also in ascending order of their bytes, for all 66 characters.",
			func(t *trial) {
				keys := []string{"k"}
				for _, c := range strings.Split(kv.KeyAlphabet, "") {
					keys = append(keys, "k"+c)
				}
				reversed := slices.Clone(keys)
				slices.Reverse(reversed)
				t.fillKeys(reversed...)
				t.wantKeys("Scan", t.scan("k"), keys)
				t.wantKeys("Scan of everything", t.scan(""), keys)
			}),
		rule("scan/order/random",
			"Scans yield keys in ascending order of their bytes, whatever their lengths and the order in which they were written.",
			func(t *trial) {
				random := rand.New(rand.NewPCG(3, 4))
				set := make(map[string]bool)
				for len(set) < 200 {
					key := make([]byte, 1+random.IntN(12))
					for i := range key {
						key[i] = kv.KeyAlphabet[random.IntN(len(kv.KeyAlphabet))]
					}
					set[string(key)] = true
				}
				var keys []string
				for key := range set {
					keys = append(keys, key)
				}
				keys = legal(t.Info(), keys)
				t.fillKeys(keys...)
				slices.Sort(keys)
				t.wantKeys("Scan", t.scan(""), keys)
			}),
		rule("scan/entries",
			"A scan's entries are complete and equal to the entries of Get: key, value, version and expiry.",
			func(t *trial) {
				t.put("a", "one")
				t.put("b", "two", kv.TTL(time.Hour))
				t.put("c", "")
				entries := t.scan("")
				t.wantKeys("Scan", entries, []string{"a", "b", "c"})
				for _, e := range entries {
					got := t.get(e.Key)
					t.wantEntry("Scan", e, e.Key, want{string(got.Value), got.Version, got.ExpiresAt})
				}
			}),
		rule("scan/keys-only",
			"KeysOnly leaves the values nil and sets everything else.",
			func(t *trial) {
				v := t.put("a", "one")
				w := t.put("b", "two", kv.TTL(time.Hour))
				t.fillWithExpired(nil, []string{"aa", "c"})
				at := t.clock.now().Add(time.Hour - time.Second)
				page := t.page("", 5, "", kv.KeysOnly())
				for how, entries := range map[string][]kv.Entry{"Scan": t.scan("", kv.KeysOnly()), "ScanPage": page.Entries} {
					t.wantKeys(how, entries, []string{"a", "b"})
					for _, e := range entries {
						if e.Value != nil {
							t.Errorf("%s: the value of %q is %q; want nil", how, e.Key, e.Value)
						}
						switch e.Key {
						case "a":
							t.wantMeta(how, e, "a", want{version: v})
						case "b":
							t.wantMeta(how, e, "b", want{version: w, expiresAt: at})
						}
					}
				}
			}),
		rule("scan/many",
			"A scan yields every key exactly once and in order, even if that takes several pages of the service.",
			func(t *trial) {
				keys := numbered("key:", 1100)
				t.fillKeys(keys...)
				entries := t.scan("key:")
				t.wantKeys("Scan", entries, keys)
				for _, e := range entries {
					if string(e.Value) != e.Key {
						t.Fatalf("Scan: the value of %s is %s; want its key", short(e.Key), short(string(e.Value)))
					}
				}
				t.wantKeys("Scan, keys only", t.scan("", kv.KeysOnly()), keys)
			}),
		rule("scan/limit",
			"Limit(n) ends the scan after n entries, or earlier if there are fewer.",
			func(t *trial) {
				keys := numbered("key:", 60)
				t.fillKeys(keys...)
				t.fillKeys("z")
				for _, n := range []int{1, 2, 25, 59, 60, 61, 1000, math.MaxInt} {
					t.wantKeys(fmt.Sprintf("Scan with Limit(%d)", n), t.scan("key:", kv.Limit(n)), keys[:min(n, len(keys))])
				}
			}),
		rule("scan/limit-counts-live",
			"Limit counts live entries only.",
			func(t *trial) {
				live := numbered("b", 5)
				t.fillWithExpired(live, append(numbered("a", 40), numbered("b0002x", 40)...))
				t.wantKeys("Scan with Limit(4)", t.scan("", kv.Limit(4)), live[:4])
			}),
		rule("scan/limit-invalid",
			"A Limit below 1 is refused with ErrInvalidOption before any I/O. The scan yields that error once and nothing else.",
			func(t *trial) {
				t.fillKeys("a")
				for _, n := range []int{0, -1, math.MinInt} {
					t.wantRefused(fmt.Sprintf("Scan with Limit(%d)", n), kv.ErrInvalidOption, func() error { return t.scanError("", kv.Limit(n)) })
				}
				t.wantRefused("Scan with a nil option", kv.ErrInvalidOption, func() error { return t.scanError("", nil) })
			}),
		rule("scan/options-together",
			"Limit, After and KeysOnly work together, with a prefix.",
			func(t *trial) {
				keys := numbered("key:", 30)
				t.fillKeys(append([]string{"a", "z"}, keys...)...)
				entries := t.scan("key:", kv.KeysOnly(), kv.After(keys[4]), kv.Limit(10))
				t.wantKeys("Scan", entries, keys[5:15])
				for _, e := range entries {
					if e.Value != nil {
						t.Errorf("Scan with KeysOnly: the value of %q is not nil", e.Key)
					}
				}
			}),
		rule("scan/break",
			"The loop over a scan may end at any entry: the scan then stops reading, and the store stays usable.",
			func(t *trial) {
				keys := numbered("key:", 100)
				t.fillKeys(keys...)
				for _, stop := range []int{1, 2, 50} {
					n := 0
					for e, err := range t.Scan(t.ctx, "") {
						if err != nil {
							t.Fatalf("Scan: %v", err)
						}
						if e.Key != keys[n] {
							t.Errorf("Scan: entry %d is %s; want %s", n, short(e.Key), short(keys[n]))
						}
						if n++; n == stop {
							break
						}
					}
					if left := t.driver.scans.Load(); left > 0 {
						t.Errorf("after a break, %d scans of the driver are still running", left)
					}
					t.put(keys[0], keys[0])
				}
				t.wantContent(keys...)
			}),
		rule("scan/loop-uses-store",
			"The loop over a scan may use the store: read, replace and delete the present entry.",
			func(t *trial) {
				keys := numbered("key:", 40)
				t.fillKeys(keys...)
				var seen []kv.Entry
				for e, err := range t.Scan(t.ctx, "key:") {
					if err != nil {
						t.Fatalf("Scan: %v", err)
					}
					seen = append(seen, e)
					t.wantValue(e.Key, e.Key)
					if len(seen)%2 == 0 {
						t.delete(e.Key, kv.IfVersion(e.Version))
					} else {
						t.put(e.Key, "next", kv.IfVersion(e.Version))
					}
				}
				t.wantKeys("Scan", seen, keys)
				var left []string
				for i, key := range keys {
					if i%2 == 0 {
						left = append(left, key)
					}
				}
				t.wantContent(left...)
			}),
		rule("scan/nested",
			"Scans may run within scans.",
			func(t *trial) {
				keys := numbered("key:", 6)
				t.fillKeys(keys...)
				n := 0
				for e, err := range t.Scan(t.ctx, "") {
					if err != nil {
						t.Fatalf("Scan: %v", err)
					}
					t.wantKeys("the inner Scan", t.scan("", kv.After(e.Key)), keys[n+1:])
					n++
				}
				if n != len(keys) {
					t.Errorf("the outer Scan yields %d entries; want %d", n, len(keys))
				}
			}),
		rule("scan/live-throughout",
			"Every key that is live throughout a scan is yielded exactly once and in order, whatever other keys are written and deleted meanwhile.",
			func(t *trial) {
				stay := numbered("key:", 60)
				var leaving []string
				for _, key := range stay {
					leaving = append(leaving, key+"x")
				}
				t.fillKeys(slices.Concat(stay, leaving)...)
				var seen []kv.Entry
				last, n := "", 0
				for e, err := range t.Scan(t.ctx, "key:") {
					if err != nil {
						t.Fatalf("Scan: %v", err)
					}
					if e.Key <= last {
						t.Errorf("Scan yields %s after %s", short(e.Key), short(last))
					}
					last = e.Key
					if slices.Contains(stay, e.Key) {
						seen = append(seen, e)
						// Replacing the entry must not make the scan yield its key again.
						t.put(e.Key, "replaced")
						if n < len(leaving) {
							t.delete(leaving[len(leaving)-1-n])
							t.put(stay[n]+"y", "new")
						}
						n++
					}
				}
				t.wantKeys("Scan, of the keys that stayed", seen, stay)
			}),
		rule("scan/expired-runs",
			"Scans leave out expired entries, even long sequences of them at the beginning, in the middle or at the end.",
			func(t *trial) {
				live := []string{"b0", "b1", "d0", "d1"}
				t.fillWithExpired(live, slices.Concat(numbered("a", 120), numbered("c", 120), numbered("e", 120)))
				t.wantKeys("Scan", t.scan(""), live)
				t.wantKeys("Scan, keys only", t.scan("", kv.KeysOnly()), live)
				t.wantKeys("Scan with Limit(3)", t.scan("", kv.Limit(3)), live[:3])
			}),
		rule("scan/only-expired",
			"A scan of only expired entries yields nothing.",
			func(t *trial) {
				t.fillWithExpired(nil, numbered("a", 60))
				t.wantKeys("Scan", t.scan(""), nil)
				t.wantKeys("Scan with Limit(1)", t.scan("a", kv.Limit(1)), nil)
			}),
		rule("scan/expires-meanwhile",
			"A scan judges the expiry of each entry when it yields it: it leaves out entries that expire while the loop runs.",
			func(t *trial) {
				t.fill(
					kv.Item{Key: "a"},
					kv.Item{Key: "b", TTL: time.Second},
					kv.Item{Key: "c"},
					kv.Item{Key: "d", TTL: 2 * time.Second},
					kv.Item{Key: "e"},
				)
				var seen []kv.Entry
				for e, err := range t.Scan(t.ctx, "") {
					if err != nil {
						t.Fatalf("Scan: %v", err)
					}
					seen = append(seen, e)
					t.clock.advance(time.Second)
				}
				t.wantKeys("Scan", seen, []string{"a", "c", "e"})
			}),
		rule("scan/damaged-entry",
			"For a record that cannot be read, a scan yields an error, with an entry that has only the key. The loop may go on, and the rest follows.",
			func(t *trial) {
				keys := numbered("key:", 9)
				t.fillKeys(keys...)
				damaged := t.with(kv.Wrap(kv.Level1, damaging(keys[4])))
				var seen []kv.Entry
				failed := 0
				for e, err := range damaged.Scan(t.ctx, "key:") {
					if err != nil {
						failed++
						t.wantError("Scan", err, kv.ErrIncompatible)
						if e.Key != keys[4] || !strings.Contains(err.Error(), keys[4]) {
							t.Errorf("Scan: the error %q comes with the key %q; want key %q, also in the error", err, e.Key, keys[4])
						}
						continue
					}
					seen = append(seen, e)
				}
				if failed != 1 {
					t.Errorf("Scan yields %d errors; want 1", failed)
				}
				t.wantKeys("Scan", seen, slices.Concat(keys[:4], keys[5:]))
			}),
		rule("scan/broken-off",
			"An error that ends a scan is the last that it yields. The entries before it are complete and in order, and After continues from there.",
			func(t *trial) {
				keys := numbered("key:", 60)
				t.fillKeys(keys...)
				broken := t.with(kv.Wrap(kv.Level1, breakingScans(keys[30])))
				var seen []kv.Entry
				ended := false
				for e, err := range broken.Scan(t.ctx, "") {
					if ended {
						t.Fatalf("Scan goes on after the error that ended it")
					}
					if err != nil {
						ended = true
						t.wantError("Scan", err, kv.ErrUnavailable)
						if e.Key != "" {
							t.Errorf("Scan: the error that ends it comes with the key %q", e.Key)
						}
						continue
					}
					seen = append(seen, e)
				}
				if !ended {
					t.Errorf("Scan ends without the error of the driver")
				}
				if len(seen) > 30 {
					t.Fatalf("Scan yields %d entries; only 30 are before the break", len(seen))
				}
				t.wantKeys("Scan", seen, keys[:len(seen)])
				if len(seen) > 0 {
					t.wantKeys("Scan with After", t.scan("", kv.After(seen[len(seen)-1].Key)), keys[len(seen):])
				}
			}),
	}

	for _, p := range []struct{ name, prefix, why string }{
		{"all", "", "The empty prefix matches all keys."},
		{"none", "a:3", "A prefix that no key has yields nothing."},
		{"past-all", "zzzz", "A prefix after all keys yields nothing."},
		{"before-all", "--", "A prefix before all keys yields nothing."},
		{"is-a-key", "a", "A prefix that is a key itself yields that key first."},
		{"with-separator", "a:", "Keys that sort near the prefix need not start with it."},
		{"within-a-word", "a:1", "A prefix may end within a word."},
		{"upper-case", "A", "Prefixes are case-sensitive."},
		{"lowest-byte", "-", "The prefix may be the lowest byte."},
		{"highest-byte", "z", "The prefix may be the highest byte, which has no next byte."},
		{"dot", ".", "The prefix may be a dot."},
		{"underscores", "__", "The prefix may be two underscores."},
		{"colon", ":", "The prefix may be a colon."},
		{"whole-key", "a:1:x", "The prefix may be one whole key."},
	} {
		cases = append(cases, rule("scan/prefix/"+p.name,
			p.why+" A scan yields exactly the keys that start with its prefix.",
			func(t *trial) {
				t.fillKeys(t.family()...)
				keys := t.familyOf(p.prefix, "")
				t.wantKeys("Scan", t.scan(p.prefix), keys)
				t.wantKeys("ScanPage", t.page(p.prefix, len(family), "").Entries, keys)
			}))
	}
	cases = append(cases, rule("scan/prefix/longest",
		"A prefix may be as long as the longest key. A longer one is refused with ErrInvalidKey.",
		func(t *trial) {
			long := strings.Repeat("z", t.maxKeyLen())
			t.fillKeys("z", long[1:], long)
			t.wantKeys("Scan", t.scan(long), []string{long})
			t.wantKeys("Scan", t.scan(long[1:]), []string{long[1:], long})
			t.wantRefused("Scan", kv.ErrInvalidKey, func() error { return t.scanError(long + "z") })
		}))

	for _, a := range []struct {
		name, prefix, after, why string
	}{
		{"a-key", "", "a:1", "After(key) starts after that key."},
		{"an-absent-key", "", "a:11", "After(key) need not name a key that exists."},
		{"a-prefix-of-keys", "", "a", "After(key) starts with longer keys that begin with key."},
		{"the-start", "", "", "After of the empty key means the start."},
		{"before-all", "", "--", "If After is lower than all keys, the scan yields everything."},
		{"the-last", "", "zzz", "If After is the last key, the scan yields nothing."},
		{"past-all", "", "zzzz", "If After is greater than all keys, the scan yields nothing."},
		{"a-key-of-the-prefix", "a:", "a:1", "After and a prefix apply together."},
		{"the-prefix-itself", "a:", "a:", "If After is the prefix itself, the scan starts with longer keys."},
		{"before-the-prefix", "a:", "A", "After may be before the prefix."},
		{"past-the-prefix", "a:", "b", "If After is greater than all keys of the prefix, the scan yields nothing."},
		{"the-prefix-s-last", "a:", "a:zz", "If After is the last key of the prefix, the scan yields nothing."},
	} {
		cases = append(cases, rule("scan/after/"+a.name,
			a.why+" A scan yields exactly the keys that have its prefix and are greater.",
			func(t *trial) {
				t.fillKeys(t.family()...)
				keys := t.familyOf(a.prefix, a.after)
				t.wantKeys("Scan", t.scan(a.prefix, kv.After(a.after)), keys)
				t.wantKeys("ScanPage", t.page(a.prefix, len(family), "", kv.After(a.after)).Entries, keys)
			}))
	}
	return slices.Concat(cases, rangeCases(), []testCase{rule("scan/after/the-longest",
		"After takes keys of the greatest length, and refuses longer ones.",
		func(t *trial) {
			long := strings.Repeat("k", t.maxKeyLen())
			below := long[:len(long)-1] + "j"
			t.fillKeys("a", below, long, "l")
			t.wantKeys("Scan", t.scan("", kv.After(below)), []string{long, "l"})
			t.wantKeys("Scan", t.scan("", kv.After(long)), []string{"l"})
			t.wantKeys("Scan", t.scan("k", kv.After(long)), nil)
			t.wantRefused("Scan", kv.ErrInvalidKey, func() error { return t.scanError("", kv.After(long+"k")) })
		})})
}

// rangeCases check From and Before, alone and together with the other options of a scan.
func rangeCases() []testCase {
	var cases []testCase
	for _, r := range []struct {
		name                        string
		prefix, from, after, before string
		why                         string
	}{
		{"from-a-key", "", "a:1", "", "", "From(key) starts at that key."},
		{"from-an-absent-key", "", "a:11", "", "", "From(key) need not name a key that exists."},
		{"from-before-all", "", "-", "", "", "If From is the lowest key, the scan yields everything."},
		{"from-past-all", "", "zzzz", "", "", "If From is greater than all keys, the scan yields nothing."},
		{"from-within-the-prefix", "a:", "a:1", "", "", "From and a prefix apply together."},
		{"from-before-the-prefix", "a:", "A", "", "", "From may be before the prefix."},
		{"from-past-the-prefix", "a:", "b", "", "", "If From is greater than all keys of the prefix, the scan yields nothing."},
		{"before-a-key", "", "", "", "a:1", "Before(key) ends before that key."},
		{"before-an-absent-key", "", "", "", "a:11", "Before(key) need not name a key that exists."},
		{"before-a-key-that-begins-others", "", "", "", "a:", "Before(key) also leaves out longer keys that begin with key."},
		{"before-the-lowest-byte", "", "", "", "a:-", "Before may end with the lowest byte."},
		{"before-the-lowest-key", "", "", "", "-", "If Before is the lowest key, the scan yields nothing."},
		{"before-the-highest-byte", "", "", "", "zzz", "Before may end with the highest byte."},
		{"before-past-all", "", "", "", "zzzzz", "If Before is greater than all keys, the scan yields everything."},
		{"before-within-the-prefix", "a:", "", "", "a:2", "Before and a prefix apply together."},
		{"before-the-prefix", "a:", "", "", "A", "If Before is lower than the prefix, the scan yields nothing."},
		{"before-the-prefix-itself", "a:", "", "", "a:", "If Before is the prefix itself, the scan yields nothing."},
		{"before-past-the-prefix", "a:", "", "", "b", "If Before is greater than all keys of the prefix, the scan yields all of them."},
		{"from-and-before", "", "a.", "", "a:A", "From and Before apply together."},
		{"one-key", "", "a:1", "", "a:1-", "A range may have one key."},
		{"from-is-before", "", "a:1", "", "a:1", "A range that ends where it starts is empty."},
		{"from-after-before", "", "b", "", "a", "A range that ends before it starts is empty."},
		{"from-and-a-later-after", "", "a:1", "a:10", "", "If there are both From and After, the later one counts."},
		{"from-and-an-earlier-after", "", "a:2", "a:1", "", "If there are both From and After, the later one counts."},
		{"from-and-after-of-one-key", "", "a:1", "a:1", "", "After of a key is later than From of that key."},
		{"after-and-before", "a:", "", "a:1", "a:z", "After, Before and a prefix apply together."},
		{"all-together", "a:", "a:-", "a:1", "a:A", "From, After, Before and a prefix apply together."},
		{"empty-keys", "a:", "", "", "", "From and Before of the empty key mean the start and the end."},
	} {
		cases = append(cases, rule("scan/range/"+r.name,
			r.why+" A scan yields exactly the keys that have its prefix and are in its range, even with a Limit and in pages.",
			func(t *trial) {
				t.fillKeys(t.family()...)
				keys := slices.DeleteFunc(t.familyOf(r.prefix, r.after), func(key string) bool { return key < r.from || r.before != "" && key >= r.before })
				opts := []kv.PageOption{kv.From(r.from), kv.After(r.after), kv.Before(r.before)}
				t.wantKeys("Scan", t.scan(r.prefix, scanOptions(opts)...), keys)
				t.wantKeys("Scan with Limit(3)", t.scan(r.prefix, scanOptions(opts, kv.Limit(3))...), keys[:min(3, len(keys))])
				t.wantKeys("ScanPage", t.pages(r.prefix, 4, nil, opts...), keys)
			}))
	}
	return append(cases,
		rule("scan/range/many",
			"A scan yields every key of a large range exactly once and in order, even if that takes several pages of the service.",
			func(t *trial) {
				keys := numbered("key:", 1100)
				t.fillKeys(keys...)
				t.wantKeys("Scan", t.scan("key:", kv.From(keys[20]), kv.Before(keys[1080])), keys[20:1080])
				t.wantKeys("Scan, keys only", t.scan("", kv.KeysOnly(), kv.From(keys[1]), kv.Before(keys[999])), keys[1:999])
				t.wantKeys("ScanPage", t.pages("key:", 300, nil, kv.From(keys[7]), kv.Before(keys[1099])), keys[7:1099])
			}),
		rule("scan/range/in-a-group",
			"A range within one group, or over several groups, has exactly its keys.",
			func(t *trial) {
				keys := groups()
				t.fillKeys(keys...)
				for _, r := range []struct{ prefix, from, before string }{
					{"g7::", "g7::a", "g7::b::"}, {"g7::", "", "g7::b"}, {"g7::", "g7::b", ""}, {"g7::", "g6", "g8"}, {"g1", "g11::b", "g17:"}, {"", "g1::a", "g9"},
				} {
					var want []string
					for _, key := range startingWith(r.prefix, keys) {
						if key >= r.from && (r.before == "" || key < r.before) {
							want = append(want, key)
						}
					}
					t.wantKeys(fmt.Sprintf("Scan of %q from %q before %q", r.prefix, r.from, r.before), t.scan(r.prefix, kv.From(r.from), kv.Before(r.before)), want)
				}
			}),
		rule("scan/range/in-namespace",
			"In a namespace From and Before are keys of the namespace.",
			func(t *trial) {
				t.fillKeys("a:1", "a:2", "n", "n9", "n:", "o:a:1")
				t.inNamespace("n:")
				t.fillKeys(t.family()...)
				t.wantKeys("Scan", t.scan("", kv.From("a:1"), kv.Before("a:A")), []string{"a:1", "a:10", "a:1:x", "a:2"})
				t.wantKeys("Scan", t.scan("", kv.Before("-a")), []string{"-"})
				t.wantKeys("Scan", t.scan("z", kv.From("zz")), []string{"zz", "zzz"})
				t.wantKeys("ScanPage", t.pages("", 3, nil, kv.From("y")), t.familyOf("", "b:1"))
			}),
		rule("scan/range/invalid",
			"From and Before refuse a key that is not legal with ErrInvalidKey before any I/O. Keys of the greatest length are legal.",
			func(t *trial) {
				long := strings.Repeat("k", t.maxKeyLen())
				t.fillKeys("a", long, "l")
				t.wantKeys("Scan", t.scan("", kv.From(long), kv.Before("l")), []string{long})
				t.wantKeys("Scan", t.scan("", kv.Before(long)), []string{"a"})
				for _, key := range []string{"a b", "ä", long + "k"} {
					t.wantRefused("Scan with From", kv.ErrInvalidKey, func() error { return t.scanError("", kv.From(key)) })
					t.wantRefused("Scan with Before", kv.ErrInvalidKey, func() error { return t.scanError("", kv.Before(key)) })
					t.wantRefused("ScanPage with Before", kv.ErrInvalidKey, func() error { _, err := t.ScanPage(t.ctx, "", 1, "", kv.Before(key)); return err })
				}
			}),
	)
}

// scanOptions appends the options of a page, opts, to the options of a scan, more.
func scanOptions(opts []kv.PageOption, more ...kv.ScanOption) []kv.ScanOption {
	for _, opt := range opts {
		more = append(more, opt)
	}
	return more
}
