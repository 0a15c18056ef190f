package torture

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/skykv/skykv/kv"
)

// TestPrograms checks that random programs of puts, deletions, reads, scans and batches have the
// same results on every provider as on a plain map. If the results differ, the program is shrunk to
// a short one.
func TestPrograms(t *testing.T) {
	setPrograms(t, cmp.Or(os.Getenv("SKYKV_PROGRAMS"), "4"))
	inAllWorlds(t, func(t *testing.T, w *world) {
		rapid.Check(t, func(r *rapid.T) { runProgram(r, w.stores) })
	})
}

// setPrograms sets how many programs run, and the seed.
func setPrograms(t *testing.T, programs string) {
	for name, value := range map[string]string{
		"rapid.checks": programs, "rapid.seed": strconv.FormatUint(max(Seed(t), 1), 10), "rapid.nofailfile": "true", "rapid.steps": "60",
	} {
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
}

// TestProgramsFindBrokenDrivers checks that random programs find bugs.
func TestProgramsFindBrokenDrivers(t *testing.T) {
	setPrograms(t, "500")
	for _, bug := range bugs {
		switch bug.name {
		case "forgets the expiry", "sets the expiry a second late", "takes an expired entry for a live one when it is to be absent",
			"loses every tenth put", "reads what was there a while ago", "keeps the version when the value changes":
		default:
			continue // it takes several clients or a lost response to find such a bug
		}
		t.Run(strings.ReplaceAll(bug.name, " ", "_"), func(t *testing.T) {
			w := brokenWorld(t, bug.above, bug.below)
			failures := failuresOf(t.Context(), func(c checking) {
				rapid.Check(c.(rapid.TB), func(r *rapid.T) { runProgram(r, w.stores) })
			})
			if failures != nil {
				t.Logf("found: %.200s", failures[0])
				return
			}
			t.Errorf("rule: random programs find a driver that %s", bug.name)
		})
	}
}

var programCount atomic.Int64

// program is one random program: a store, a plain map of entries that expire, and a clock
// for both.
type program struct {
	*rapid.T
	ctx     context.Context
	prefix  string
	now     time.Time
	store   *kv.Store
	entries map[string]*plain
	old     map[string][]kv.Version // earlier versions of each key
	cursors map[string][]string     // cursors of pages, by prefix
	skip    map[string]string       // for each cursor, the last key of the page that returned the cursor
}

// plain is an entry of the plain map.
type plain struct {
	value   string
	expires int64
	version kv.Version
}

func runProgram(r *rapid.T, stores []*kv.Store) {
	p := &program{
		T: r, ctx: context.Background(),
		prefix:  fmt.Sprintf("p%d:", programCount.Add(1)),
		now:     time.Now().Truncate(time.Millisecond),
		entries: make(map[string]*plain), old: make(map[string][]kv.Version),
		cursors: make(map[string][]string), skip: make(map[string]string),
	}
	var derived []*kv.Store
	for _, s := range stores {
		derived = append(derived, s.With(kv.Clock(func() time.Time { return p.now })))
	}
	p.store = derived[0]
	r.Repeat(map[string]func(*rapid.T){
		"": func(t *rapid.T) {
			p.T = t
			p.store = derived[rapid.IntRange(0, len(derived)-1).Draw(t, "store")]
		},
		"Put":          func(t *rapid.T) { p.T = t; p.put() },
		"Put again":    func(t *rapid.T) { p.T = t; p.put() },
		"Delete":       func(t *rapid.T) { p.T = t; p.delete() },
		"Get":          func(t *rapid.T) { p.T = t; p.get() },
		"Exists":       func(t *rapid.T) { p.T = t; p.exists() },
		"Scan":         func(t *rapid.T) { p.T = t; p.scan() },
		"ScanPage":     func(t *rapid.T) { p.T = t; p.scanPage() },
		"GetMany":      func(t *rapid.T) { p.T = t; p.getMany() },
		"PutMany":      func(t *rapid.T) { p.T = t; p.putMany() },
		"DeleteMany":   func(t *rapid.T) { p.T = t; p.deleteMany() },
		"DeletePrefix": func(t *rapid.T) { p.T = t; p.deletePrefix() },
		"time passes":  func(t *rapid.T) { p.T = t; p.jump() },
		"Put refused":  func(t *rapid.T) { p.T = t; p.refused() },
	})
	p.T = r
	p.checkAll()
}

// parts are the parts of keys. The keys sort in surprising ways, and some keys are prefixes of
// other keys.
var parts = []string{"-", ".", "0", "9", ":", "A", "Z", "_", "a", "z", "..", "__x__"}

func (p *program) key(label string) string {
	n := rapid.SampledFrom([]int{1, 1, 1, 2}).Draw(p.T, label+" length")
	key := p.prefix
	for i := range n {
		key += rapid.SampledFrom(parts).Draw(p.T, fmt.Sprintf("%s part %d", label, i))
	}
	return key
}

func (p *program) keys(label string) []string {
	n := rapid.IntRange(0, 40).Draw(p.T, label)
	keys := make([]string, n)
	for i := range keys {
		keys[i] = p.key(label)
	}
	return keys
}

func (p *program) scanned() string {
	prefix := p.prefix
	if rapid.Bool().Draw(p.T, "narrow") {
		prefix += rapid.SampledFrom(parts).Draw(p.T, "prefix")
	}
	return prefix
}

func (p *program) live(key string) *plain {
	e := p.entries[key]
	if e == nil || e.expires != 0 && p.now.UnixMilli() >= e.expires {
		return nil
	}
	return e
}

// liveKeys returns the keys of the map that have this prefix, are greater than the key after,
// and have not expired, in order.
func (p *program) liveKeys(prefix, after string) []string {
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(p.entries)) {
		if strings.HasPrefix(key, prefix) && key > after && p.live(key) != nil {
			keys = append(keys, key)
		}
	}
	return keys
}

