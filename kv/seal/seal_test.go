package seal

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"github.com/skykv/skykv/conformance"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

const secret = "hunter2-4711"

// keyOf returns a key that consists of one letter, repeated.
func keyOf(letter byte) []byte { return bytes.Repeat([]byte{letter}, KeyLen) }

// ring returns Keys with the named keys. In an argument such as "may=m", the name of the key is
// "may", and the key is keyOf('m'). The first key is the primary.
func ring(t testing.TB, named ...string) *Keys {
	t.Helper()
	secrets := make(map[string][]byte)
	for _, each := range named {
		name, letter, _ := strings.Cut(each, "=")
		secrets[name] = keyOf(letter[0])
	}
	primary, _, _ := strings.Cut(named[0], "=")
	keys, err := NewKeys(primary, secrets)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func newTink(t testing.TB) AEAD {
	t.Helper()
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	primitive, err := aead.New(handle)
	if err != nil {
		t.Fatal(err)
	}
	return primitive
}

func values(t testing.TB, aead AEAD, opts *Options) kv.StoreOption {
	t.Helper()
	option, err := Values(aead, opts)
	if err != nil {
		t.Fatal(err)
	}
	return option
}

// The function over returns a store that seals the values of another store with a ring of the
// named keys.
func over(t testing.TB, store *kv.Store, named ...string) *kv.Store {
	t.Helper()
	return store.With(values(t, ring(t, named...), nil))
}

func put(t testing.TB, store *kv.Store, key, value string, opts ...kv.PutOption) kv.Version {
	t.Helper()
	version, err := store.Put(t.Context(), key, []byte(value), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return version
}

func wantValue(t testing.TB, store *kv.Store, key, want string) {
	t.Helper()
	if entry, err := store.Get(t.Context(), key); err != nil || string(entry.Value) != want {
		t.Errorf("%s is read as %q, %v; want %q", key, entry.Value, err, want)
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, option := range map[string]kv.StoreOption{
		"keys":       values(t, ring(t, "a=a"), nil),
		"compressed": values(t, ring(t, "a=a"), &Options{Compress: true}),
		"tink":       values(t, newTink(t), nil),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conformance.Run(t, conformance.Config{New: func(context.Context) (*kv.Store, error) {
				return memkv.New().With(option), nil
			}})
		})
	}
}

func TestEveryWayInIsSealed(t *testing.T) {
	t.Parallel()
	below := memkv.New()
	store := over(t, below, "a=a")
	ctx := t.Context()
	put(t, store, "put", secret)
	if _, err := store.PutMany(ctx, []kv.Item{{Key: "many", Value: []byte(secret)}}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.AtomicWrite(ctx, kv.PutOp("atomic", []byte(secret))); err != nil {
		t.Fatal(err)
	}
	_, err := store.Update(ctx, "update", func(kv.Entry, bool) (kv.Change, error) { return kv.Change{Value: []byte(secret)}, nil })
	if err != nil {
		t.Fatal(err)
	}
	read, err := store.GetMany(ctx, []string{"put", "many", "atomic", "update"})
	if err != nil || len(read) != 4 {
		t.Fatal(read, err)
	}
	for key, entry := range read {
		if string(entry.Value) != secret {
			t.Errorf("%s is read as %q", key, entry.Value)
		}
		stored, err := below.Get(ctx, key)
		if err != nil || !strings.HasPrefix(string(stored.Value), header) || strings.Contains(string(stored.Value), secret) {
			t.Errorf("rule: every write seals its value; what is stored under %s is %q, %v", key, stored.Value, err)
		}
		if stored.Version != entry.Version {
			t.Errorf("rule: sealing changes no version; that of %s is %v, and below %v", key, entry.Version, stored.Version)
		}
	}
}

func TestWhatNeedsTheValueSeesIt(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	store := over(t, memkv.New(), "a=a")
	for range 3 {
		if _, err := store.Increment(ctx, "n", 2); err != nil {
			t.Fatal(err)
		}
	}
	wantValue(t, store, "n", "6")
	if _, err := store.Touch(ctx, "n", kv.TTL(time.Hour)); err != nil {
		t.Fatal(err)
	}
	wantValue(t, store, "n", "6")
	if n, err := store.Count(ctx, ""); n != 1 || err != nil {
		t.Errorf("rule: a Count needs no value; it returns %d, %v", n, err)
	}
}

// TestRefused changes a stored value in many ways, also every byte of it. It reads each changed
// value by every kind of read.
func TestRefused(t *testing.T) {
	t.Parallel()
	sealed := func(key, value string, named ...string) []byte {
		below := memkv.New()
		put(t, over(t, below, named...), key, value)
		stored, err := below.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		return stored.Value
	}
	good := sealed("k", secret, "a=a")
	type change struct {
		stored []byte
		want   error
	}
	changes := map[string]change{
		"of another key":               {sealed("other", secret, "a=a"), ErrTampered},
		"of a longer key":              {sealed("k:x", secret, "a=a"), ErrTampered},
		"by a key that is not there":   {sealed("k", secret, "b=a"), ErrNoKey},
		"by another key of the name":   {sealed("k", secret, "a=b"), ErrWrongKey},
		"not sealed":                   {[]byte(secret), ErrNotSealed},
		"empty":                        {[]byte{}, ErrNotSealed},
		"one byte more":                {append(bytes.Clone(good), 0), ErrTampered},
		"packed in an unknown way":     {append([]byte(header+"\x02"), good[len(header)+1:]...), ErrNotSealed},
		"as if it were packed by zstd": {append([]byte(header+"\x01"), good[len(header)+1:]...), ErrTampered},
		"a name that is no name":       {append([]byte(header+"\x00\x01 "), good[len(header)+1:]...), ErrTampered},
		"a name that is too long":      {append([]byte(header+"\x00\xff"), bytes.Repeat([]byte("a"), 400)...), ErrTampered},
	}
	for i := range good {
		changes["cut to "+hex.EncodeToString([]byte{byte(i)})] = change{good[:i], nil}
		flipped := bytes.Clone(good)
		flipped[i] ^= 1
		changes["flipped at "+hex.EncodeToString([]byte{byte(i)})] = change{flipped, nil}
	}
	for name, c := range changes {
		below := memkv.New()
		store := over(t, below, "a=a")
		put(t, store, "j", "before")
		put(t, below, "k", string(c.stored))
		put(t, store, "l", "after")
		ways := make(map[string]error)
		_, ways["Get"] = store.Get(t.Context(), "k")
		others, err := store.GetMany(t.Context(), []string{"j", "k", "l"})
		ways["GetMany"] = err
		scanned := 0
		for entry, err := range store.Scan(t.Context(), "") {
			if scanned++; err != nil {
				ways["Scan"] = err
				if entry.Key != "k" {
					t.Errorf("%s: rule: the error of a scan is beside the key of its value; got %q, %v", name, entry.Key, err)
				}
			}
		}
		_, ways["Update"] = store.Update(t.Context(), "k", func(kv.Entry, bool) (kv.Change, error) { return kv.Change{}, nil })
		if len(others) != 2 || scanned != 3 {
			t.Errorf("%s: rule: one value that is refused hides no other; GetMany returns %d of 2, Scan of %d of 3", name, len(others), scanned)
		}
		for way, err := range ways {
			if !errors.Is(err, kv.ErrIncompatible) || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("%s: rule: a value that was changed or moved is refused with ErrIncompatible and why; %s returns %v, want %v", name, way, err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("%s: rule: no message holds a value; %s returns %v", name, way, err)
			}
		}
		put(t, store, "k", "mended")
		wantValue(t, store, "k", "mended")
	}
}

func TestNamespaceIsPartOfTheKey(t *testing.T) {
	t.Parallel()
	namespace := func(store *kv.Store, prefix string) *kv.Store {
		view, err := store.Namespace(prefix)
		if err != nil {
			t.Fatal(err)
		}
		return view
	}
	below := memkv.New()
	above, under := namespace(over(t, below, "a=a"), "tenant-7:"), over(t, namespace(below, "tenant-7:"), "a=a")
	put(t, above, "k", secret)
	wantValue(t, under, "k", secret)
	stored, err := below.Get(t.Context(), "tenant-7:k")
	if err != nil {
		t.Fatal(err)
	}
	put(t, below, "tenant-8:k", string(stored.Value))
	for place, store := range map[string]*kv.Store{
		"above": namespace(over(t, below, "a=a"), "tenant-8:"), "below": over(t, namespace(below, "tenant-8:"), "a=a"),
	} {
		if _, err := store.Get(t.Context(), "k"); !errors.Is(err, ErrTampered) {
			t.Errorf("rule: a value of another namespace is refused, whether the namespace is above or below seal; %s: %v", place, err)
		}
	}
}

// accepting accepts every kind of write, as a later version of a driver might.
type accepting struct {
	kv.Driver
	seen int
}

func (d *accepting) Write(context.Context, kv.WriteRequest) (kv.Outcome, error) {
	d.seen++
	return kv.Outcome{Done: true}, nil
}

func (d *accepting) WriteMany(_ context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	d.seen += len(req.Writes)
	return make([]kv.WriteResult, len(req.Writes))
}

func (d *accepting) WriteAtomic(context.Context, kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	d.seen++
	return kv.AtomicOutcome{Done: true}, nil
}

// driverOf returns the driver of a store, as middleware of Level1 receives it.
func driverOf(store *kv.Store) (driver kv.Driver) {
	store.With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { driver = d; return d }))
	return driver
}

