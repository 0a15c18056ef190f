package cache

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skykv/skykv/conformance"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

const maxAge = 10 * time.Second

// open returns a Cache for a store.
func open(t testing.TB, store *kv.Store, options Options) *Cache {
	t.Helper()
	if options.MaxAge == 0 {
		options.MaxAge = maxAge
	}
	c, err := New(store, &options)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The type between is a driver that passes the requests of a cache on to the driver of its store.
type between struct {
	kv.Driver
	ends  bool // its Info says that it ends the calls under way
	gets  atomic.Int64
	stale atomic.Bool // whether a request permitted a stale answer
	get   func(ctx context.Context, req kv.GetRequest) (kv.Found, error)
	write func(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error)
}

// putBetween returns a store with the driver b, which wraps the driver of store.
func putBetween(store *kv.Store, b *between) *kv.Store {
	return store.With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { b.Driver = d; return b }))
}

func (b *between) Info() kv.Info {
	info := b.Driver.Info()
	info.EndsCalls, info.Immediate = b.ends, false
	return info
}

func (b *between) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	b.gets.Add(1)
	b.stale.Store(b.stale.Load() || req.Stale)
	if b.get != nil {
		return b.get(ctx, req)
	}
	return b.Driver.Get(ctx, req)
}

func (b *between) GetMany(ctx context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	b.stale.Store(b.stale.Load() || req.Stale)
	return kv.GetEach(ctx, b, req, 1)
}

func (b *between) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	b.stale.Store(b.stale.Load() || req.Stale)
	return b.Driver.Scan(ctx, req)
}

func (b *between) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	if b.write != nil {
		return b.write(ctx, req)
	}
	return b.Driver.Write(ctx, req)
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]Options{
		"kept forever":     {MaxAge: 24 * time.Hour},
		"absence kept":     {MaxAge: 24 * time.Hour, Absent: true},
		"next to no room":  {MaxAge: 24 * time.Hour, MaxBytes: 2 * overhead},
		"kept for a while": {MaxAge: time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conformance.Run(t, conformance.Config{New: func(context.Context) (*kv.Store, error) {
				c, err := New(memkv.New(), &options)
				if err != nil {
					return nil, err
				}
				return c.Store, nil
			}})
		})
	}
	t.Run("in namespaces", func(t *testing.T) {
		t.Parallel()
		conformance.Run(t, conformance.Config{New: func(context.Context) (*kv.Store, error) {
			below, err := memkv.New().Namespace("below:")
			if err != nil {
				return nil, err
			}
			c, err := New(below, &Options{MaxAge: time.Hour})
			if err != nil {
				return nil, err
			}
			return c.Namespace("above::")
		}})
	})
	t.Run("calls end at Close", func(t *testing.T) { // over a driver that does not end them
		t.Parallel()
		conformance.Run(t, conformance.Config{New: func(context.Context) (*kv.Store, error) {
			c, err := New(putBetween(memkv.New(), new(between)), &Options{MaxAge: time.Hour})
			if err != nil {
				return nil, err
			}
			return c.Store, nil
		}})
	})
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]*Options{
		"none":              nil,
		"no MaxAge":         {},
		"a negative MaxAge": {MaxAge: -time.Second},
		"a forgotten unit":  {MaxAge: 30},
		"less than nothing": {MaxAge: time.Second, MaxBytes: -1},
	} {
		if _, err := New(memkv.New(), options); !errors.Is(err, kv.ErrInvalidOption) {
			t.Errorf("rule: options out of their bounds are ErrInvalidOption; with %s New returns %v", name, err)
		}
	}
}

// value returns the value under a key, or "" if the key is absent.
func value(ctx context.Context, store *kv.Store, key string) (string, error) {
	entry, err := store.Get(ctx, key)
	if errors.Is(err, kv.ErrNotFound) {
		return "", nil
	}
	return string(entry.Value), err
}

func put(ctx context.Context, store *kv.Store, key, value string) error {
	_, err := store.Put(ctx, key, []byte(value))
	return err
}

