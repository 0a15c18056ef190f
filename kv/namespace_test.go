package kv_test

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skykv/skykv/conformance"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// neighbours are keys of a store that sort before and after the keys of the namespace
// "ns:". They do not belong to the namespace.
var neighbours = []string{"-", "n", "ns", "ns-", "ns.", "ns9", "ns_", "nsa", "nt", "z", "zz"}

func TestNamespaceConformance(t *testing.T) {
	t.Parallel()
	for _, prefixes := range [][]string{{"ns:"}, {"-"}, {"z"}, {"outer:", "inner:"}, {strings.Repeat("p", 400)}} {
		t.Run(prefixes[0][:1], func(t *testing.T) {
			t.Parallel()
			conformance.Run(t, conformance.Config{New: func(ctx context.Context) (*kv.Store, error) {
				store, full := memkv.New(), strings.Join(prefixes, "")
				// These keys are next to the keys of the namespace: one is shorter, one has
				// a lower byte, and one has a higher byte.
				for _, key := range []string{full[:len(full)-1] + "-", full[:len(full)-1] + "zz", full[:len(full)-1]} {
					if key == "" || strings.HasPrefix(key, full) {
						continue
					}
					if _, err := store.Put(ctx, key, []byte("a neighbour")); err != nil {
						return nil, err
					}
				}
				var err error
				for _, prefix := range prefixes {
					if store, err = store.Namespace(prefix); err != nil {
						return nil, err
					}
				}
				return store, nil
			}})
		})
	}
}

func TestNamespaceMapsKeys(t *testing.T) {
	t.Parallel()
	ctx, store := t.Context(), memkv.New()
	for _, key := range neighbours {
		put(t, store, key, "a neighbour")
	}
	ns := namespace(t, store, "ns:")
	put(t, ns, "a", "1")
	if _, err := ns.PutMany(ctx, []kv.Item{{Key: "b", Value: []byte("2")}, {Key: "ns:c", Value: []byte("3")}}); err != nil {
		t.Fatal(err)
	}
	want := append([]string{"ns:a", "ns:b", "ns:ns:c"}, neighbours...)
	slices.Sort(want)
	if got := scanned(t, store.Scan(ctx, "")); !slices.Equal(got, slices.Compact(want)) {
		t.Errorf("the store holds %q; want %q", got, want)
	}
	if got := scanned(t, ns.Scan(ctx, "")); !slices.Equal(got, []string{"a", "b", "ns:c"}) {
		t.Errorf("rule: a namespace has its own keys, without the prefix; Scan yields %q", got)
	}
	if got := scanned(t, ns.Scan(ctx, "", kv.After("zzzz"))); len(got) != 0 {
		t.Errorf("rule: a scan stays within its namespace; after its last key it yields %q", got)
	}
	entries, err := ns.GetMany(ctx, []string{"a", "ns:c", "nsa", "z"})
	if err != nil || !slices.Equal(slices.Sorted(maps.Keys(entries)), []string{"a", "ns:c"}) {
		t.Errorf("GetMany = %v, %v; want a and ns:c", slices.Sorted(maps.Keys(entries)), err)
	}
	if n, err := ns.DeletePrefix(ctx, "n"); n != 1 || err != nil {
		t.Errorf("DeletePrefix = %d, %v; want 1: the neighbours are not the namespace's", n, err)
	}
	if err := ns.DeleteMany(ctx, []string{"a", "b", "z"}); err != nil {
		t.Fatal(err)
	}
	if got := scanned(t, store.Scan(ctx, "")); len(got) != len(slices.Compact(slices.Sorted(slices.Values(neighbours)))) {
		t.Errorf("rule: a namespace leaves other keys alone; the store now holds %q", got)
	}
}