// The guard of kv.Wrap would refuse these writes too, so this test calls the driver without it.
func TestUnknownKindsFailClosed(t *testing.T) {
	t.Parallel()
	below := &accepting{Driver: driverOf(memkv.New())}
	d := newDriver(below, &scheme{aead: ring(t, "a=a")}, 0)
	for _, kind := range []kv.WriteKind{0, kv.KindCheck + 1, 250} {
		w := kv.Write{Kind: kind, Record: kv.Record{Key: "k", Value: []byte(secret)}}
		_, err := d.Write(t.Context(), kv.WriteRequest{Write: w})
		results := d.WriteMany(t.Context(), kv.WriteManyRequest{Writes: []kv.Write{w}})
		_, atomic := d.WriteAtomic(t.Context(), kv.WriteManyRequest{Writes: []kv.Write{w}})
		for method, err := range map[string]error{"Write": err, "WriteMany": results[0].Err, "WriteAtomic": atomic} {
			if !errors.Is(err, kv.ErrUnsupported) {
				t.Errorf("rule: a write of unknown kind is refused; %s of kind %d returns %v", method, kind, err)
			}
		}
	}
	if below.seen != 0 {
		t.Errorf("rule: a write of unknown kind never passes; %d did", below.seen)
	}
}

// The type least is a driver with the default limit for values.
type least struct{ kv.Driver }