// checks are the rules for a cache, in addition to the rules for every store. run receives a
// cache, the store that it caches, and a driver b between them, which the check controls. run
// returns an error if the cache breaks the rule.
var checks = []struct {
	name, rule string
	absent     bool
	run        func(ctx context.Context, cached, store *kv.Store, b *between) error
}{
	{"hit", "a key that was read is answered from memory", false, func(ctx context.Context, cached, store *kv.Store, b *between) error {
		if err := put(ctx, store, "key", "1"); err != nil {
			return err
		}
		for range 10 {
			if got, err := value(ctx, cached, "key"); got != "1" {
				return fmt.Errorf("a Get returns %q, %v", got, err)
			}
			if _, err := cached.GetMany(ctx, []string{"key"}); err != nil {
				return err
			}
			if _, err := cached.Exists(ctx, "key"); err != nil {
				return err
			}
		}
		if n := b.gets.Load(); n != 1 {
			return fmt.Errorf("30 reads made %d requests; want 1", n)
		}
		return nil
	}},
	{"staleness", "a write by another process is seen after at most MaxAge", true, func(ctx context.Context, cached, store *kv.Store, b *between) error {
		for _, c := range []struct {
			was, is string
			read    func() (string, error)
		}{
			{"1", "2", func() (string, error) { return value(ctx, cached, "key") }},
			{"", "2", func() (string, error) { return value(ctx, cached, "key") }},
			{"1", "", func() (string, error) { return value(ctx, cached, "key") }},
			{"1", "2", func() (string, error) {
				entries, err := cached.GetMany(ctx, []string{"key"})
				return string(entries["key"].Value), err
			}},
			{"1", "", func() (string, error) {
				there, err := cached.Exists(ctx, "key")
				return map[bool]string{true: "1"}[there], err
			}},
		} {
			set := func(value string) error {
				if value == "" {
					return store.Delete(ctx, "key")
				}
				return put(ctx, store, "key", value)
			}
			if err := errors.Join(cached.Delete(ctx, "key"), set(c.was)); err != nil {
				return err
			}
			time.Sleep(maxAge)
			if _, err := value(ctx, cached, "key"); err != nil { // from now on the key is in memory
				return err
			}
			if err := set(c.is); err != nil {
				return err
			}
			time.Sleep(maxAge - time.Nanosecond)
			if got, err := c.read(); got != c.was || err != nil {
				return fmt.Errorf("from %q to %q: before MaxAge a read returns %q, %v: nothing was in memory", c.was, c.is, got, err)
			}
			time.Sleep(time.Nanosecond)
			if got, err := c.read(); got != c.is || err != nil {
				return fmt.Errorf("from %q to %q: after MaxAge a read returns %q, %v", c.was, c.is, got, err)
			}
		}
		return nil
	}},
	{"age begins with the request", "an answer was the state of the store at most MaxAge before the read began, however long the request took", false, func(ctx context.Context, cached, store *kv.Store, b *between) error {
		if err := put(ctx, store, "key", "1"); err != nil {
			return err
		}
		b.get = func(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
			found, err := b.Driver.Get(ctx, req)
			time.Sleep(maxAge / 2)
			return found, err
		}
		if _, err := value(ctx, cached, "key"); err != nil {
			return err
		}
		if err := put(ctx, store, "key", "2"); err != nil {
			return err
		}
		time.Sleep(maxAge / 2)
		if got, err := value(ctx, cached, "key"); got != "2" {
			return fmt.Errorf("a Get returns %q, %v", got, err)
		}
		return nil
	}},
	{"own writes", "a write through the cache is seen by the next read", true, func(ctx context.Context, cached, store *kv.Store, b *between) error {
		for name, write := range map[string]func() error{
			"Put": func() error { return put(ctx, cached, "g::key", "new") },
			"PutMany": func() error {
				_, err := cached.PutMany(ctx, []kv.Item{{Key: "g::key", Value: []byte("new")}})
				return err
			},
			"Delete":       func() error { return cached.Delete(ctx, "g::key") },
			"DeleteMany":   func() error { return cached.DeleteMany(ctx, []string{"g::key"}) },
			"DeletePrefix": func() error { _, err := cached.DeletePrefix(ctx, "g::"); return err },
			"Touch":        func() error { _, err := cached.Touch(ctx, "g::key", kv.TTL(time.Hour)); return err },
			"Increment":    func() error { _, err := cached.Increment(ctx, "g::key", 1); return err },
			"AtomicWrite": func() error {
				_, err := cached.AtomicWrite(ctx, kv.PutOp("g::key", []byte("new")), kv.DeleteOp("g::other"))
				return err
			},
			"AtomicWrite that checks": func() error {
				_, err := cached.AtomicWrite(ctx, kv.CheckOp("g::key", kv.IfVersion(versionOf(ctx, store, "g::key"))), kv.DeleteOp("g::other"))
				return err
			},
		} {
			if err := put(ctx, cached, "g::key", "1"); err != nil {
				return err
			}
			if _, err := value(ctx, cached, "g::key"); err != nil {
				return err
			}
			if err := write(); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			got, err := cached.Get(ctx, "g::key")
			want, wantErr := store.Get(ctx, "g::key")
			if string(got.Value) != string(want.Value) || got.Version != want.Version || got.ExpiresAt != want.ExpiresAt || errors.Is(err, kv.ErrNotFound) != errors.Is(wantErr, kv.ErrNotFound) {
				return fmt.Errorf("after %s a Get returns %+v, %v; in the store is %+v, %v", name, got, err, want, wantErr)
			}
		}
		return nil
	}},
	{"write-through", "what was put is in memory, with its version", false, func(ctx context.Context, cached, store *kv.Store, b *between) error {
		version, err := cached.Put(ctx, "key", []byte("1"))
		if err != nil {
			return err
		}
		if got, err := cached.Get(ctx, "key"); err != nil || got.Version != version || b.gets.Load() != 0 {
			return fmt.Errorf("the Get after a Put returns the version %s, %v, with %d requests; want %s and none", got.Version, err, b.gets.Load(), version)
		}
		return nil
	}},
	{"conditions", "a condition is judged by the store, and the read after one that failed finds why", true, func(ctx context.Context, cached, store *kv.Store, b *between) error {
		if err := put(ctx, cached, "key", "1"); err != nil {
			return err
		}
		old, err := cached.Get(ctx, "key")
		if err != nil {
			return err
		}
		if err := put(ctx, store, "key", "2"); err != nil {
			return err
		}
		if _, err := cached.Put(ctx, "key", nil, kv.IfVersion(old.Version)); !errors.Is(err, kv.ErrConditionFailed) {
			return fmt.Errorf("a Put under the version that is in memory returns %v", err)
		}
		if got, err := value(ctx, cached, "key"); got != "2" {
			return fmt.Errorf("the Get after a condition that failed returns %q, %v", got, err)
		}
		if err := store.Delete(ctx, "key"); err != nil {
			return err
		}
		if _, err := cached.Put(ctx, "key", []byte("3"), kv.IfNotExists()); err != nil {
			return fmt.Errorf("a Put of a key that is in memory alone returns %v", err)
		}
		if err := put(ctx, store, "key", "4"); err != nil {
			return err
		}
		entry, err := cached.Update(ctx, "key", func(old kv.Entry, _ bool) (kv.Change, error) {
			return kv.Change{Value: append(old.Value, '+')}, nil
		})
		if err != nil || string(entry.Value) != "4+" {
			return fmt.Errorf("an Update made %q, %v of what is in the store", entry.Value, err)
		}
		return nil
	}},
	{"unknown outcome", "a write whose outcome is unknown leaves nothing in memory", true, func(ctx context.Context, cached, store *kv.Store, b *between) error {
		for _, applied := range []bool{true, false} {
			for name, write := range map[string]func() error{
				"Put":    func() error { return put(ctx, cached, "key", "2") },
				"Delete": func() error { return cached.Delete(ctx, "key") },
			} {
				if err := put(ctx, cached, "key", "1"); err != nil {
					return err
				}
				b.write = func(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
					if applied {
						if _, err := b.Driver.Write(ctx, req); err != nil {
							return kv.Outcome{}, err
						}
					}
					return kv.Outcome{}, &kv.Error{Kind: kv.ErrUnavailable, MayHaveApplied: true}
				}
				err := write()
				b.write = nil
				if !errors.Is(err, kv.ErrIndeterminate) {
					return fmt.Errorf("%s without a response returns %v", name, err)
				}
				got, err := value(ctx, cached, "key")
				if want, _ := value(ctx, store, "key"); got != want {
					return fmt.Errorf("after %s without a response, applied: %v, a Get returns %q, %v; in the store is %q", name, applied, got, err, want)
				}
			}
		}
		return nil
	}},
	{"write during a read", "a write that returns while a read is under way is seen by the reads after it", false, func(ctx context.Context, cached, store *kv.Store, b *between) error {
		for name, read := range map[string]func() error{
			"Get":     func() error { _, err := value(ctx, cached, "key"); return err },
			"GetMany": func() error { _, err := cached.GetMany(ctx, []string{"key"}); return err },
		} {
			for _, sent := range []string{"during the read", "before the read"} {
				if err := put(ctx, store, "key", "1"); err != nil {
					return err
				}
				time.Sleep(maxAge)
				release := make(chan struct{})
				held := func() { // holds up only the first request
					b.get, b.write = nil, nil
					<-release
				}
				b.get = func(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
					found, err := b.Driver.Get(ctx, req)
					held()
					return found, err
				}
				var running sync.WaitGroup
				var failed [2]error
				if sent == "before the read" {
					begin := make(chan struct{})
					b.write = func(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
						b.write = nil
						<-begin // until the read has found the old value
						return b.Driver.Write(ctx, req)
					}
					running.Go(func() { failed[0] = put(ctx, cached, "key", "2") })
					synctest.Wait()
					running.Go(func() { failed[1] = read() })
					synctest.Wait()
					close(begin)
				} else {
					running.Go(func() { failed[1] = read() })
					synctest.Wait()
					running.Go(func() { failed[0] = put(ctx, cached, "key", "2") })
				}
				synctest.Wait() // until the write has returned
				close(release)
				running.Wait()
				if got, err := value(ctx, cached, "key"); got != "2" {
					return errors.Join(fmt.Errorf("a Get after a write sent %s by %s returns %q, %v", sent, name, got, err), failed[0], failed[1])
				}
			}
		}
		return nil
	}},
	{"writes at once", "of several writes at once none is kept, since which came last is unknown", false, func(ctx context.Context, cached, store *kv.Store, b *between) error {
		var writes atomic.Int64
		first, second := make(chan struct{}), make(chan struct{})
		b.write = func(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
			if writes.Add(1) == 1 {
				out, err := b.Driver.Write(ctx, req)
				<-first
				return out, err
			}
			<-second
			return b.Driver.Write(ctx, req)
		}
		var running sync.WaitGroup
		running.Go(func() { _ = put(ctx, cached, "key", "1") })
		synctest.Wait()
		running.Go(func() { _ = put(ctx, cached, "key", "2") })
		synctest.Wait()
		close(second) // "2" is stored after "1", but its write returns first
		synctest.Wait()
		close(first)
		running.Wait()
		if got, err := value(ctx, cached, "key"); got != "2" {
			return fmt.Errorf("a Get returns %q, %v; want the last write", got, err)
		}
		return nil
	}},
	{"misses at once", "callers that miss a key at once share requests, and none gets the answer to a request that was sent before its call", false, func(ctx context.Context, cached, store *kv.Store, b *between) error {
		if err := put(ctx, store, "key", "1"); err != nil {
			return err
		}
		release := make(chan struct{})
		b.get = func(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
			found, err := b.Driver.Get(ctx, req)
			<-release
			return found, err
		}
		var running sync.WaitGroup
		running.Go(func() { _, _ = value(ctx, cached, "key") })
		synctest.Wait()
		if err := put(ctx, store, "key", "2"); err != nil { // this write ends before the other reads begin
			return err
		}
		var mu sync.Mutex
		var failed error
		for range 99 {
			running.Go(func() {
				if got, err := value(ctx, cached, "key"); got != "2" {
					mu.Lock()
					defer mu.Unlock()
					failed = fmt.Errorf("a caller gets %q, %v; the value was %q before it called", got, err, "2")
				}
			})
		}
		synctest.Wait()
		close(release)
		running.Wait()
		if n := b.gets.Load(); n != 2 && failed == nil {
			failed = fmt.Errorf("100 callers made %d requests; want 2", n)
		}
		return failed
	}},
	{"answers out of order", "of two reads the answer that was sent for later stays", false, func(ctx context.Context, cached, store *kv.Store, b *between) error {
		if err := put(ctx, store, "key", "1"); err != nil {
			return err
		}
		release := make(chan struct{})
		b.get = func(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
			b.get = nil // holds up only the first Get
			found, err := b.Driver.Get(ctx, req)
			<-release
			return found, err
		}
		var running sync.WaitGroup
		running.Go(func() { _, _ = value(ctx, cached, "key") })
		synctest.Wait()
		time.Sleep(time.Nanosecond)
		if err := put(ctx, store, "key", "2"); err != nil {
			return err
		}
		if _, err := cached.GetMany(ctx, []string{"key"}); err != nil {
			return err
		}
		close(release)
		running.Wait()
		if got, err := value(ctx, cached, "key"); got != "2" {
			return fmt.Errorf("a Get returns %q, %v after another read found %q", got, err, "2")
		}
		return nil
	}},
	{"strong reads", "what is not in memory is read with strong consistency", false, func(ctx context.Context, cached, store *kv.Store, b *between) error {
		for name, read := range map[string]func() error{
			"Get":     func() error { _, err := value(ctx, cached, "key"); return err },
			"Exists":  func() error { _, err := cached.Exists(ctx, "key"); return err },
			"GetMany": func() error { _, err := cached.GetMany(ctx, []string{"key"}); return err },
			"Scan":    func() error { _, err := cached.ScanPage(ctx, "", 1, ""); return err },
		} {
			if err := read(); err != nil {
				return err
			}
			if b.stale.Load() {
				return fmt.Errorf("%s permits a stale answer", name)
			}
		}
		return nil
	}},
	{"expiry in memory", "an answer was the state of the store at most MaxAge before the read began: an entry that another process keeps alive is never absent", true, func(ctx context.Context, cached, store *kv.Store, b *between) error {
		for name, read := range map[string]func() (bool, error){
			"Get": func() (bool, error) {
				got, err := value(ctx, cached, "key")
				return got != "", err
			},
			"Exists": func() (bool, error) { return cached.Exists(ctx, "key") },
			"GetMany": func() (bool, error) {
				entries, err := cached.GetMany(ctx, []string{"key"})
				return len(entries) == 1, err
			},
		} {
			if _, err := cached.Put(ctx, "key", []byte("1"), kv.TTL(maxAge/2)); err != nil {
				return err
			}
			if _, err := store.Touch(ctx, "key", kv.TTL(time.Hour)); err != nil {
				return err
			}
			time.Sleep(maxAge / 2)
			if alive, err := read(); !alive || err != nil {
				return fmt.Errorf("after the expiry that is in memory %s finds an entry: %t, %v", name, alive, err)
			}
		}
		return nil
	}},
	{"values", "a value belongs to the caller", false, func(ctx context.Context, cached, store *kv.Store, b *between) error {
		value := []byte("1")
		if _, err := cached.Put(ctx, "key", value); err != nil {
			return err
		}
		value[0] = 'x'
		for range 3 {
			entry, err := cached.Get(ctx, "key")
			if err != nil || string(entry.Value) != "1" {
				return fmt.Errorf("a Get returns %q, %v", entry.Value, err)
			}
			entry.Value[0] = 'y'
		}
		return nil
	}},
}

