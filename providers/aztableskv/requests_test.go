package aztableskv

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
)

// The rule: each Get, Put, Delete and Exists is one request, even with a condition that
// holds. A failed condition costs one read, unless there is no entity. If the entry has expired,
// a put-if-absent costs this read and a replacement.
func TestOneRequestPerOperation(t *testing.T) {
	t.Parallel()
	f := newFake(t, "kv1")
	s, other := f.store(nil), f.store(nil)
	ctx := t.Context()
	var version kv.Version
	steps := []struct {
		name string
		do   func() error
		want []string
	}{
		{"Get of an absent key", func() error { _, err := s.Get(ctx, "a"); return unless(err, kv.ErrNotFound) }, []string{"GET entity"}},
		{"Exists of an absent key", func() error { _, err := s.Exists(ctx, "a"); return err }, []string{"GET list"}},
		{"Delete of an absent key", func() error { return s.Delete(ctx, "a") }, []string{"DELETE entity"}},
		{"Put if absent", func() (err error) { version, err = s.Put(ctx, "a", []byte("1"), kv.IfNotExists()); return err }, []string{"POST entity"}},
		{"Put by version", func() (err error) { version, err = s.Put(ctx, "a", []byte("2"), kv.IfVersion(version)); return err }, []string{"PUT entity"}},
		{"Touch by version", func() (err error) {
			version, err = s.Touch(ctx, "a", kv.TTL(time.Hour), kv.IfVersion(version))
			return err
		}, []string{"PATCH entity"}},
		{"Touch", func() (err error) { version, err = s.Touch(ctx, "a", kv.TTL(time.Hour)); return err }, []string{"GET list", "PATCH entity"}},
		{"Touch of an absent key", func() error { _, err := s.Touch(ctx, "b", kv.TTL(time.Hour)); return unless(err, kv.ErrNotFound) }, []string{"GET list"}},
		{"Put", func() error { _, err := s.Put(ctx, "a", []byte("3"), kv.TTL(time.Hour)); return err }, []string{"PUT entity"}},
		{"Get", func() error { _, err := s.Get(ctx, "a"); return err }, []string{"GET entity"}},
		{"Exists", func() error { _, err := s.Exists(ctx, "a"); return err }, []string{"GET list"}},
		{"Put by a stale version", func() error {
			_, err := s.Put(ctx, "a", nil, kv.IfVersion(version))
			return unless(err, kv.ErrConditionFailed)
		}, []string{"PUT entity", "GET list"}},
		{"Touch by a stale version", func() error {
			_, err := s.Touch(ctx, "a", kv.TTL(time.Hour), kv.IfVersion(version))
			return unless(err, kv.ErrConditionFailed)
		}, []string{"PATCH entity", "GET list"}},
		{"Put if absent over a live entry", func() error {
			_, err := s.Put(ctx, "a", nil, kv.IfNotExists())
			return unless(err, kv.ErrConditionFailed)
		}, []string{"POST entity", "GET list"}},
		{"Put if absent over an expired entry", func() error {
			later := s.With(kv.Clock(func() time.Time { return time.Now().Add(2 * time.Hour) }))
			_, err := later.Put(ctx, "a", []byte("4"), kv.IfNotExists())
			return err
		}, []string{"POST entity", "GET list", "PUT entity"}},
		{"Delete by a stale version", func() error {
			return unless(s.Delete(ctx, "a", kv.IfVersion(version)), kv.ErrConditionFailed)
		}, []string{"DELETE entity", "GET list"}},
		{"Delete", func() error { return s.Delete(ctx, "a") }, []string{"DELETE entity"}},
		{"Delete by the version of a deleted entry", func() error {
			return unless(s.Delete(ctx, "a", kv.IfVersion(version)), kv.ErrConditionFailed)
		}, []string{"DELETE entity"}},
		{"Touch by the version of a deleted entry", func() error {
			_, err := s.Touch(ctx, "a", kv.TTL(time.Hour), kv.IfVersion(version))
			return unless(err, kv.ErrConditionFailed)
		}, []string{"PATCH entity"}},
		{"Increment of an absent key", func() error { _, err := s.Increment(ctx, "n", 1); return err }, []string{"GET entity", "POST entity"}},
		{"Increment after its own", func() error { _, err := s.Increment(ctx, "n", 1); return err }, []string{"PUT entity"}},
		{"Increment after another store's", func() error {
			if _, err := other.Increment(ctx, "n", 1); err != nil {
				return err
			}
			f.take()
			_, err := s.Increment(ctx, "n", 1)
			return err
		}, []string{"PUT entity", "GET entity", "PUT entity"}},
		{"an invalid key", func() error { _, err := s.Get(ctx, "a/b"); return unless(err, kv.ErrInvalidKey) }, nil},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		if got := f.take(); !slices.Equal(got, step.want) {
			t.Errorf("%s makes the requests %q; want %q", step.name, got, step.want)
		}
	}
}