func TestNamespaceBudget(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	ns := namespace(t, store, "ns:")
	if got := ns.Info().MaxKeyLen; got != kv.MaxKeyLen-3 {
		t.Errorf("MaxKeyLen is %d; want %d: the prefix counts", got, kv.MaxKeyLen-3)
	}
	put(t, ns, strings.Repeat("k", kv.MaxKeyLen-3), "longest")
	if _, err := ns.Put(t.Context(), strings.Repeat("k", kv.MaxKeyLen-2), nil); !errors.Is(err, kv.ErrInvalidKey) {
		t.Errorf("a key that is too long with the prefix returns %v; want ErrInvalidKey", err)
	}
	put(t, namespace(t, store, strings.Repeat("p", kv.MaxKeyLen-1)), "k", "the only byte")
	for _, prefix := range []string{"a/b", "ü", strings.Repeat("p", kv.MaxKeyLen), strings.Repeat("p", kv.MaxKeyLen+1)} {
		if _, err := store.Namespace(prefix); !errors.Is(err, kv.ErrInvalidKey) {
			t.Errorf("Namespace with the prefix %.20q of %d bytes returns %v; want ErrInvalidKey", prefix, len(prefix), err)
		}
	}
	if same, err := store.Namespace(""); same != store || err != nil {
		t.Errorf("the empty prefix returns %v, %v; want the store itself", same, err)
	}
}

func TestNamespaceVersions(t *testing.T) {
	t.Parallel()
	ctx, store := t.Context(), memkv.New()
	long := strings.Repeat("p", 300)
	views := map[string]*kv.Store{
		"the store":           store,
		"a:":                  namespace(t, store, "a:"),
		"b:":                  namespace(t, store, "b:"),
		"a: in a:":            namespace(t, namespace(t, store, "a:"), "a:"),
		"a:a:":                namespace(t, store, "a:a:"),
		"300 bytes":           namespace(t, store, long),
		"300 bytes and one":   namespace(t, store, long+"a"),
		"300 bytes, then one": namespace(t, namespace(t, store, long), "a"),
	}
	versions := make(map[string]kv.Version)
	for name, view := range views {
		version := put(t, view, "key", name)
		text, err := kv.ParseVersion(version.String())
		if err != nil || text != version {
			t.Errorf("%s: the text of the version does not parse: %v", name, err)
		}
		versions[name] = version
	}
	for from, version := range versions {
		for to, view := range views {
			_, err := view.Put(ctx, "key", nil, kv.IfVersion(version))
			if from != to && !errors.Is(err, kv.ErrInvalidVersion) {
				t.Errorf("rule: versions belong to one view; the version of %s returns %v in %s, want ErrInvalidVersion", from, err, to)
			}
		}
	}
	again := namespace(t, store, "a:")
	version := put(t, views["a:"], "key", "new")
	if _, err := again.Put(ctx, "key", nil, kv.IfVersion(version)); err != nil {
		t.Errorf("rule: views of one namespace share versions; got %v", err)
	}
}

// A cursor is a position: it works in any view, and never leads out of the view.
func TestNamespaceCursors(t *testing.T) {
	t.Parallel()
	ctx, store := t.Context(), memkv.New()
	a, b := namespace(t, store, "a:"), namespace(t, store, "b:")
	for _, key := range []string{"1", "2", "3", "4"} {
		put(t, a, key, key)
		put(t, b, key, key)
	}
	page, err := a.ScanPage(ctx, "", 2, "")
	if err != nil || len(page.Entries) != 2 || page.Next == "" {
		t.Fatalf("the first page is %v, %v", page, err)
	}
	for name, view := range map[string]*kv.Store{"its own view": a, "another": b} {
		page, err := view.ScanPage(ctx, "", 10, page.Next)
		if err != nil || len(page.Entries) != 2 || page.Entries[0].Key != "3" || page.Next != "" {
			t.Errorf("the page after 2 in %s is %v, %v; want 3 and 4", name, page, err)
		}
	}
	whole, err := store.ScanPage(ctx, "", 7, "") // up to b:3
	if err != nil {
		t.Fatal(err)
	}
	if rest, err := a.ScanPage(ctx, "", 10, whole.Next); err != nil || len(rest.Entries) != 0 || rest.Next != "" {
		t.Errorf("rule: no cursor leaves a namespace; the store's cursor returns %v, %v", rest, err)
	}
}

// storedErrors is a driver whose reads and batches fail with an error that names a key as it
// is stored.
type storedErrors struct{ kv.Driver }

var errStored = &kv.Error{Key: "ns:a", Kind: kv.ErrThrottled}

func (storedErrors) Get(context.Context, kv.GetRequest) (kv.Found, error) {
	return kv.Found{}, errStored
}