func versionOf(ctx context.Context, store *kv.Store, key string) kv.Version {
	entry, _ := store.Get(ctx, key)
	return entry.Version
}

func TestRules(t *testing.T) {
	t.Parallel()
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store, b := memkv.New(), new(between)
				cached := open(t, putBetween(store, b), Options{Absent: c.absent})
				if err := c.run(t.Context(), cached.Store, store, b); err != nil {
					t.Errorf("rule: %s; %v", c.rule, err)
				}
			})
		})
	}
}

// bug has a field for each bug that a simple cache can have.
type bug struct {
	keepsNothing, forEver, fromAnswer, forgetsWrites, forgetsBatches, keepsNoPuts, judges, keepsUnknown, keepsOld, joins, doesNotShare, doesNotCopy, staysStale bool
}

// simple is a short implementation of a cache, with the bugs that are set. Even without them it
// breaks two rules: see TestRulesFindBugs.
type simple struct {
	kv.Driver
	bug
	mu      sync.Mutex
	kept    map[string]kept
	loading map[string]chan struct{}
	writes  int
}

func (d *simple) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	d.mu.Lock()
	k, ok := d.kept[req.Key]
	writes, loading := d.writes, d.loading[req.Key]
	d.mu.Unlock()
	if ok && (req.Stale || d.judges) && (d.forEver || k.since.until(now()) < maxAge) && !d.keepsNothing {
		if d.doesNotCopy {
			return k.found, nil
		}
		return k.copy(req.WithValue), nil
	}
	if !req.Stale || !req.WithValue {
		return d.Driver.Get(ctx, req)
	}
	if loading != nil && !d.doesNotShare {
		<-loading
		if d.joins {
			return d.kept[req.Key].found, nil
		}
		return d.Get(ctx, req)
	}
	done := make(chan struct{})
	d.mu.Lock()
	d.loading[req.Key] = done
	d.mu.Unlock()
	since := now()
	req.Stale = d.staysStale
	found, err := d.Driver.Get(ctx, req)
	if d.fromAnswer {
		since = now()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil && (d.keepsOld || d.writes == writes) {
		k := kept{found, since}
		k.found = k.copy(true)
		d.kept[req.Key] = k
	}
	delete(d.loading, req.Key)
	close(done)
	return found, err
}