func (p *program) value() string {
	size := rapid.SampledFrom([]int{0, 1, 10, 300, 5000, kv.MaxValueLen}).Draw(p.T, "size")
	return strings.Repeat(rapid.SampledFrom([]string{"x", "\x00", "ü", "\xff"}).Draw(p.T, "value"), size)[:size]
}

// expiry chooses an expiry at random. It returns the options of a Put that set it, and the
// fields TTL and ExpiresAt of an Item that set it. expires is when the entry then expires, in
// milliseconds since the Unix epoch, or 0 for no expiry.
func (p *program) expiry() (opts []kv.PutOption, ttl time.Duration, at time.Time, expires int64) {
	d := time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(10*time.Minute)).Draw(p.T, "ttl"))
	switch rapid.SampledFrom([]string{"none", "ttl", "at", "zero"}).Draw(p.T, "expiry") {
	case "ttl":
		ttl = d
		opts = append(opts, kv.TTL(d))
	case "at":
		at = p.now.Add(d)
		opts = append(opts, kv.ExpiresAt(at))
	case "zero":
		return []kv.PutOption{kv.ExpiresAt(time.Time{})}, 0, time.Time{}, 0
	default:
		return nil, 0, time.Time{}, 0
	}
	return opts, ttl, at, p.now.Add(d + time.Millisecond - 1).UnixMilli()
}

// The method version chooses a version for IfVersion, and returns the error that the call must
// then return.
func (p *program) version(key string) (kv.Version, error) {
	switch rapid.SampledFrom([]string{"current", "current", "old", "another key's", "empty"}).Draw(p.T, "version") {
	case "current":
		if e := p.entries[key]; e != nil {
			if p.live(key) == nil {
				return e.version, kv.ErrConditionFailed
			}
			return e.version, nil
		}
	case "old":
		if old := p.old[key]; len(old) > 0 {
			return rapid.SampledFrom(old).Draw(p.T, "old version"), kv.ErrConditionFailed
		}
	case "another key's":
		for _, other := range slices.Sorted(maps.Keys(p.entries)) {
			if other != key {
				return p.entries[other].version, kv.ErrInvalidVersion
			}
		}
	}
	return kv.Version{}, kv.ErrInvalidVersion
}

func (p *program) set(key string, e *plain) {
	p.gone(key)
	p.entries[key] = e
}

func (p *program) gone(key string) {
	if e := p.entries[key]; e != nil {
		p.old[key] = append(p.old[key], e.version)
	}
	delete(p.entries, key)
}

func (p *program) put() {
	key, value := p.key("key"), p.value()
	opts, _, _, expires := p.expiry()
	var want error
	switch rapid.SampledFrom([]string{"", "", "if not exists", "if version"}).Draw(p.T, "condition") {
	case "if not exists":
		opts = append(opts, kv.IfNotExists())
		if p.live(key) != nil {
			want = kv.ErrConditionFailed
		}
	case "if version":
		var version kv.Version
		version, want = p.version(key)
		opts = append(opts, kv.IfVersion(version))
	}
	version, err := p.store.Put(p.ctx, key, []byte(value), opts...)
	p.wantError("Put", key, err, want)
	if want == nil {
		p.set(key, &plain{value, expires, version})
	}
}

func (p *program) wantError(op, key string, err, want error) {
	if !errors.Is(err, want) || errors.Is(err, kv.ErrIndeterminate) {
		p.Fatalf("%s(%q): %v; the map has %v", op, key, err, want)
	}
}