func (storedErrors) GetMany(_ context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	return func(yield func(kv.Found, error) bool) {
		if yield(kv.Found{Record: kv.Record{Key: req.Keys[0]}}, errStored) {
			yield(kv.Found{Record: kv.Record{Key: req.Keys[1]}}, nil)
		}
	}
}

func (storedErrors) WriteMany(context.Context, kv.WriteManyRequest) []kv.WriteResult {
	return []kv.WriteResult{{Err: errStored}}
}

func (storedErrors) Scan(context.Context, kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) { yield(kv.Record{Key: "ns:a"}, errStored) }
}

func TestNamespaceErrors(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	ns := namespace(t, memkv.New().With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return storedErrors{d} })), "ns:")
	_, getErr := ns.Get(ctx, "a")
	_, manyErr := ns.GetMany(ctx, []string{"a", "b"})
	var scanKey string
	var scanErr error
	for entry, err := range ns.Scan(ctx, "") {
		scanKey, scanErr = entry.Key, err
	}
	if scanKey != "a" {
		t.Errorf("the scan's error is with key %q; want a", scanKey)
	}
	_, putErr := ns.PutMany(ctx, []kv.Item{{Key: "a"}})
	for call, err := range map[string]error{
		"Get": getErr, "GetMany": manyErr, "Scan": scanErr,
		"PutMany": putErr, "DeleteMany": ns.DeleteMany(ctx, []string{"a"}),
	} {
		e, ok := errors.AsType[*kv.Error](err)
		if !ok || e.Key != "a" || !errors.Is(err, kv.ErrThrottled) || strings.Contains(err.Error(), "ns:a") {
			t.Errorf("rule: errors name the namespace's keys; %s returns %v", call, err)
		}
		if batch, ok := errors.AsType[*kv.BatchError](err); ok && (len(batch.Failed) != 1 || batch.Failed["a"] == nil) {
			t.Errorf("%s: the batch error names %q; want a", call, slices.Collect(maps.Keys(batch.Failed)))
		}
	}
	if errStored.Key != "ns:a" {
		t.Errorf("rule: an error that the driver may return again stays as it is; its key is now %q", errStored.Key)
	}
}

func TestNamespaceClosesWithItsStore(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	if err := namespace(t, store, "ns:").Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Get(t.Context(), "a"); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("after the view's Close the store returns %v; want ErrClosed", err)
	}
}