func (d *simple) GetMany(ctx context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	return func(yield func(kv.Found, error) bool) {
		for _, key := range req.Keys {
			found, err := d.Get(ctx, kv.GetRequest{Key: key, WithValue: req.WithValue, Stale: req.Stale})
			if found.Key = key; !yield(found, err) {
				return
			}
		}
	}
}

func (d *simple) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	since := now()
	d.mu.Lock()
	if k, ok := d.kept[req.Key]; d.judges && ok && k.found.Exists && req.Condition.Kind == kv.CondAbsent {
		defer d.mu.Unlock()
		return kv.Outcome{Exists: true, Found: k.found.Record}, nil
	}
	d.mu.Unlock()
	out, err := d.Driver.Write(ctx, req)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writes++
	if d.forgetsWrites || err != nil && d.keepsUnknown {
		return out, err
	}
	delete(d.kept, req.Key)
	if err == nil && out.Done && req.Kind == kv.KindPut && !d.keepsNoPuts {
		k := kept{kv.Found{Record: req.Record, Exists: true}, since}
		if k.found.Version = out.Version; !d.doesNotCopy {
			k.found = k.copy(true)
		}
		d.kept[req.Key] = k
	}
	return out, err
}

func (d *simple) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	if d.forgetsBatches {
		return d.Driver.WriteMany(ctx, req)
	}
	return kv.WriteEach(ctx, d, req, 1)
}