func (d least) Info() kv.Info {
	info := d.Driver.Info()
	info.MaxValueLen = kv.MaxValueLen
	return info
}

func TestBudget(t *testing.T) {
	t.Parallel()
	small := memkv.New().With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return least{d} }))
	const added = 38 + len("2026-11")
	for name, c := range map[string]struct {
		below *kv.Store
		want  int
	}{
		"a driver of the least limit":  {small, kv.MaxValueLen - added},
		"a driver that has room":       {memkv.New(), kv.MaxValueLen},
		"a store of the largest value": {memkv.New().With(kv.MaxValue(kv.MaxLargeValueLen)), kv.MaxLargeValueLen - added},
	} {
		store := over(t, c.below, "2026-11=a")
		if got := store.Info().MaxValueLen; got != c.want {
			t.Errorf("rule: Info says how long a value may be; over %s it says %d, want %d", name, got, c.want)
		}
		longest := strings.Repeat("x", c.want)
		put(t, store, "k", longest)
		wantValue(t, store, "k", longest)
		if _, err := store.Put(t.Context(), "k", make([]byte, c.want+1)); !errors.Is(err, kv.ErrValueTooLarge) {
			t.Errorf("rule: a longer value is refused; over %s: %v", name, err)
		}
	}
}

// stub is an AEAD that fails, or that adds more bytes to a value than to an empty value.
type stub struct {
	encrypt, decrypt error
	padding          int
}