// The rule: New makes one read. In a new table it makes two reads and a write.
func TestOpeningReadsOnce(t *testing.T) {
	t.Parallel()
	f := newFake(t, "kv1")
	client := f.client()
	for i, want := range [][]string{{"GET list", "GET list", "POST entity"}, {"GET list"}} {
		if _, err := New(t.Context(), client, "kv1", claiming(nil)); err != nil {
			t.Fatal(err)
		}
		if got := f.take(); !slices.Equal(got, want) {
			t.Errorf("opening for time %d makes the requests %q; want %q", i+1, got, want)
		}
	}
}

// The rule: Exists and scans of keys do not transfer values, and the response to a
// put-if-absent does not contain its entity.
func TestValuesAreNotTransferred(t *testing.T) {
	t.Parallel()
	f := newFake(t, "kv1")
	s := f.store(nil)
	ctx := t.Context()
	if _, err := s.Put(ctx, "a", []byte(strings.Repeat("x", 1000)), kv.IfNotExists()); err != nil {
		t.Fatal(err)
	}
	checkSelect := func(what string) {
		t.Helper()
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.queries) == 0 {
			t.Errorf("%s made no query", what)
		}
		for _, query := range f.queries {
			if got := query.Get("$select"); got != "PartitionKey,RowKey,x,t,p" {
				t.Errorf("%s selects %q; it must leave out v", what, got)
			}
		}
		f.queries = nil
	}
	if ok, err := s.Exists(ctx, "a"); !ok || err != nil {
		t.Fatal(ok, err)
	}
	checkSelect("Exists")
	for _, err := range s.Scan(ctx, "", kv.KeysOnly()) {
		if err != nil {
			t.Fatal(err)
		}
	}
	checkSelect("Scan with KeysOnly")
	if f.prefer != "return-no-content" {
		t.Errorf("put-if-absent asks for %q; it must ask for no content", f.prefer)
	}
}

// The rule: a version is a condition on one state of an entry. A call with a made-up version
// returns ErrInvalidVersion before any request. The version is never sent as If-Match, where
// "*" would match everything.
func TestForgedVersion(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for _, native := range []string{"*", "x\ny", `"a", "b"`, `"a`, "a"} {
		f := newFake(t, "kv1")
		s := f.store(nil)
		if _, err := s.Put(ctx, "a", []byte("theirs")); err != nil {
			t.Fatal(err)
		}
		version, err := kv.New(forger{native: native}).Put(ctx, "a", nil)
		if err != nil {
			t.Fatal(err)
		}
		f.take()
		if _, err := s.Put(ctx, "a", nil, kv.IfVersion(version)); !errors.Is(err, kv.ErrInvalidVersion) || errors.Is(err, kv.ErrIndeterminate) {
			t.Errorf("put with the native version %q: %v; want ErrInvalidVersion alone", native, err)
		}
		if err := s.Delete(ctx, "a", kv.IfVersion(version)); !errors.Is(err, kv.ErrInvalidVersion) || errors.Is(err, kv.ErrIndeterminate) {
			t.Errorf("delete with the native version %q: %v; want ErrInvalidVersion alone", native, err)
		}
		if requests := f.take(); len(requests) > 0 {
			t.Errorf("the native version %q is sent: %q", native, requests)
		}
	}
}

// forger is a driver whose versions are all the same made-up text.
type forger struct {
	kv.Driver
	native string
}

func (forger) Info() kv.Info { return kv.Info{Name: name, Shards: 1} }

func (f forger) Write(context.Context, kv.WriteRequest) (kv.Outcome, error) {
	return kv.Outcome{Done: true, Version: f.native}, nil
}

// The function unless returns nil if err matches want. Otherwise it returns an error that
// describes both.
func unless(err, want error) error {
	if errors.Is(err, want) {
		return nil
	}
	return errors.Join(errors.New("want: "+want.Error()), err)
}