func (d *simple) WriteAtomic(ctx context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	if !d.forgetsBatches {
		d.mu.Lock()
		clear(d.kept)
		d.mu.Unlock()
	}
	return d.Driver.WriteAtomic(ctx, req)
}

// Every check fails for each cache with a bug that breaks its rule.
func TestRulesFindBugs(t *testing.T) {
	t.Parallel()
	bugs := map[string][]bug{
		"hit":                         {{keepsNothing: true}},
		"staleness":                   {{forEver: true}, {keepsNothing: true}},
		"age begins with the request": {{fromAnswer: true}},
		"own writes":                  {{forgetsWrites: true}, {forgetsBatches: true}},
		"write-through":               {{keepsNoPuts: true}},
		"conditions":                  {{judges: true}, {forgetsWrites: true}},
		"unknown outcome":             {{keepsUnknown: true}},
		"write during a read":         {{keepsOld: true}},
		"writes at once":              {{}},
		"misses at once":              {{joins: true}, {doesNotShare: true}},
		"answers out of order":        {{doesNotShare: true}},
		"strong reads":                {{staysStale: true}},
		"expiry in memory":            {{}},
		"values":                      {{doesNotCopy: true}},
	}
	for _, c := range checks {
		if len(bugs[c.name]) == 0 {
			t.Errorf("no cache breaks %q", c.name)
		}
		for _, bug := range bugs[c.name] {
			t.Run(fmt.Sprintf("%s/%+v", c.name, bug), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					store, b := memkv.New(), new(between)
					cached := putBetween(store, b).With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver {
						return &simple{Driver: d, bug: bug, kept: make(map[string]kept), loading: make(map[string]chan struct{})}
					}), kv.Stale())
					if err := c.run(t.Context(), cached, store, b); err == nil {
						t.Errorf("a cache that breaks it passes: %s", c.rule)
					}
				})
			})
		}
	}
}