func (s *stub) Encrypt(plaintext, _ []byte) ([]byte, error) {
	if len(plaintext) == 0 { // Values seals an empty value
		return []byte{}, nil
	}
	return append(bytes.Clone(plaintext), make([]byte, s.padding)...), s.encrypt
}

func (s *stub) Decrypt(ciphertext, _ []byte) ([]byte, error) {
	return ciphertext, s.decrypt
}

func TestErrorsOfAnAEAD(t *testing.T) {
	t.Parallel()
	unreachable := &kv.Error{Kind: kv.ErrUnavailable, Err: errors.New("the KMS cannot be reached")}
	unknown := errors.New("decryption failed")
	s := new(stub)
	store := memkv.New().With(values(t, s, nil))
	put(t, store, "k", "value")
	writes := func() map[string]error {
		errs := make(map[string]error)
		_, errs["Put"] = store.Put(t.Context(), "new", []byte("value"))
		_, errs["PutMany"] = store.PutMany(t.Context(), []kv.Item{{Key: "new", Value: []byte("value")}})
		_, errs["AtomicWrite"] = store.AtomicWrite(t.Context(), kv.PutOp("new", []byte("value")))
		return errs
	}
	for _, c := range []struct{ encrypt, want error }{{unreachable, kv.ErrUnavailable}, {unknown, unknown}} {
		s.encrypt = c.encrypt
		for method, err := range writes() {
			if !errors.Is(err, c.want) || errors.Is(err, kv.ErrIndeterminate) {
				t.Errorf("rule: what cannot be sealed is not written, and the AEAD's error says why; %s returns %v, want %v", method, err, c.want)
			}
		}
	}
	s.encrypt, s.padding = nil, kv.MaxLargeValueLen
	for method, err := range writes() {
		if !errors.Is(err, kv.ErrValueTooLarge) || errors.Is(err, kv.ErrIndeterminate) {
			t.Errorf("rule: what is too long once it is sealed is not written; %s returns %v", method, err)
		}
	}
	if found, err := store.Exists(t.Context(), "new"); found || err != nil {
		t.Errorf("rule: what cannot be sealed is not written; Exists returns %v, %v", found, err)
	}
	for _, c := range []struct{ decrypt, want, not error }{
		{unreachable, kv.ErrUnavailable, kv.ErrIncompatible},
		{unknown, ErrTampered, kv.ErrUnavailable},
	} {
		s.decrypt = c.decrypt
		if _, err := store.Get(t.Context(), "k"); !errors.Is(err, c.want) || errors.Is(err, c.not) || !errors.Is(err, c.decrypt) {
			t.Errorf("rule: an AEAD's *kv.Error keeps its Kind, and any other error is ErrTampered; Get returns %v for %v", err, c.decrypt)
		}
	}
	for _, none := range []AEAD{nil, (*Keys)(nil), new(Keys)} {
		if _, err := Values(none, nil); !errors.Is(err, kv.ErrInvalidOption) {
			t.Errorf("rule: no AEAD is ErrInvalidOption; with %T got %v", none, err)
		}
	}
	if _, err := Values(failing{}, nil); err == nil {
		t.Error("rule: Values returns the error of an AEAD that cannot seal; it returns none")
	}
}

type failing struct{}

func (failing) Encrypt(_, _ []byte) ([]byte, error) { return nil, errors.New("no key") }
func (failing) Decrypt(_, _ []byte) ([]byte, error) { return nil, errors.New("no key") }

// forgetful returns no result for the last write of a batch.
type forgetful struct{ kv.Driver }

func (d forgetful) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	return d.Driver.WriteMany(ctx, req)[:len(req.Writes)-1]
}