// The method refused makes puts that must be refused.
func (p *program) refused() {
	key := p.key("key")
	for _, bad := range []struct {
		key  string
		opts []kv.PutOption
		want error
	}{
		{key + "/", nil, kv.ErrInvalidKey},
		{key, []kv.PutOption{kv.TTL(0)}, kv.ErrInvalidOption},
		{key, []kv.PutOption{kv.ExpiresAt(p.now.Add(-time.Millisecond))}, kv.ErrInvalidOption},
		{key, []kv.PutOption{kv.IfNotExists(), kv.IfNotExists()}, kv.ErrInvalidOption},
	} {
		_, err := p.store.Put(p.ctx, bad.key, []byte("refused"), bad.opts...)
		p.wantError("Put", bad.key, err, bad.want)
	}
	_, err := p.store.Put(p.ctx, key, make([]byte, kv.MaxValueLen+1))
	p.wantError("Put", key, err, kv.ErrValueTooLarge)
}

func (p *program) delete() {
	key := p.key("key")
	var opts []kv.DeleteOption
	var want error
	if rapid.Bool().Draw(p.T, "conditional") {
		var version kv.Version
		version, want = p.version(key)
		opts = append(opts, kv.IfVersion(version))
	}
	p.wantError("Delete", key, p.store.Delete(p.ctx, key, opts...), want)
	if want == nil {
		p.gone(key)
	}
}

// The method same checks that the map has the entry e, which the store returned.
func (p *program) same(op string, e kv.Entry, withValue bool) {
	want := p.live(e.Key)
	if want == nil {
		p.Fatalf("%s returned %q, which is not in the map", op, e.Key)
	}
	if withValue && (string(e.Value) != want.value || e.Value == nil) || !withValue && e.Value != nil {
		p.Fatalf("%s of %q: a value of %d bytes (nil: %v); the map has %d", op, e.Key, len(e.Value), e.Value == nil, len(want.value))
	}
	expires := int64(0)
	if !e.ExpiresAt.IsZero() {
		expires = e.ExpiresAt.UnixMilli()
	}
	if expires != want.expires {
		p.Fatalf("%s of %q: it expires at %d; the map has %d", op, e.Key, expires, want.expires)
	}
	if e.Version != want.version {
		p.Fatalf("%s of %q: the version is not that of the last write", op, e.Key)
	}
	if slices.Contains(p.old[e.Key], e.Version) {
		p.Fatalf("%s of %q: the version is that of an earlier state", op, e.Key)
	}
	if parsed, err := kv.ParseVersion(e.Version.String()); err != nil || parsed != e.Version {
		p.Fatalf("%s of %q: the version cannot be restored from its text: %v", op, e.Key, err)
	}
}

func (p *program) get() {
	key := p.key("key")
	e, err := p.store.Get(p.ctx, key)
	if p.live(key) == nil {
		p.wantError("Get", key, err, kv.ErrNotFound)
		return
	}
	p.wantError("Get", key, err, nil)
	p.same("Get", e, true)
}

func (p *program) exists() {
	key := p.key("key")
	ok, err := p.store.Exists(p.ctx, key)
	if err != nil || ok != (p.live(key) != nil) {
		p.Fatalf("Exists(%q) = %v, %v; the map has %v", key, ok, err, !ok)
	}
}

func (p *program) getMany() {
	keys := p.keys("keys")
	entries, err := p.store.GetMany(p.ctx, keys)
	p.wantError("GetMany", p.prefix, err, nil)
	found := make(map[string]bool)
	for _, key := range keys {
		if p.live(key) != nil {
			found[key] = true
			if e, ok := entries[key]; !ok || e.Key != key {
				p.Fatalf("GetMany lacks %q", key)
			}
			p.same("GetMany", entries[key], true)
		}
	}
	if len(entries) != len(found) {
		p.Fatalf("GetMany returned %d entries; the map has %d", len(entries), len(found))
	}
}

func (p *program) putMany() {
	keys := p.keys("keys")
	var items []kv.Item
	stored := make(map[string]*plain)
	for _, key := range keys {
		value := p.value()
		_, ttl, at, expires := p.expiry()
		items = append(items, kv.Item{Key: key, Value: []byte(value), TTL: ttl, ExpiresAt: at})
		stored[key] = &plain{value: value, expires: expires}
	}
	versions, err := p.store.PutMany(p.ctx, items)
	p.wantError("PutMany", p.prefix, err, nil)
	for key, e := range stored {
		e.version = versions[key]
		p.set(key, e)
	}
}