// Each read sees all writes that ended before the read began, even if many readers and writers use
// the same few keys and their requests take different times.
func TestReadsSeeWritesThatEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		store, b := memkv.New(), new(between)
		b.get = func(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
			time.Sleep(rand.N(time.Millisecond))
			found, err := b.Driver.Get(ctx, req)
			time.Sleep(rand.N(time.Millisecond))
			return found, err
		}
		b.write = func(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
			time.Sleep(rand.N(time.Millisecond))
			out, err := b.Driver.Write(ctx, req)
			time.Sleep(rand.N(time.Millisecond))
			return out, err
		}
		cached := open(t, putBetween(store, b), Options{})
		var running sync.WaitGroup
		for _, key := range []string{"a", "b", "c"} {
			var ended atomic.Int64 // the number that was put last
			var over atomic.Bool
			running.Go(func() {
				defer over.Store(true)
				for n := range int64(500) {
					if err := put(ctx, cached.Store, key, fmt.Sprint(n+1)); err != nil {
						t.Error(err)
						return
					}
					ended.Store(n + 1)
					time.Sleep(rand.N(5 * time.Millisecond))
				}
			})
			for range 4 {
				running.Go(func() {
					for !over.Load() {
						want := ended.Load()
						text, err := value(ctx, cached.Store, key)
						var got int64
						_, _ = fmt.Sscan(text, &got)
						if err != nil || got < want {
							t.Errorf("rule: a read sees every write through the cache that ended before; it returns %d, %v after %d was put", got, err, want)
							return
						}
						time.Sleep(rand.N(time.Millisecond))
					}
				})
			}
		}
		running.Wait()
		if s := cached.Stats(); s.Hits == 0 || s.Misses == 0 {
			t.Errorf("of the reads %d were hits and %d misses: the test tests nothing", s.Hits, s.Misses)
		}
	})
}