// FuzzNamespace runs the same operations in a namespace of one store and in a second
// store. The results must be the same, and the other keys of the first store must not
// change.
func FuzzNamespace(f *testing.F) {
	f.Add("ns:", []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11})
	f.Add("-", []byte("put and scan and delete"))
	f.Add("z", []byte{5, 0xff, 0, 0xff, 5, 1, 2, 0, 7, 7, 7})
	f.Add("a.-_:Z9", []byte{250, 3, 99, 4, 1, 1, 0, 0, 5, 6, 7, 8, 9})
	f.Add(strings.Repeat("0", kv.MaxKeyLen-2), []byte{8, 0, 0, 0, 8, 1, 6, 6})
	for _, prefix := range []string{"ns:", "z", "a::", "-:"} {
		var program []byte
		for i := range byte(200) {
			program = append(program, i*7, i%5)
		}
		f.Add(prefix, program)
	}
	alphabet := []string{"-", ".", "0", ":", "A", "_", "a", "z", "zz", "ns:", "a-", "z-"}
	f.Fuzz(func(t *testing.T, prefix string, program []byte) {
		store, model := memkv.New(), memkv.New()
		ns, err := store.Namespace(prefix)
		if err != nil {
			if kv.ValidatePrefix(prefix) == nil && len(prefix) < kv.MaxKeyLen {
				t.Fatalf("Namespace(%q): %v", prefix, err)
			}
			return
		}
		ctx := t.Context()
		now := time.Now()
		clock := kv.Clock(func() time.Time { return now })
		ns, model = ns.With(clock), model.With(clock)
		around := make(map[string]string)
		for _, key := range append(slices.Clone(alphabet), prefix[:len(prefix)/2]) {
			if key != "" && !strings.HasPrefix(key, prefix) {
				around[key] = key
				put(t, store, key, key)
			}
		}
		short := slices.DeleteFunc(slices.Clone(alphabet), func(key string) bool { return len(key) > ns.Info().MaxKeyLen })
		cursor := ""
		program = program[:min(len(program), 400)]
		for i := 0; i+1 < len(program); i += 2 {
			key := alphabet[int(program[i+1])%len(alphabet)] + alphabet[int(program[i+1])/len(alphabet)%len(alphabet)]
			if len(key) > ns.Info().MaxKeyLen {
				continue
			}
			value, other := []byte{program[i]}, alphabet[(int(program[i+1])+int(program[i]))%len(alphabet)]
			if len(key)+len(other)+1 > ns.Info().MaxKeyLen {
				continue
			}
			members := membersOf(ns.Info(), key, other)
			run := func(s *kv.Store) (r fuzzed) {
				switch kind := program[i] % fuzzedCalls; kind {
				default:
					return fuzzWrites(t, s, kind, program[i], key, other, members)
				case 0:
					_, r.err = s.Put(ctx, key, value)
				case 1:
					_, r.err = s.Put(ctx, key, value, kv.IfNotExists(), kv.TTL(time.Minute))
				case 2:
					r.err = s.Delete(ctx, key)
				case 3:
					var entry kv.Entry
					entry, r.err = s.Get(ctx, key)
					r.keys = []string{string(entry.Value)}
				case 4:
					_, r.err = s.PutMany(ctx, []kv.Item{{Key: key, Value: value}, {Key: key[:1], Value: value, TTL: time.Second}})
				case 5:
					r.keys = scanned(t, s.Scan(ctx, key[:1]))
				case 6:
					var page kv.Page
					page, r.err = s.ScanPage(ctx, "", 2, cursor)
					for _, e := range page.Entries {
						r.keys = append(r.keys, e.Key, string(e.Value))
					}
					r.keys = append(r.keys, page.Next)
				case 7:
					r.n, r.err = s.DeletePrefix(ctx, key)
				case 8:
					var entries map[string]kv.Entry
					entries, r.err = s.GetMany(ctx, append(slices.Clone(short), key))
					r.keys = slices.Sorted(maps.Keys(entries))
				case 9:
					r.keys = scanned(t, s.Scan(ctx, "", kv.After(key)))
				}
				return r
			}
			own, want := run(ns), run(model)
			if own.n != want.n || !slices.Equal(own.keys, want.keys) || kindOf(own.err) != kindOf(want.err) || !slices.Equal(errorKeys(own.err), errorKeys(want.err)) {
				t.Fatalf("operation %d, %d on %q: the namespace %q returns %+v, a store of its own %+v", i, program[i]%fuzzedCalls, key, prefix, own, want)
			}
			if program[i]%fuzzedCalls == 6 {
				cursor = own.keys[len(own.keys)-1]
			}
			now = now.Add(time.Duration(program[i]) * time.Millisecond)
		}
		for entry, err := range store.Scan(ctx, "") {
			if err != nil {
				t.Fatal(err)
			}
			if value, ok := around[entry.Key]; ok && value == string(entry.Value) {
				delete(around, entry.Key)
			} else if !strings.HasPrefix(entry.Key, prefix) {
				t.Fatalf("rule: a namespace writes only its own keys; %q wrote %q", prefix, entry.Key)
			}
		}
		if len(around) > 0 {
			t.Fatalf("rule: a namespace leaves other keys alone; %q took %v", prefix, around)
		}
	})
}

func kindOf(err error) error {
	if e, ok := errors.AsType[*kv.Error](err); ok {
		return e.Kind
	}
	return err
}

func namespace(t *testing.T, store *kv.Store, prefix string) *kv.Store {
	t.Helper()
	ns, err := store.Namespace(prefix)
	if err != nil {
		t.Fatal(err)
	}
	return ns
}

func put(t *testing.T, store *kv.Store, key, value string) kv.Version {
	t.Helper()
	version, err := store.Put(t.Context(), key, []byte(value))
	if err != nil {
		t.Fatal(err)
	}
	return version
}

func scanned(t *testing.T, entries iter.Seq2[kv.Entry, error]) []string {
	t.Helper()
	var keys []string
	for entry, err := range entries {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, entry.Key)
	}
	return keys
}