func TestForgottenWriteIsIndeterminate(t *testing.T) {
	t.Parallel()
	store := memkv.New().With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return forgetful{d} }), values(t, ring(t, "a=a"), nil))
	_, err := store.PutMany(t.Context(), []kv.Item{{Key: "a"}, {Key: "b"}})
	batch, _ := errors.AsType[*kv.BatchError](err)
	if batch == nil || len(batch.Failed) != 1 || !errors.Is(batch.Failed["b"], kv.ErrIndeterminate) {
		t.Errorf("rule: of a write that the driver forgot nothing is known; got %v", err)
	}
}

// telling reports the value of a record that made a condition fail, as some services do.
type telling struct{ kv.Driver }

func (d telling) tell(ctx context.Context, key string) kv.Found {
	found, _ := d.Get(ctx, kv.GetRequest{Key: key, WithValue: true})
	return found
}

func (d telling) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	return kv.Outcome{Exists: true, Found: d.tell(ctx, req.Key).Record}, nil
}

func (d telling) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	return kv.WriteEach(ctx, d, req, 1)
}

func (d telling) WriteAtomic(ctx context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	found := d.tell(ctx, req.Writes[0].Key)
	return kv.AtomicOutcome{Found: []*kv.Found{&found, nil}}, nil
}

func TestWhatAConditionFoundIsOpened(t *testing.T) {
	t.Parallel()
	below := memkv.New()
	put(t, over(t, below, "a=a"), "good", secret)
	put(t, below, "bad", secret)
	d := driverOf(below.With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return telling{d} }), values(t, ring(t, "a=a"), nil)))
	for key, want := range map[string][]byte{"good": []byte(secret), "bad": nil} {
		w := kv.Write{Kind: kv.KindPut, Record: kv.Record{Key: key, Value: []byte{}}, Condition: kv.Condition{Kind: kv.CondAbsent}}
		other := kv.Write{Kind: kv.KindDelete, Record: kv.Record{Key: key + "::"}}
		one, _ := d.Write(t.Context(), kv.WriteRequest{Write: w})
		many := d.WriteMany(t.Context(), kv.WriteManyRequest{Writes: []kv.Write{w}})
		atomic, err := d.WriteAtomic(t.Context(), kv.WriteManyRequest{Writes: []kv.Write{w, other}})
		if err != nil {
			t.Fatal(err)
		}
		for method, rec := range map[string]kv.Record{"Write": one.Found, "WriteMany": many[0].Found, "WriteAtomic": atomic.Found[0].Record} {
			if rec.Key != key || !bytes.Equal(rec.Value, want) || (rec.Value == nil) != (want == nil) {
				t.Errorf("rule: a value that a condition found is opened, or left out where that cannot be; %s of %s returns %q", method, key, rec.Value)
			}
		}
	}
}

func TestTinkKeysetsRotate(t *testing.T) {
	t.Parallel()
	manager := keyset.NewManager()
	primitive := func() AEAD {
		id, err := manager.Add(aead.AES256GCMKeyTemplate())
		if err != nil {
			t.Fatal(err)
		}
		if err := manager.SetPrimary(id); err != nil {
			t.Fatal(err)
		}
		handle, err := manager.Handle()
		if err != nil {
			t.Fatal(err)
		}
		primitive, err := aead.New(handle)
		if err != nil {
			t.Fatal(err)
		}
		return primitive
	}
	below := memkv.New()
	before, after := below.With(values(t, primitive(), nil)), below.With(values(t, primitive(), nil))
	put(t, before, "old", secret)
	wantValue(t, after, "old", secret)
	put(t, after, "new", secret)
	if _, err := before.Get(t.Context(), "new"); !errors.Is(err, ErrTampered) || !errors.Is(err, kv.ErrIncompatible) {
		t.Errorf("rule: a key that a keyset of Tink does not have is ErrTampered; got %v", err)
	}
	if n, err := Reseal(t.Context(), after, ""); n != 2 || err != nil {
		t.Errorf("rule: Reseal writes all entries; it returns %d, %v", n, err)
	}
	if _, err := before.Get(t.Context(), "old"); !errors.Is(err, ErrTampered) {
		t.Errorf("rule: Reseal seals with the primary key; the former keyset still reads: %v", err)
	}
}