func TestExpiryIsExact(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	clock := time.Now().Truncate(time.Millisecond)
	cached := open(t, memkv.New(), Options{MaxAge: time.Hour}).With(kv.Clock(func() time.Time { return clock }))
	if _, err := cached.Put(ctx, "key", []byte("1"), kv.TTL(time.Second)); err != nil {
		t.Fatal(err)
	}
	clock = clock.Add(time.Second - time.Millisecond)
	if _, err := cached.Get(ctx, "key"); err != nil {
		t.Errorf("rule: an entry lives to the millisecond before its expiry; got %v", err)
	}
	clock = clock.Add(time.Millisecond)
	if _, err := cached.Get(ctx, "key"); !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("rule: from its expiry on an entry is absent, though it is in memory; got %v", err)
	}
}

func TestBothClocksCount(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		later instant
		want  time.Duration
	}{
		"both clocks ran":             {instant{5, 105}, 5},
		"the machine was suspended":   {instant{5, 199}, 99},
		"the wall clock was set back": {instant{5, 1}, 5},
	} {
		if got := (instant{0, 100}).until(c.later); got != c.want {
			t.Errorf("rule: the clock that says more counts; when %s the age is %d, want %d", name, got, c.want)
		}
	}
}

func TestAbsence(t *testing.T) {
	t.Parallel()
	for _, absent := range []bool{true, false} {
		ctx := t.Context()
		store, b := memkv.New(), new(between)
		cached := open(t, putBetween(store, b), Options{Absent: absent})
		for range 3 {
			if got, err := value(ctx, cached.Store, "key"); got != "" || err != nil {
				t.Fatal(got, err)
			}
		}
		if n, want := b.gets.Load(), map[bool]int64{true: 1, false: 3}[absent]; n != want {
			t.Errorf("rule: absence is kept if Absent is set, and only then; with %v three reads made %d requests, want %d", absent, n, want)
		}
		// An entry that had already expired when it was read also counts as absent.
		past := store.With(kv.Clock(func() time.Time { return time.Now().Add(-time.Minute) }))
		if _, err := past.Put(ctx, "expired", []byte("1"), kv.TTL(time.Second)); err != nil {
			t.Fatal(err)
		}
		b.gets.Store(0)
		for range 3 {
			if got, err := value(ctx, cached.Store, "expired"); got != "" || err != nil {
				t.Fatal(got, err)
			}
		}
		if n, want := b.gets.Load(), map[bool]int64{true: 1, false: 3}[absent]; n != want {
			t.Errorf("rule: absence is kept if Absent is set, and only then; with %v three reads of an expired entry made %d requests, want %d", absent, n, want)
		}
	}
}

// A caller that leaves does not end a request that others wait for. If nobody waits for a
// request any more, it ends.
func TestCallersLeave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, b := memkv.New(), new(between)
		var ended atomic.Int64
		b.get = func(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
			select {
			case <-time.After(time.Second):
				return b.Driver.Get(ctx, req)
			case <-ctx.Done():
				ended.Add(1)
				return kv.Found{}, ctx.Err()
			}
		}
		if err := put(t.Context(), store, "key", "1"); err != nil {
			t.Fatal(err)
		}
		cached := open(t, putBetween(store, b), Options{})
		get := func(timeout time.Duration) chan error {
			result := make(chan error, 1)
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), timeout)
				defer cancel()
				_, err := cached.Get(ctx, "key")
				result <- err
			}()
			synctest.Wait()
			return result
		}
		first, second, third := get(time.Second/2), get(time.Second), get(time.Hour)
		begun := time.Now()
		if err := <-first; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("rule: a read ends with its context; got %v", err)
		}
		if err := <-second; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("rule: a read that shares a request ends with its own context; got %v", err)
		}
		if err := <-third; err != nil || time.Since(begun) != 3*time.Second/2 {
			t.Errorf("rule: who leaves takes nobody along; got %v after %s", err, time.Since(begun))
		}
		time.Sleep(maxAge)
		first, second = get(time.Hour), get(3*time.Second/2)
		<-first
		if err := <-second; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		if n := ended.Load(); n != 2 {
			t.Errorf("rule: a request that nobody waits for ends; %d were broken off, want 2", n)
		}
		if n := len(cached.driver.keys); n != 0 {
			t.Errorf("rule: nothing is left of requests that ended; %d keys are", n)
		}
	})
}

// panicking is a driver whose methods panic while on is set.
type panicking struct {
	kv.Driver
	on bool
}

func (d *panicking) check() {
	if d.on {
		panic("on")
	}
}

func (d *panicking) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	d.check()
	return d.Driver.Get(ctx, req)
}

func (d *panicking) GetMany(ctx context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	d.check()
	return d.Driver.GetMany(ctx, req)
}