func (p *program) deleteMany() {
	keys := p.keys("keys")
	p.wantError("DeleteMany", p.prefix, p.store.DeleteMany(p.ctx, keys), nil)
	for _, key := range keys {
		p.gone(key)
	}
}

func (p *program) deletePrefix() {
	prefix := p.scanned()
	want := len(p.liveKeys(prefix, ""))
	n, err := p.store.DeletePrefix(p.ctx, prefix)
	if err != nil || n != want {
		p.Fatalf("DeletePrefix(%q) = %d, %v; the map had %d", prefix, n, err, want)
	}
	for key := range p.entries {
		if strings.HasPrefix(key, prefix) {
			p.gone(key)
		}
	}
}

func (p *program) scan() {
	prefix, after := p.scanned(), ""
	var opts []kv.ScanOption
	if rapid.Bool().Draw(p.T, "after") {
		after = p.key("after")
		opts = append(opts, kv.After(after))
	}
	want := p.liveKeys(prefix, after)
	if rapid.Bool().Draw(p.T, "limited") {
		limit := rapid.IntRange(1, 20).Draw(p.T, "limit")
		opts = append(opts, kv.Limit(limit))
		want = want[:min(limit, len(want))]
	}
	withValue := rapid.Bool().Draw(p.T, "values")
	if !withValue {
		opts = append(opts, kv.KeysOnly())
	}
	var got []string
	for e, err := range p.store.Scan(p.ctx, prefix, opts...) {
		p.wantError("Scan", prefix, err, nil)
		p.same("Scan", e, withValue)
		got = append(got, e.Key)
	}
	if !slices.Equal(got, want) {
		p.Fatalf("Scan(%q, after %q) returned %q; the map has %q", prefix, after, got, want)
	}
}

func (p *program) scanPage() {
	prefix := p.scanned()
	cursor, after := "", ""
	if cursors := p.cursors[prefix]; len(cursors) > 0 && rapid.Bool().Draw(p.T, "go on") {
		cursor = rapid.SampledFrom(cursors).Draw(p.T, "cursor")
		after = p.skip[cursor]
	}
	limit := rapid.IntRange(1, 12).Draw(p.T, "limit")
	page, err := p.store.ScanPage(p.ctx, prefix, limit, cursor)
	p.wantError("ScanPage", prefix, err, nil)
	want := p.liveKeys(prefix, after)
	more := len(want) > limit
	want = want[:min(limit, len(want))]
	var got []string
	for _, e := range page.Entries {
		p.same("ScanPage", e, true)
		got = append(got, e.Key)
	}
	if !slices.Equal(got, want) || more != (page.Next != "") {
		p.Fatalf("ScanPage(%q, %d) after %q returned %q, more: %v; the map has %q, more: %v", prefix, limit, after, got, page.Next != "", want, more)
	}
	if page.Next != "" {
		p.cursors[prefix] = append(p.cursors[prefix], page.Next)
		p.skip[page.Next] = got[len(got)-1]
	}
	if cursor != "" {
		_, err := p.store.ScanPage(p.ctx, prefix+"a", limit, cursor)
		p.wantError("ScanPage with the cursor of another prefix", prefix, err, kv.ErrInvalidCursor)
	}
}

// jump moves the clock: mostly forward, sometimes a little back. It often jumps to an
// expiry, or to the millisecond before one.
func (p *program) jump() {
	var instants []int64
	for _, key := range slices.Sorted(maps.Keys(p.entries)) {
		if at := p.entries[key].expires; at > p.now.UnixMilli() {
			instants = append(instants, at)
		}
	}
	switch kind := rapid.SampledFrom([]string{"to an expiry", "before an expiry", "on", "back"}).Draw(p.T, "jump"); {
	case kind == "on":
		p.now = p.now.Add(time.Duration(rapid.Int64Range(0, int64(5*time.Minute)).Draw(p.T, "by")))
	case kind == "back":
		p.now = p.now.Add(-time.Duration(rapid.Int64Range(0, int64(10*time.Second)).Draw(p.T, "by")))
	case len(instants) > 0:
		at := rapid.SampledFrom(instants).Draw(p.T, "instant")
		if kind == "before an expiry" {
			at--
		}
		p.now = time.UnixMilli(at)
	}
}

// checkAll compares the whole store with the map.
func (p *program) checkAll() {
	var got []string
	for e, err := range p.store.Scan(p.ctx, p.prefix) {
		p.wantError("Scan", p.prefix, err, nil)
		p.same("Scan", e, true)
		got = append(got, e.Key)
	}
	if want := p.liveKeys(p.prefix, ""); !slices.Equal(got, want) {
		p.Fatalf("at the end the store has %q; the map has %q", got, want)
	}
}