func TestWaitingIsToldOfOtherAEADs(t *testing.T) {
	t.Parallel()
	if info := over(t, memkv.New(), "a=a").Info(); !info.EndsCalls || !info.Immediate {
		t.Errorf("rule: Keys never wait; Info is %+v", info)
	}
	if info := memkv.New().With(values(t, newTink(t), nil)).Info(); info.EndsCalls || info.Immediate {
		t.Errorf("rule: an AEAD that is not Keys may wait; Info is %+v", info)
	}
}

func TestCompress(t *testing.T) {
	t.Parallel()
	below := memkv.New()
	keys := ring(t, "a=a")
	store := below.With(values(t, keys, &Options{Compress: true}))
	stored := func(key string) int {
		entry, err := below.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		return len(entry.Value)
	}
	long, random := strings.Repeat("skykv ", 1000), string(sealedNoise(t, keys))
	for key, value := range map[string]string{"long": long, "random": random, "empty": "", "short": "x"} {
		put(t, store, key, value)
		wantValue(t, store, key, value)
		wantValue(t, below.With(values(t, keys, nil)), key, value)
		if n, most := stored(key), len(value)+38+len("a"); n > most {
			t.Errorf("rule: compression makes no value longer; %s has %d bytes, want at most %d", key, n, most)
		}
	}
	if n := stored("long"); n > 200 {
		t.Errorf("rule: compression makes what repeats shorter; 6,000 bytes have %d", n)
	}
}

// sealedNoise returns bytes that cannot be compressed.
func sealedNoise(t *testing.T, keys *Keys) []byte {
	noise, err := keys.Encrypt(make([]byte, 5000), nil)
	if err != nil {
		t.Fatal(err)
	}
	return noise
}

func TestDecompressionIsBounded(t *testing.T) {
	t.Parallel()
	writer, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &scheme{aead: ring(t, "a=a")}
	for _, size := range []int{kv.MaxLargeValueLen, kv.MaxLargeValueLen + 1, 64 << 20} {
		ciphertext, err := s.aead.Encrypt(writer.EncodeAll(make([]byte, size), nil), associatedData(zipped, "k"))
		if err != nil {
			t.Fatal(err)
		}
		sealed := append([]byte(header+"\x01"), ciphertext...)
		_, err = s.open("k", sealed)
		if small := size <= kv.MaxLargeValueLen; small != (err == nil) || !small && !errors.Is(err, kv.ErrIncompatible) {
			t.Errorf("rule: what would become longer than any value is refused; %d bytes: %v", size, err)
		}
	}
}

func TestNewKeysRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		primary string
		keys    map[string][]byte
	}{
		"no key":             {"a", nil},
		"no primary":         {"b", map[string][]byte{"a": keyOf('a')}},
		"a short key":        {"a", map[string][]byte{"a": keyOf('a')[1:]}},
		"an AES-128 key":     {"a", map[string][]byte{"a": keyOf('a')[16:]}},
		"no name":            {"", map[string][]byte{"": keyOf('a')}},
		"a name with spaces": {"a b", map[string][]byte{"a b": keyOf('a')}},
		"a long name":        {strings.Repeat("a", MaxNameLen+1), map[string][]byte{strings.Repeat("a", MaxNameLen+1): keyOf('a')}},
	} {
		_, err := NewKeys(c.primary, c.keys)
		if !errors.Is(err, kv.ErrInvalidOption) {
			t.Errorf("rule: keys that are none are ErrInvalidOption; %s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "aaaaaaaaaaaaaaaa") {
			t.Errorf("rule: no message holds a key; %s: %v", name, err)
		}
	}
	if _, err := NewKeys(strings.Repeat("a", MaxNameLen), map[string][]byte{strings.Repeat("a", MaxNameLen): keyOf('a')}); err != nil {
		t.Errorf("rule: a name has up to %d bytes; %v", MaxNameLen, err)
	}
}

// The driver breaking ends a scan with an error after the first record.
type breaking struct{ kv.Driver }

func (d breaking) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		for rec, err := range d.Driver.Scan(ctx, req) {
			if yield(rec, err) {
				yield(kv.Record{}, &kv.Error{Kind: kv.ErrUnavailable})
			}
			return
		}
	}
}