// The rule: a Meter counts every request, and every attempt at a request, however the attempt
// ended.
func TestMeter(t *testing.T) {
	t.Parallel()
	keys := oneShard(3)
	get := func(d *driver, m *kv.Meter) {
		d.Get(t.Context(), kv.GetRequest{Key: keys[0], WithValue: true, Meter: m})
	}
	write := func(w kv.Write) func(*driver, *kv.Meter) {
		return func(d *driver, m *kv.Meter) { d.Write(t.Context(), kv.WriteRequest{Write: w, Meter: m}) }
	}
	scan := func(d *driver, m *kv.Meter) {
		for range d.Scan(t.Context(), kv.ScanRequest{Shard: 3, From: "-", To: "~", Limit: 2, WithValue: true, Meter: m}) {
		}
	}
	batch := func(writes ...kv.Write) func(*driver, *kv.Meter) {
		return func(d *driver, m *kv.Meter) { d.WriteMany(t.Context(), kv.WriteManyRequest{Writes: writes, Meter: m}) }
	}
	for _, test := range []struct {
		name     string
		do       func(*driver, *kv.Meter)
		requests int // number of requests; the first attempt at the first request fails
	}{
		{"Get", get, 1},
		{"Get of metadata", func(d *driver, m *kv.Meter) { d.Get(t.Context(), kv.GetRequest{Key: keys[0], Meter: m}) }, 1},
		{"GetMany", func(d *driver, m *kv.Meter) {
			for range d.GetMany(t.Context(), kv.GetManyRequest{Keys: keys, Meter: m}) {
			}
		}, 3},
		{"Scan in two pages", scan, 2},
		{"Put", write(putting(keys[0], kv.Condition{})), 1},
		{"Put if absent, which fails", write(putting(keys[0], ifAbsent)), 2},
		{"Put by version, which fails", write(putting(keys[0], ifVersion(noSuchTag))), 2},
		{"Delete", write(deleting(keys[0], kv.Condition{})), 1},
		{"an unknown write", write(kv.Write{}), 0},
		{"a transaction", batch(putting(keys[0], kv.Condition{}), putting(keys[1], kv.Condition{})), 1},
		{"a split transaction", batch(putting("k1", kv.Condition{}), deleting(keys[1], ifVersion(noSuchTag)), putting(keys[2], ifAbsent)), 5},
	} {
		f := newFake(t, "kv1")
		d := fakeDriver(t, f)
		batch(putting(keys[0], kv.Condition{}), putting(keys[1], kv.Condition{}), putting(keys[2], kv.Condition{}))(d, nil)
		n := 0
		f.setFault(func(*http.Request) fault {
			if n++; n == 1 {
				return fault{status: 503, code: "ServerBusy"}
			}
			return fault{}
		})
		meter := kv.NewMeter(nil)
		test.do(d, meter)
		attempts := test.requests
		if attempts > 0 {
			attempts++
		}
		if meter.Requests() != test.requests || meter.Attempts() != attempts || n != attempts {
			t.Errorf("%s counts %d requests and %d attempts; want %d and %d, as the service has %d", test.name, meter.Requests(), meter.Attempts(), test.requests, attempts, n)
		}
		// Now every attempt fails.
		if test.requests == 0 {
			continue
		}
		f.setFault(func(*http.Request) fault { return fault{cut: true} })
		meter = kv.NewMeter(nil)
		test.do(d, meter)
		if meter.Requests() == 0 || meter.Attempts() != 4*meter.Requests() {
			t.Errorf("%s, of which every attempt fails, counts %d requests and %d attempts; want four attempts of each", test.name, meter.Requests(), meter.Attempts())
		}
	}
}

// The rule: an attempt counts as one even if the end of its context interrupts it.
func TestMeterOfCancelledRequests(t *testing.T) {
	t.Parallel()
	for _, w := range []kv.Write{putting("a", kv.Condition{}), putting("a", ifAbsent), deleting("a", kv.Condition{})} {
		f := newFake(t, "kv1")
		d := fakeDriver(t, f)
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		f.setFault(func(r *http.Request) fault {
			if n++; n == 1 {
				return fault{status: 503, code: "ServerBusy"}
			}
			cancel()
			<-r.Context().Done() // until the client hangs up
			return fault{}
		})
		meter := kv.NewMeter(nil)
		if _, err := d.Write(ctx, kv.WriteRequest{Write: w, Meter: meter}); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if meter.Requests() != 1 || meter.Attempts() != 2 {
			t.Errorf("%s under %s: %d requests, %d attempts; want 1 and 2", w.Kind, w.Condition.Kind, meter.Requests(), meter.Attempts())
		}
	}
}

// The rule: a page has up to 640 entities, which is what kv.Store requests. The package comment and
// docs/scale.md say so.
func TestEntitiesOfPages(t *testing.T) {
	t.Parallel()
	f := newFake(t, "kv1")
	s := f.store(&Options{Shards: 1})
	items := make([]kv.Item, 1000)
	for i := range items {
		items[i] = kv.Item{Key: fmt.Sprintf("k%04d", i), Value: []byte("v")}
	}
	if _, err := s.PutMany(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		opts []kv.ScanOption
		tops []string
	}{
		{nil, []string{"100", "640", "640"}},
		{[]kv.ScanOption{kv.KeysOnly()}, []string{"640", "640"}},
	} {
		f.mu.Lock()
		f.queries = nil
		f.mu.Unlock()
		n := 0
		for _, err := range s.Scan(t.Context(), "k", c.opts...) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		var tops []string
		f.mu.Lock()
		for _, query := range f.queries {
			tops = append(tops, query.Get("$top"))
		}
		f.mu.Unlock()
		if n != len(items) || !slices.Equal(tops, c.tops) {
			t.Errorf("rule: a page has up to 640 entities, and the first page with values up to 100; a scan of %d entities with %d options requests %q, want %q", n, len(c.opts), tops, c.tops)
		}
	}
}