func (d *panicking) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	d.check()
	return d.Driver.Write(ctx, req)
}

func (d *panicking) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	d.check()
	return d.Driver.WriteMany(ctx, req)
}

func (d *panicking) WriteAtomic(ctx context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	d.check()
	return d.Driver.WriteAtomic(ctx, req)
}

// A server such as net/http recovers from panics and goes on.
func TestPanics(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	d := new(panicking)
	cached := open(t, memkv.New().With(kv.Wrap(kv.Level1, func(below kv.Driver) kv.Driver { d.Driver = below; return d })), Options{Absent: true})
	for name, call := range map[string]func(){
		"Get":          func() { _, _ = cached.Get(ctx, "key") },
		"a strong Get": func() { _, _ = cached.exact.Get(ctx, "key") },
		"GetMany":      func() { _, _ = cached.GetMany(ctx, []string{"key"}) },
		"Put":          func() { _ = put(ctx, cached.Store, "key", "2") },
		"PutMany":      func() { _, _ = cached.PutMany(ctx, []kv.Item{{Key: "key"}}) },
		"AtomicWrite":  func() { _, _ = cached.AtomicWrite(ctx, kv.PutOp("key", nil)) },
	} {
		if err := put(ctx, cached.Store, "key", "1"); err != nil {
			t.Fatal(err)
		}
		cached.driver.entries.InvalidateAll()
		d.on = true
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s does not panic", name)
				}
			}()
			call()
		}()
		d.on = false
		if n := len(cached.driver.keys); n != 0 {
			t.Errorf("rule: nothing is left of requests that ended, even by a panic; after %s %d keys are", name, n)
		}
		hits := cached.Stats().Hits
		for range 2 {
			if got, err := value(ctx, cached.Store, "key"); got != "1" || err != nil {
				t.Errorf("after a panic in %s, a Get returns %q, %v", name, got, err)
			}
		}
		if n := cached.Stats().Hits - hits; n != 1 {
			t.Errorf("rule: a key is kept in memory again after a panic; after %s, two reads had %d hits, want 1", name, n)
		}
	}
}

func TestCloseEndsCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := new(between)
		b.get = func(ctx context.Context, _ kv.GetRequest) (kv.Found, error) {
			<-ctx.Done()
			return kv.Found{}, ctx.Err()
		}
		b.write = func(ctx context.Context, _ kv.WriteRequest) (kv.Outcome, error) {
			<-ctx.Done()
			return kv.Outcome{}, ctx.Err()
		}
		store := putBetween(memkv.New(), b)
		cached := open(t, store, Options{})
		var running sync.WaitGroup
		for name, call := range map[string]func() error{
			"Get":            func() error { _, err := cached.Get(context.Background(), "a"); return err },
			"another Get":    func() error { _, err := cached.Get(context.Background(), "a"); return err },
			"Exists":         func() error { _, err := cached.Exists(context.Background(), "a"); return err },
			"GetMany":        func() error { _, err := cached.GetMany(context.Background(), []string{"a"}); return err },
			"Put":            func() error { return put(context.Background(), cached.Store, "b", "1") },
			"a Put of two":   func() error { return put(context.Background(), cached.Store, "b", "1") },
			"a strong Get":   func() error { _, err := cached.exact.Get(context.Background(), "a"); return err },
			"a Get that can": func() error { _, err := cached.Get(t.Context(), "c"); return err },
		} {
			running.Go(func() {
				if err := call(); !errors.Is(err, kv.ErrClosed) {
					t.Errorf("rule: Close ends the calls under way with ErrClosed; %s returns %v", name, err)
				}
			})
		}
		synctest.Wait()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
		running.Wait()
	})
}

func TestStats(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	cached := open(t, memkv.New(), Options{MaxBytes: 4 * (overhead + 101)})
	for i := range 8 {
		if err := put(ctx, cached.Store, fmt.Sprint(i), strings.Repeat("v", 100)); err != nil {
			t.Fatal(err)
		}
	}
	cached.driver.entries.CleanUp()
	if s := cached.Stats(); s.Entries != 4 || s.Bytes != 4*(overhead+101) || s.Evictions != 4 || s.Hits != 0 || s.Misses != 0 {
		t.Errorf("after 8 puts where there is room for 4 the Stats are %+v", s)
	}
	for i := range 8 {
		if _, err := cached.Get(ctx, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if s := cached.Stats(); s.Hits+s.Misses != 8 || s.Hits == 0 || s.Misses == 0 {
		t.Errorf("after 8 Gets the Stats are %+v", s)
	}
}
