package conformance

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skykv/skykv/kv"
)

// brokenStores are faults for the rules that kv.Store implements itself, for every driver.
// A driver can break only a few of these rules, so most of the faults change the store.
func brokenStores() []fault {
	return slices.Concat(validationFaults(), answerFaults(), frontScanFaults(), pageFaults(), cursorFaults(), frontBatchFaults(), lifecycleFaults(),
		frontTouchFaults(), frontLargeFaults(), frontUpdateFaults(), frontAtomicFaults(), rangeFaults(), countFaults())
}

// front is a store whose methods can be replaced one by one.
type front struct {
	store
	info         func() kv.Info
	get          func(ctx context.Context, key string) (kv.Entry, error)
	put          func(ctx context.Context, key string, value []byte, opts ...kv.PutOption) (kv.Version, error)
	delete       func(ctx context.Context, key string, opts ...kv.DeleteOption) error
	exists       func(ctx context.Context, key string) (bool, error)
	scan         func(ctx context.Context, prefix string, opts ...kv.ScanOption) iter.Seq2[kv.Entry, error]
	scanPage     func(ctx context.Context, prefix string, limit int, cursor string, opts ...kv.PageOption) (kv.Page, error)
	count        func(ctx context.Context, prefix string, opts ...kv.RangeOption) (int, error)
	getMany      func(ctx context.Context, keys []string) (map[string]kv.Entry, error)
	putMany      func(ctx context.Context, items []kv.Item) (map[string]kv.Version, error)
	deleteMany   func(ctx context.Context, keys []string) error
	deletePrefix func(ctx context.Context, prefix string) (int, error)
	touch        func(ctx context.Context, key string, opts ...kv.TouchOption) (kv.Version, error)
	update       func(ctx context.Context, key string, change func(old kv.Entry, exists bool) (kv.Change, error)) (kv.Entry, error)
	increment    func(ctx context.Context, key string, delta int64, opts ...kv.IncrementOption) (int64, error)
	getAndDelete func(ctx context.Context, key string) (kv.Entry, error)
	atomicWrite  func(ctx context.Context, ops ...kv.Op) ([]kv.Version, error)
	close        func() error
}

// fronting returns a function that wraps a store in a front. The function replace may set the
// methods of f. The original methods are in f.store.
func fronting(replace func(f *front)) func(store) store {
	return func(s store) store {
		f := &front{
			store: s, info: s.Info, get: s.Get, put: s.Put, delete: s.Delete, exists: s.Exists, scan: s.Scan, scanPage: s.ScanPage,
			count: s.Count, getMany: s.GetMany, putMany: s.PutMany, deleteMany: s.DeleteMany, deletePrefix: s.DeletePrefix, close: s.Close,
			touch: s.Touch, update: s.Update, increment: s.Increment, getAndDelete: s.GetAndDelete, atomicWrite: s.AtomicWrite,
		}
		replace(f)
		return f
	}
}

func (f *front) Info() kv.Info                                         { return f.info() }
func (f *front) Get(ctx context.Context, key string) (kv.Entry, error) { return f.get(ctx, key) }
func (f *front) Exists(ctx context.Context, key string) (bool, error)  { return f.exists(ctx, key) }
func (f *front) DeleteMany(ctx context.Context, keys []string) error   { return f.deleteMany(ctx, keys) }
func (f *front) DeletePrefix(ctx context.Context, p string) (int, error) {
	return f.deletePrefix(ctx, p)
}
func (f *front) GetAndDelete(ctx context.Context, key string) (kv.Entry, error) {
	return f.getAndDelete(ctx, key)
}

func (f *front) Touch(ctx context.Context, key string, opts ...kv.TouchOption) (kv.Version, error) {
	return f.touch(ctx, key, opts...)
}

func (f *front) Update(ctx context.Context, key string, change func(old kv.Entry, exists bool) (kv.Change, error)) (kv.Entry, error) {
	return f.update(ctx, key, change)
}

func (f *front) Increment(ctx context.Context, key string, delta int64, opts ...kv.IncrementOption) (int64, error) {
	return f.increment(ctx, key, delta, opts...)
}

func (f *front) AtomicWrite(ctx context.Context, ops ...kv.Op) ([]kv.Version, error) {
	return f.atomicWrite(ctx, ops...)
}

func (f *front) Close() error { return f.close() }

func (f *front) Delete(ctx context.Context, key string, opts ...kv.DeleteOption) error {
	return f.delete(ctx, key, opts...)
}

func (f *front) Put(ctx context.Context, key string, value []byte, opts ...kv.PutOption) (kv.Version, error) {
	return f.put(ctx, key, value, opts...)
}

func (f *front) PutMany(ctx context.Context, items []kv.Item) (map[string]kv.Version, error) {
	return f.putMany(ctx, items)
}

func (f *front) GetMany(ctx context.Context, keys []string) (map[string]kv.Entry, error) {
	return f.getMany(ctx, keys)
}

func (f *front) Scan(ctx context.Context, prefix string, opts ...kv.ScanOption) iter.Seq2[kv.Entry, error] {
	return f.scan(ctx, prefix, opts...)
}

func (f *front) ScanPage(ctx context.Context, prefix string, limit int, cursor string, opts ...kv.PageOption) (kv.Page, error) {
	return f.scanPage(ctx, prefix, limit, cursor, opts...)
}

func (f *front) Count(ctx context.Context, prefix string, opts ...kv.RangeOption) (int, error) {
	return f.count(ctx, prefix, opts...)
}

// every is a store whose functions may change the contexts and keys of its calls, and the entries
// and errors that the calls return. It does not change the keys of an AtomicWrite, or a Close.
type every struct {
	store
	ctx   func(ctx context.Context) context.Context
	key   func(method, key string) string // changes keys and prefixes
	entry func(e kv.Entry) kv.Entry
	err   func(err error) error
}

// with(s) is the store that wraps s. The fields that are nil change nothing.
func (f every) with(s store) store {
	f.store = s
	if f.ctx == nil {
		f.ctx = func(ctx context.Context) context.Context { return ctx }
	}
	if f.key == nil {
		f.key = func(_, key string) string { return key }
	}
	if f.entry == nil {
		f.entry = func(e kv.Entry) kv.Entry { return e }
	}
	if f.err == nil {
		f.err = func(err error) error { return err }
	}
	return f
}

func (f every) keys(method string, keys []string) []string {
	keys = slices.Clone(keys)
	for i, key := range keys {
		keys[i] = f.key(method, key)
	}
	return keys
}

func (f every) Get(ctx context.Context, key string) (kv.Entry, error) {
	e, err := f.store.Get(f.ctx(ctx), f.key("Get", key))
	return f.entry(e), f.err(err)
}

func (f every) Exists(ctx context.Context, key string) (bool, error) {
	ok, err := f.store.Exists(f.ctx(ctx), f.key("Exists", key))
	return ok, f.err(err)
}

func (f every) Put(ctx context.Context, key string, value []byte, opts ...kv.PutOption) (kv.Version, error) {
	v, err := f.store.Put(f.ctx(ctx), f.key("Put", key), value, opts...)
	return v, f.err(err)
}

func (f every) Delete(ctx context.Context, key string, opts ...kv.DeleteOption) error {
	return f.err(f.store.Delete(f.ctx(ctx), f.key("Delete", key), opts...))
}

func (f every) Scan(ctx context.Context, prefix string, opts ...kv.ScanOption) iter.Seq2[kv.Entry, error] {
	return func(yield func(kv.Entry, error) bool) {
		for e, err := range f.store.Scan(f.ctx(ctx), f.key("Scan", prefix), opts...) {
			if !yield(f.entry(e), f.err(err)) {
				return
			}
		}
	}
}

func (f every) ScanPage(ctx context.Context, prefix string, limit int, cursor string, opts ...kv.PageOption) (kv.Page, error) {
	page, err := f.store.ScanPage(f.ctx(ctx), f.key("ScanPage", prefix), limit, cursor, opts...)
	for i, e := range page.Entries {
		page.Entries[i] = f.entry(e)
	}
	return page, f.err(err)
}

func (f every) Count(ctx context.Context, prefix string, opts ...kv.RangeOption) (int, error) {
	n, err := f.store.Count(f.ctx(ctx), f.key("Count", prefix), opts...)
	return n, f.err(err)
}

func (f every) GetMany(ctx context.Context, keys []string) (map[string]kv.Entry, error) {
	entries, err := f.store.GetMany(f.ctx(ctx), f.keys("GetMany", keys))
	for key, e := range entries {
		entries[key] = f.entry(e)
	}
	return entries, f.err(err)
}

func (f every) PutMany(ctx context.Context, items []kv.Item) (map[string]kv.Version, error) {
	items = slices.Clone(items)
	for i, item := range items {
		items[i].Key = f.key("PutMany", item.Key)
	}
	versions, err := f.store.PutMany(f.ctx(ctx), items)
	return versions, f.err(err)
}

func (f every) DeleteMany(ctx context.Context, keys []string) error {
	return f.err(f.store.DeleteMany(f.ctx(ctx), f.keys("DeleteMany", keys)))
}

func (f every) DeletePrefix(ctx context.Context, prefix string) (int, error) {
	n, err := f.store.DeletePrefix(f.ctx(ctx), f.key("DeletePrefix", prefix))
	return n, f.err(err)
}

func (f every) Touch(ctx context.Context, key string, opts ...kv.TouchOption) (kv.Version, error) {
	v, err := f.store.Touch(f.ctx(ctx), f.key("Touch", key), opts...)
	return v, f.err(err)
}

func (f every) Update(ctx context.Context, key string, change func(old kv.Entry, exists bool) (kv.Change, error)) (kv.Entry, error) {
	e, err := f.store.Update(f.ctx(ctx), f.key("Update", key), change)
	return f.entry(e), f.err(err)
}

func (f every) Increment(ctx context.Context, key string, delta int64, opts ...kv.IncrementOption) (int64, error) {
	n, err := f.store.Increment(f.ctx(ctx), f.key("Increment", key), delta, opts...)
	return n, f.err(err)
}

func (f every) GetAndDelete(ctx context.Context, key string) (kv.Entry, error) {
	e, err := f.store.GetAndDelete(f.ctx(ctx), f.key("GetAndDelete", key))
	return f.entry(e), f.err(err)
}

func (f every) AtomicWrite(ctx context.Context, ops ...kv.Op) ([]kv.Version, error) {
	versions, err := f.store.AtomicWrite(f.ctx(ctx), ops...)
	return versions, f.err(err)
}

// failing returns a function that changes the errors of all methods of a store.
func failing(change func(err error) error) func(store) store { return every{err: change}.with }

// exchange returns a function that replaces errors. If its argument matches replaced, the
// function returns an error that matches target.
func exchange(replaced, target error) func(error) error {
	return func(err error) error {
		if errors.Is(err, replaced) {
			return fmt.Errorf("changed: %w", target)
		}
		return err
	}
}

// mended returns a legal key that is similar to key.
func mended(key string) string {
	if key == "" {
		return "empty"
	}
	return strings.Map(func(r rune) rune {
		if r < 0x80 && strings.ContainsRune(kv.KeyAlphabet, r) {
			return r
		}
		return '-'
	}, key[:min(len(key), kv.MaxKeyLen)])
}

func validationFaults() []fault {
	var faults []fault
	// mending makes one method accept any key: it uses a similar legal key instead.
	mending := func(method string) func(store) store {
		return every{key: func(of, key string) string {
			if of != method || method == "Scan" && key == "" {
				return key
			}
			return mended(key)
		}}.with
	}
	for _, method := range []string{"Get", "Exists", "Put", "Delete", "GetMany", "PutMany", "DeleteMany", "Touch", "Update", "Increment", "GetAndDelete"} {
		faults = append(faults, fault{name: method + " accepts any key", with: mending(method), must: []string{"keys/invalid/*"}, group: "keys/"})
	}
	return append(faults,
		fault{
			name: "takes the keys that it says it cannot hold",
			with: fronting(func(f *front) {
				f.info = func() kv.Info {
					info := f.store.Info()
					info.ReservedKey = reservable.MatchString
					return info
				}
			}),
			must: []string{"info/lacks", "keys/special/dot", "keys/special/dot-dot", "keys/special/double-underscores", "keys/special/only-underscores", "keys/special/reserved-id", "keys/alphabet", "keys/names-of-providers"},
			only: true,
		},
		fault{
			name: "reserves keys at times",
			with: fronting(func(f *front) {
				var asked atomic.Int64
				f.info = func() kv.Info {
					info := f.store.Info()
					if asked.Add(1)%2 == 0 {
						info.ReservedKey = reservable.MatchString
					}
					return info
				}
			}),
			must: []string{"info/constant"},
		},
		fault{
			name: "DeletePrefix accepts any prefix",
			with: mending("DeletePrefix"),
			must: []string{"keys/invalid/too-long", "keys/invalid/far-too-long", "keys/invalid/slash", "batch/delete-prefix/empty"},
		},
		fault{
			name: "scans accept any prefix",
			with: mending("Scan"),
			must: []string{"keys/invalid/too-long", "keys/invalid/far-too-long", "keys/invalid/slash", "scan/prefix/longest"},
		},
		fault{
			name: "cuts values that are too long",
			with: fronting(func(f *front) {
				f.put = func(ctx context.Context, key string, value []byte, opts ...kv.PutOption) (kv.Version, error) {
					return f.store.Put(ctx, key, value[:min(len(value), f.store.Info().MaxValueLen)], opts...)
				}
			}),
			must: []string{"values/too-long", "errors/one-meaning", "errors/no-value-in-them", "large/too-long", "large/others"},
			only: true,
		},
		fault{
			name: "a value too long is an invalid option",
			with: failing(exchange(kv.ErrValueTooLarge, kv.ErrInvalidOption)),
			must: []string{"values/too-long", "batch/put-many/invalid", "errors/one-meaning", "update/invalid", "atomic/refused", "large/too-long", "large/others", "large/atomic", "large/update"},
			only: true,
		},
		fault{
			name: "puts ignore invalid options",
			with: fronting(func(f *front) {
				f.put = func(ctx context.Context, key string, value []byte, opts ...kv.PutOption) (kv.Version, error) {
					v, err := f.store.Put(ctx, key, value, opts...)
					if errors.Is(err, kv.ErrInvalidOption) {
						return f.store.Put(ctx, key, value)
					}
					return v, err
				}
			}),
			must: []string{"expiry/invalid/*", "put/two-conditions", "errors/described", "errors/one-meaning", "errors/no-value-in-them"},
			only: true,
		},
		fault{
			name: "deletes ignore invalid options",
			with: fronting(func(f *front) {
				f.delete = func(ctx context.Context, key string, opts ...kv.DeleteOption) error {
					err := f.store.Delete(ctx, key, opts...)
					if errors.Is(err, kv.ErrInvalidOption) {
						return f.store.Delete(ctx, key)
					}
					return err
				}
			}),
			must: []string{"delete/two-conditions"},
			only: true,
		},
		fault{
			name: "treats an invalid version as one that does not match",
			with: failing(exchange(kv.ErrInvalidVersion, kv.ErrConditionFailed)),
			must: []string{"put/if-version/zero", "put/if-version/other-key", "put/if-version/other-provider", "delete/if-version/zero",
				"delete/if-version/other-key", "delete/if-version/other-provider", "errors/one-meaning",
				"touch/if-version/zero", "touch/if-version/other-key", "touch/if-version/other-provider", "atomic/refused"},
			only: true,
		},
		fault{
			name: "PutMany skips invalid items",
			with: fronting(func(f *front) {
				f.putMany = func(ctx context.Context, items []kv.Item) (map[string]kv.Version, error) {
					good := slices.DeleteFunc(slices.Clone(items), func(item kv.Item) bool {
						return kv.ValidateKey(item.Key) != nil || kv.ValidateValue(item.Value) != nil || item.TTL != 0 && item.TTL < time.Millisecond || !item.ExpiresAt.IsZero()
					})
					if versions, err := f.store.PutMany(ctx, good); err != nil {
						return versions, err
					}
					return f.store.PutMany(ctx, items)
				}
			}),
			must: []string{"batch/put-many/invalid", "expiry/invalid-item/*", "values/too-long", "keys/invalid/slash"},
		},
		fault{
			name: "DeleteMany skips invalid keys",
			with: fronting(func(f *front) {
				f.deleteMany = func(ctx context.Context, keys []string) error {
					if err := f.store.DeleteMany(ctx, slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return kv.ValidateKey(key) != nil })); err != nil {
						return err
					}
					return f.store.DeleteMany(ctx, keys)
				}
			}),
			must: []string{"batch/get-many/invalid", "keys/invalid/empty"},
		},
		fault{
			name: "Info is different each time",
			with: fronting(func(f *front) {
				n := 0
				f.info = func() kv.Info {
					info := f.store.Info()
					n++
					info.Shards += n
					return info
				}
			}),
			must: []string{"info/constant"},
			only: true,
		},
		fault{
			name: "limits scans without a limit",
			with: fronting(func(f *front) {
				f.scan = func(ctx context.Context, prefix string, opts ...kv.ScanOption) iter.Seq2[kv.Entry, error] {
					for i, opt := range opts {
						if opt == nil || opt == kv.Limit(0) || opt == kv.Limit(-1) || opt == kv.Limit(math.MinInt) {
							opts = slices.Delete(slices.Clone(opts), i, i+1)
							break
						}
					}
					return f.store.Scan(ctx, prefix, opts...)
				}
			}),
			must: []string{"scan/limit-invalid"},
			only: true,
		},
		fault{
			name: "treats a page limit below one as one",
			with: fronting(func(f *front) {
				f.scanPage = func(ctx context.Context, prefix string, limit int, cursor string, opts ...kv.PageOption) (kv.Page, error) {
					return f.store.ScanPage(ctx, prefix, max(limit, 1), cursor, opts...)
				}
			}),
			must: []string{"page/limit-invalid"},
			only: true,
		},
		fault{
			name: "cannot count beyond a small number",
			with: fronting(func(f *front) {
				f.scanPage = func(ctx context.Context, prefix string, limit int, cursor string, opts ...kv.PageOption) (kv.Page, error) {
					return f.store.ScanPage(ctx, prefix, int(int16(limit)), cursor, opts...)
				}
			}),
			must: []string{"page/limit-huge"},
		},
	)
}

func answerFaults() []fault {
	entries := func(change func(e kv.Entry) kv.Entry) func(store) store { return every{entry: change}.with }
	return []fault{
		{
			name: "returns nil for the empty value",
			with: entries(func(e kv.Entry) kv.Entry {
				if len(e.Value) == 0 {
					e.Value = nil
				}
				return e
			}),
			must: []string{"values/nil", "values/empty"},
		},
		{
			name: "returns instants in the local time zone",
			with: entries(func(e kv.Entry) kv.Entry {
				if !e.ExpiresAt.IsZero() {
					e.ExpiresAt = e.ExpiresAt.In(time.FixedZone("local", 3600))
				}
				return e
			}),
			must: []string{"expiry/utc"},
			only: true,
		},
		{
			name: "returns 1970 for no expiry",
			with: entries(func(e kv.Entry) kv.Entry {
				if e.ExpiresAt.IsZero() {
					e.ExpiresAt = time.UnixMilli(0).UTC()
				}
				return e
			}),
			must: []string{"expiry/none", "expiry/kept", "expiry/removed"},
		},
		{
			name: "Put returns the zero version",
			with: fronting(func(f *front) {
				f.put = func(ctx context.Context, key string, value []byte, opts ...kv.PutOption) (kv.Version, error) {
					_, err := f.store.Put(ctx, key, value, opts...)
					return kv.Version{}, err
				}
			}),
			must: []string{"versions/text", "versions/chain", "put/if-version/live", "put/if-version/live-with-expiry", "delete/if-version/live", "delete/if-version/live-with-expiry",
				"put/if-version/re-created-after-expiry", "delete/if-version/re-created-after-expiry", "put/if-version/expired", "delete/if-version/expired",
				"put/if-version/expired-for-long", "delete/if-version/expired-for-long", "expiry/expired-version"},
		},
		{
			name: "all keys have one version",
			with: fronting(func(f *front) {
				f.get = func(ctx context.Context, key string) (kv.Entry, error) {
					e, err := f.store.Get(ctx, key)
					if key == "b" {
						if a, err := f.store.Get(ctx, "a"); err == nil {
							e.Version = a.Version
						}
					}
					return e, err
				}
			}),
			must: []string{"versions/one-per-key"},
		},
		{
			name: "extends an expiry that has passed, if the version is right",
			with: fronting(func(f *front) {
				f.put = func(ctx context.Context, key string, value []byte, opts ...kv.PutOption) (kv.Version, error) {
					v, err := f.store.Put(ctx, key, value, opts...)
					if errors.Is(err, kv.ErrConditionFailed) && !errors.Is(err, kv.ErrIndeterminate) {
						return f.store.Put(ctx, key, value, kv.IfNotExists())
					}
					return v, err
				}
			}),
			must: []string{"put/if-version/expired", "put/if-version/expired-for-long", "expiry/expired-version"},
		},
		{
			name: "deletes an expired entry, if the version is right",
			with: fronting(func(f *front) {
				f.delete = func(ctx context.Context, key string, opts ...kv.DeleteOption) error {
					err := f.store.Delete(ctx, key, opts...)
					if ok, _ := f.store.Exists(ctx, key); errors.Is(err, kv.ErrConditionFailed) && !ok {
						return nil
					}
					return err
				}
			}),
			must: []string{"delete/if-version/expired", "delete/if-version/expired-for-long", "expiry/ttl/1s", "expiry/expired-version"},
		},
		{
			name: "creates after a failed condition",
			with: fronting(func(f *front) {
				f.put = func(ctx context.Context, key string, value []byte, opts ...kv.PutOption) (kv.Version, error) {
					v, err := f.store.Put(ctx, key, value, opts...)
					if errors.Is(err, kv.ErrConditionFailed) {
						_, _ = f.store.Put(ctx, key, value)
					}
					return v, err
				}
			}),
			must: []string{"put/if-not-exists/live", "put/if-version/expired", "put/if-version/re-created-after-expiry", "expiry/unchanged-by-failed-condition"},
		},
		{
			name: "conditional puts without an expiry keep the old one",
			with: fronting(func(f *front) {
				f.put = func(ctx context.Context, key string, value []byte, opts ...kv.PutOption) (kv.Version, error) {
					if len(opts) == 1 && opts[0] == kv.IfNotExists() {
						opts = append(opts, kv.TTL(time.Hour))
					}
					return f.store.Put(ctx, key, value, opts...)
				}
			}),
			must: []string{"expiry/of-re-created"},
		},
		{
			name: "reads twice",
			with: fronting(func(f *front) {
				f.get = func(ctx context.Context, key string) (kv.Entry, error) {
					_, _ = f.store.Get(ctx, key)
					return f.store.Get(ctx, key)
				}
			}),
			must: []string{"expiry/read-once"},
			only: true,
		},
		{
			name: "errors are bare sentinels",
			with: failing(func(err error) error {
				if e, ok := errors.AsType[*kv.Error](err); ok && e.Kind != nil {
					return e.Kind
				}
				return err
			}),
			must: []string{"errors/described", "batch/put-many/invalid", "batch/get-many/invalid", "page/damaged-entry"},
		},
		{
			name: "an absent key also counts as a failed condition",
			with: failing(func(err error) error {
				if errors.Is(err, kv.ErrNotFound) {
					return errors.Join(err, kv.ErrConditionFailed)
				}
				return err
			}),
			must: []string{"errors/one-meaning"},
			only: true,
		},
		{
			name: "an absent key also counts as unsupported",
			with: failing(func(err error) error {
				if errors.Is(err, kv.ErrNotFound) {
					return errors.Join(err, kv.ErrUnsupported)
				}
				return err
			}),
			must: []string{"errors/one-meaning"},
			only: true,
		},
		{
			name: "reports a failed condition as indeterminate",
			with: failing(func(err error) error {
				if errors.Is(err, kv.ErrConditionFailed) {
					return errors.Join(err, kv.ErrIndeterminate)
				}
				return err
			}),
			must: []string{"put/if-not-exists/live", "delete/if-version/replaced", "expiry/expired-version", "errors/one-meaning"},
		},
		{
			name: "reports an indeterminate write as a failed condition",
			with: failing(exchange(kv.ErrIndeterminate, kv.ErrConditionFailed)),
			must: []string{"put/if-not-exists/replaced-before-retry", "put/if-version/replaced-before-retry", "put/if-version/deleted-before-retry", "delete/if-version/response-lost"},
		},
		{
			name: "messages quote the value",
			with: fronting(func(f *front) {
				f.put = func(ctx context.Context, key string, value []byte, opts ...kv.PutOption) (kv.Version, error) {
					v, err := f.store.Put(ctx, key, value, opts...)
					if err != nil {
						err = &kv.Error{Op: "put", Provider: f.store.Info().Name, Key: key, Err: fmt.Errorf("storing %q: %w", value, err)}
					}
					return v, err
				}
			}),
			must: []string{"errors/no-value-in-them"},
			only: true,
		},
		{
			name: "returns an entry with the error",
			with: fronting(func(f *front) {
				f.get = func(ctx context.Context, key string) (kv.Entry, error) {
					e, err := f.store.Get(ctx, key)
					e.Key = key
					return e, err
				}
			}),
			must: []string{"errors/nothing-beside-them"},
			only: true,
		},
	}
}

// changingScan replaces the scans of a store. The function change receives the original scan, and
// calls yield for what the new scan yields.
func changingScan(change func(yield func(kv.Entry, error) bool, scan iter.Seq2[kv.Entry, error])) func(store) store {
	return fronting(func(f *front) {
		f.scan = func(ctx context.Context, prefix string, opts ...kv.ScanOption) iter.Seq2[kv.Entry, error] {
			return func(yield func(kv.Entry, error) bool) { change(yield, f.store.Scan(ctx, prefix, opts...)) }
		}
	})
}

// isAfter reports whether opt was made by kv.After.
func isAfter[O kv.ScanOption](opt O) bool { return reflect.TypeOf(opt) == reflect.TypeOf(kv.After("")) }

func frontScanFaults() []fault {
	dropping := func(drop func(opt kv.ScanOption) bool) func(store) store {
		return fronting(func(f *front) {
			f.scan = func(ctx context.Context, prefix string, opts ...kv.ScanOption) iter.Seq2[kv.Entry, error] {
				return f.store.Scan(ctx, prefix, slices.DeleteFunc(slices.Clone(opts), drop)...)
			}
		})
	}
	return []fault{
		{
			name: "scans ignore KeysOnly",
			with: dropping(func(opt kv.ScanOption) bool { return opt == kv.KeysOnly() }),
			must: []string{"scan/keys-only", "scan/options-together"},
			only: true,
		},
		{
			name: "scans ignore limits",
			with: dropping(func(opt kv.ScanOption) bool { return opt != nil && !isAfter(opt) && opt != kv.KeysOnly() }),
			must: []string{"scan/limit", "scan/limit-counts-live", "scan/limit-invalid", "scan/expired-runs", "scan/options-together"},
		},
		{
			name: "scans ignore After",
			with: dropping(isAfter[kv.ScanOption]),
			must: []string{"scan/after/a-key", "scan/after/the-longest", "scan/after/past-the-prefix", "scan/options-together", "scan/nested", "scan/broken-off", "keys/invalid/too-long"},
		},
		{
			name: "After includes its key",
			with: fronting(func(f *front) {
				f.scan = func(ctx context.Context, prefix string, opts ...kv.ScanOption) iter.Seq2[kv.Entry, error] {
					for _, opt := range opts {
						for _, key := range slices.Concat(family, numbered("key:", 60)) {
							if opt != kv.After(key) {
								continue
							}
							if e, err := f.store.Get(ctx, key); err == nil {
								return func(yield func(kv.Entry, error) bool) {
									if yield(e, nil) {
										f.store.Scan(ctx, prefix, opts...)(yield)
									}
								}
							}
						}
					}
					return f.store.Scan(ctx, prefix, opts...)
				}
			}),
			must: []string{"scan/after/a-key", "scan/after/a-key-of-the-prefix", "scan/after/the-last", "scan/after/past-the-prefix", "scan/nested", "keys/special/dot"},
		},
		{
			name: "scans judge the expiry of all entries at their start",
			with: changingScan(func(yield func(kv.Entry, error) bool, scan iter.Seq2[kv.Entry, error]) {
				var entries []kv.Entry
				var errs []error
				for e, err := range scan {
					entries, errs = append(entries, e), append(errs, err)
				}
				for i, e := range entries {
					if !yield(e, errs[i]) {
						return
					}
				}
			}),
			must: []string{"scan/expires-meanwhile", "close/during-scan"},
		},
		{
			name: "scans end without their error",
			with: changingScan(func(yield func(kv.Entry, error) bool, scan iter.Seq2[kv.Entry, error]) {
				for e, err := range scan {
					if err != nil || !yield(e, nil) {
						return
					}
				}
			}),
			must: []string{"scan/damaged-entry", "scan/broken-off", "close/during-scan", "close/then-scan", "context/cancelled/scan", "context/cancelled-during-scan", "scan/limit-invalid"},
		},
		{
			name: "scans end at the first error",
			with: changingScan(func(yield func(kv.Entry, error) bool, scan iter.Seq2[kv.Entry, error]) {
				for e, err := range scan {
					if !yield(e, err) || err != nil {
						return
					}
				}
			}),
			must: []string{"scan/damaged-entry"},
			only: true,
		},
		{
			name: "scans repeat the last entry with the error",
			with: changingScan(func(yield func(kv.Entry, error) bool, scan iter.Seq2[kv.Entry, error]) {
				var last kv.Entry
				for e, err := range scan {
					if err == nil {
						last = e
					}
					if !yield(last, err) {
						return
					}
				}
			}),
			must: []string{"scan/damaged-entry", "scan/broken-off"},
		},
		{
			name: "a scan goes on when the loop has ended",
			with: changingScan(func(yield func(kv.Entry, error) bool, scan iter.Seq2[kv.Entry, error]) {
				next, stop := iter.Pull2(scan)
				for {
					e, err, ok := next()
					if !ok {
						stop()
						return
					}
					if !yield(e, err) {
						return
					}
				}
			}),
			must: []string{"scan/break"},
			only: true,
		},
		{
			name: "scans begin with an entry without a key",
			with: changingScan(func(yield func(kv.Entry, error) bool, scan iter.Seq2[kv.Entry, error]) {
				if !yield(kv.Entry{}, nil) {
					return
				}
				scan(yield)
			}),
			must: []string{"scan/empty-store", "scan/only-expired", "scan/prefix/none"},
		},
	}
}

// changingPages returns a function that changes the results of ScanPage.
func changingPages(change func(page kv.Page, limit int, err error) (kv.Page, error)) func(store) store {
	return fronting(func(f *front) {
		f.scanPage = func(ctx context.Context, prefix string, limit int, cursor string, opts ...kv.PageOption) (kv.Page, error) {
			page, err := f.store.ScanPage(ctx, prefix, limit, cursor, opts...)
			return change(page, limit, err)
		}
	})
}

func pageFaults() []fault {
	return []fault{
		{
			name: "a full last page has a Next",
			with: fronting(func(f *front) {
				f.scanPage = func(ctx context.Context, prefix string, limit int, cursor string, opts ...kv.PageOption) (kv.Page, error) {
					if cursor == "end" {
						return kv.Page{}, nil
					}
					page, err := f.store.ScanPage(ctx, prefix, limit, cursor, opts...)
					if err == nil && page.Next == "" && len(page.Entries) == limit {
						page.Next = "end"
					}
					return page, err
				}
			}),
			must: []string{"page/size-1/of-1", "page/size-7/of-7", "page/size-7/of-21", "page/size-1/of-5", "page/size-100/of-200", "page/expired-tail"},
		},
		{
			name: "Next is empty when one entry is left",
			with: fronting(func(f *front) {
				f.scanPage = func(ctx context.Context, prefix string, limit int, cursor string, opts ...kv.PageOption) (kv.Page, error) {
					page, err := f.store.ScanPage(ctx, prefix, limit, cursor, opts...)
					if err == nil && page.Next != "" {
						if rest, err := f.store.ScanPage(ctx, prefix, 1, page.Next, opts...); err == nil && rest.Next == "" {
							page.Next = ""
						}
					}
					return page, err
				}
			}),
			must: []string{"page/size-1/of-5", "page/size-7/of-22", "page/size-100/of-201", "page/entries"},
		},
		{
			name: "pages are one entry short",
			with: fronting(func(f *front) {
				f.scanPage = func(ctx context.Context, prefix string, limit int, cursor string, opts ...kv.PageOption) (kv.Page, error) {
					if limit > 1 {
						limit--
					}
					return f.store.ScanPage(ctx, prefix, limit, cursor, opts...)
				}
			}),
			must: []string{"page/size-7/of-30", "page/size-7/of-20", "page/size-100/of-250", "page/size-100/of-199", "page/size-1000/of-1100"},
		},
		{
			name: "pages stop at ten entries",
			with: fronting(func(f *front) {
				f.scanPage = func(ctx context.Context, prefix string, limit int, cursor string, opts ...kv.PageOption) (kv.Page, error) {
					if limit > 1 {
						limit = min(limit, 10)
					}
					return f.store.ScanPage(ctx, prefix, limit, cursor, opts...)
				}
			}),
			must: []string{"page/limit-huge", "page/size-100/of-250", "page/size-1000/of-1100", "page/broken-off", "scan/prefix/all"},
		},
		{
			name: "a page that fails is lost, with its position",
			with: changingPages(func(page kv.Page, _ int, err error) (kv.Page, error) {
				if err != nil {
					page = kv.Page{}
				}
				return page, err
			}),
			must: []string{"page/broken-off", "page/damaged-entry", "page/cancelled", "page/limit-invalid"},
			only: true,
		},
		{
			name: "pages go on after the error",
			with: changingPages(func(page kv.Page, _ int, err error) (kv.Page, error) {
				if errors.Is(err, kv.ErrIncompatible) || errors.Is(err, kv.ErrUnavailable) || errors.Is(err, context.Canceled) {
					err = nil
				}
				return page, err
			}),
			must: []string{"page/broken-off", "page/damaged-entry", "page/cancelled", "context/cancelled/scan-page", "context/cancelled-on-the-way/reads"},
			only: true,
		},
		{
			name: "pages ignore KeysOnly",
			with: fronting(func(f *front) {
				f.scanPage = func(ctx context.Context, prefix string, limit int, cursor string, opts ...kv.PageOption) (kv.Page, error) {
					return f.store.ScanPage(ctx, prefix, limit, cursor, slices.DeleteFunc(slices.Clone(opts), func(opt kv.PageOption) bool { return opt == kv.KeysOnly() })...)
				}
			}),
			must: []string{"scan/keys-only", "page/keys-only"},
			only: true,
		},
		{
			name: "the cursor overrides After",
			with: fronting(func(f *front) {
				f.scanPage = func(ctx context.Context, prefix string, limit int, cursor string, opts ...kv.PageOption) (kv.Page, error) {
					if cursor != "" {
						opts = slices.DeleteFunc(slices.Clone(opts), isAfter)
					}
					return f.store.ScanPage(ctx, prefix, limit, cursor, opts...)
				}
			}),
			must: []string{"page/after"},
			only: true,
		},
		{
			name: "pages have entries that expired since the first page",
			with: fronting(func(f *front) {
				var mu sync.Mutex
				first := make(map[string][]kv.Entry)
				f.scanPage = func(ctx context.Context, prefix string, limit int, cursor string, opts ...kv.PageOption) (kv.Page, error) {
					mu.Lock()
					defer mu.Unlock()
					if cursor == "" {
						all, _ := f.store.ScanPage(ctx, prefix, 5000, "", opts...)
						first[prefix] = all.Entries
					}
					page, err := f.store.ScanPage(ctx, prefix, limit, cursor, opts...)
					for _, e := range first[prefix] {
						if len(page.Entries) > 0 && e.Key > page.Entries[0].Key && len(page.Entries) < limit &&
							!slices.ContainsFunc(page.Entries, func(other kv.Entry) bool { return other.Key == e.Key }) {
							page.Entries = append(page.Entries, e)
						}
					}
					return page, err
				}
			}),
			must: []string{"page/expires-between"},
		},
	}
}

// ownCursors replaces the cursors of ScanPage. The function encode makes a cursor from a page.
// The function decode returns the key after which a cursor continues.
func ownCursors(encode func(s store, prefix string, page kv.Page, cursor string) string, decode func(s store, prefix, cursor string) (after string, err error)) func(store) store {
	return fronting(func(f *front) {
		f.scanPage = func(ctx context.Context, prefix string, limit int, cursor string, opts ...kv.PageOption) (kv.Page, error) {
			after := ""
			if cursor != "" {
				var err error
				if after, err = decode(f.store, prefix, cursor); err != nil {
					return kv.Page{Next: cursor}, &kv.Error{Op: "scan", Key: prefix, Kind: kv.ErrInvalidCursor, Err: err}
				}
				opts = append(slices.DeleteFunc(slices.Clone(opts), isAfter), kv.After(after))
			}
			page, err := f.store.ScanPage(ctx, prefix, limit, "", opts...)
			if page.Next != "" {
				page.Next = encode(f.store, prefix, page, cursor)
			}
			return page, err
		}
	})
}

func cursorFaults() []fault {
	lastKey := func(_ store, _ string, page kv.Page, cursor string) string {
		if len(page.Entries) == 0 {
			return cursor
		}
		return page.Entries[len(page.Entries)-1].Key
	}
	sum := func(text string) string {
		n := 0
		for i := range len(text) {
			n = n*31 + int(text[i])
		}
		return strconv.Itoa(n)
	}
	return []fault{
		{
			name: "the cursor is the last key, plainly",
			with: ownCursors(lastKey, func(_ store, _, cursor string) (string, error) { return cursor, kv.ValidateKey(cursor) }),
			must: []string{"cursor/cut", "cursor/bit-flipped", "cursor/extended", "cursor/no-cursor", "cursor/other-prefix", "cursor/of-everything", "cursor/never-widens"},
		},
		{
			name: "the cursor does not depend on the prefix",
			with: ownCursors(
				func(s store, prefix string, page kv.Page, cursor string) string {
					key := lastKey(s, prefix, page, "")
					return sum(key) + "/" + key
				},
				func(_ store, _, cursor string) (string, error) {
					check, key, ok := strings.Cut(cursor, "/")
					if !ok || check != sum(key) {
						return "", errors.New("damaged")
					}
					return key, nil
				}),
			must: []string{"cursor/other-prefix", "cursor/of-everything", "cursor/never-widens"},
		},
		{
			name: "the cursor is an offset",
			with: ownCursors(
				func(_ store, _ string, page kv.Page, cursor string) string {
					n, _ := strconv.Atoi(cursor)
					return strconv.Itoa(n + len(page.Entries))
				},
				func(s store, prefix, cursor string) (string, error) {
					n, err := strconv.Atoi(cursor)
					if err != nil || n < 1 {
						return "", errors.New("not an offset")
					}
					for e := range s.Scan(context.Background(), prefix, kv.Limit(n)) {
						cursor = e.Key
					}
					return cursor, nil
				}),
			must: []string{"page/deleted-between", "page/inserted-between", "page/expires-between", "cursor/other-prefix", "cursor/never-widens"},
		},
		{
			name: "the cursor's entry must exist",
			with: ownCursors(lastKey, func(s store, _, cursor string) (string, error) {
				_, err := s.Get(context.Background(), cursor)
				return cursor, err
			}),
			must: []string{"page/deleted-between", "cursor/emptied-store"},
		},
		{
			name: "a cursor works only in its own store",
			with: func() func(store) store {
				var mu sync.Mutex
				cursors := make(map[string]string) // the address of the front that returned each cursor
				return fronting(func(f *front) {
					f.scanPage = func(ctx context.Context, prefix string, limit int, cursor string, opts ...kv.PageOption) (kv.Page, error) {
						me := fmt.Sprintf("%p", f)
						mu.Lock()
						defer mu.Unlock()
						if cursor != "" && cursors[cursor] != me {
							return kv.Page{Next: cursor}, &kv.Error{Kind: kv.ErrInvalidCursor}
						}
						page, err := f.store.ScanPage(ctx, prefix, limit, cursor, opts...)
						cursors[page.Next] = me
						return page, err
					}
				})
			}(),
			must: []string{"cursor/other-store", "cursor/derived-store"},
		},
		{
			name: "a cursor works only once",
			with: fronting(func(f *front) {
				var used sync.Map
				f.scanPage = func(ctx context.Context, prefix string, limit int, cursor string, opts ...kv.PageOption) (kv.Page, error) {
					if _, twice := used.LoadOrStore(cursor, true); twice && cursor != "" {
						return kv.Page{Next: cursor}, &kv.Error{Op: "scan", Provider: "mem", Key: prefix, Kind: kv.ErrInvalidCursor}
					}
					return f.store.ScanPage(ctx, prefix, limit, cursor, opts...)
				}
			}),
			must: []string{"page/same-cursor-twice", "page/cancelled"},
		},
		{
			name: "a cursor remembers its limit",
			with: fronting(func(f *front) {
				var limits sync.Map
				f.scanPage = func(ctx context.Context, prefix string, limit int, cursor string, opts ...kv.PageOption) (kv.Page, error) {
					if first, ok := limits.Load(cursor); ok {
						limit = first.(int)
					}
					page, err := f.store.ScanPage(ctx, prefix, limit, cursor, opts...)
					if page.Next != "" {
						limits.LoadOrStore(page.Next, limit)
					}
					return page, err
				}
			}),
			must: []string{"page/other-limit"},
		},
		{
			name: "a damaged cursor starts from the beginning",
			with: fronting(func(f *front) {
				f.scanPage = func(ctx context.Context, prefix string, limit int, cursor string, opts ...kv.PageOption) (kv.Page, error) {
					page, err := f.store.ScanPage(ctx, prefix, limit, cursor, opts...)
					if errors.Is(err, kv.ErrInvalidCursor) {
						return f.store.ScanPage(ctx, prefix, limit, "", opts...)
					}
					return page, err
				}
			}),
			must: []string{"cursor/cut", "cursor/bit-flipped", "cursor/extended", "cursor/no-cursor", "cursor/other-prefix", "cursor/of-everything", "cursor/never-widens", "errors/described", "errors/one-meaning"},
			only: true,
		},
	}
}

func frontBatchFaults() []fault {
	return []fault{
		{
			name: "GetMany returns nil if it finds nothing",
			with: fronting(func(f *front) {
				f.getMany = func(ctx context.Context, keys []string) (map[string]kv.Entry, error) {
					entries, err := f.store.GetMany(ctx, keys)
					if len(entries) == 0 {
						entries = nil
					}
					return entries, err
				}
			}),
			must: []string{"batch/get-many/0", "batch/get-many/nothing-there", "get/absent"},
		},
		{
			name: "GetMany finds expired entries",
			with: fronting(func(f *front) {
				f.getMany = func(ctx context.Context, keys []string) (map[string]kv.Entry, error) {
					entries, err := f.store.GetMany(ctx, keys)
					for _, key := range keys {
						if _, ok := entries[key]; !ok && strings.HasPrefix(key, "expired:") {
							entries[key] = kv.Entry{Key: key}
						}
					}
					return entries, err
				}
			}),
			must: []string{"batch/get-many/absent-and-expired"},
			only: true,
		},
		{
			name: "GetMany refuses duplicate keys",
			with: fronting(func(f *front) {
				f.getMany = func(ctx context.Context, keys []string) (map[string]kv.Entry, error) {
					if len(slices.Compact(slices.Sorted(slices.Values(keys)))) < len(keys) {
						return nil, &kv.Error{Kind: kv.ErrInvalidKey}
					}
					return f.store.GetMany(ctx, keys)
				}
			}),
			must: []string{"batch/get-many/duplicates", "batch/get-many/caller-keeps-keys"},
			only: true,
		},
		{
			name: "batches sort the caller's keys",
			with: fronting(func(f *front) {
				f.getMany = func(ctx context.Context, keys []string) (map[string]kv.Entry, error) {
					slices.Sort(keys)
					return f.store.GetMany(ctx, keys)
				}
			}),
			must: []string{"batch/get-many/caller-keeps-keys"},
		},
		{
			name: "of several items with one key the first wins",
			with: fronting(func(f *front) {
				f.putMany = func(ctx context.Context, items []kv.Item) (map[string]kv.Version, error) {
					seen := make(map[string]bool)
					return f.store.PutMany(ctx, slices.DeleteFunc(slices.Clone(items), func(item kv.Item) bool {
						twice := seen[item.Key]
						seen[item.Key] = true
						return twice
					}))
				}
			}),
			must: []string{"batch/put-many/duplicates"},
			only: true,
		},
		{
			name: "PutMany returns a version for every item, also if it was not stored",
			with: fronting(func(f *front) {
				f.putMany = func(ctx context.Context, items []kv.Item) (map[string]kv.Version, error) {
					versions, err := f.store.PutMany(ctx, items)
					for _, item := range items {
						if versions[item.Key].IsZero() {
							versions[item.Key] = item.IfVersion
						}
					}
					return versions, err
				}
			}),
			must: []string{"batch/put-many/no-versions", "batch/put-many/conditions", "batch/put-many/versions-in-a-chain", "batch/partial-failure/put-many"},
			only: true,
		},
		{
			name: "PutMany returns no map if it stores nothing",
			with: fronting(func(f *front) {
				f.putMany = func(ctx context.Context, items []kv.Item) (map[string]kv.Version, error) {
					versions, err := f.store.PutMany(ctx, items)
					if len(versions) == 0 {
						versions = nil
					}
					return versions, err
				}
			}),
			must: []string{"batch/put-many/no-versions", "batch/put-many/versions-in-a-chain"},
			only: true,
		},
		{
			name: "batches write one key too many",
			with: fronting(func(f *front) {
				f.putMany = func(ctx context.Context, items []kv.Item) (map[string]kv.Version, error) {
					if len(items) == 0 {
						items = []kv.Item{{Key: "nothing"}}
					}
					return f.store.PutMany(ctx, items)
				}
				f.deleteMany = func(ctx context.Context, keys []string) error {
					if err := f.store.DeleteMany(ctx, keys); err != nil {
						return err
					}
					return f.store.Delete(ctx, "key:")
				}
			}),
			must: []string{"batch/put-many/0", "batch/delete-many/0", "batch/delete-many/1"},
		},
		{
			name: "a batch that fails names no keys",
			with: failing(func(err error) error {
				if _, ok := errors.AsType[*kv.BatchError](err); ok {
					return &kv.Error{Kind: kv.ErrUnavailable}
				}
				return err
			}),
			must: []string{"batch/partial-failure/*", "batch/delete-prefix/damaged-entry"},
		},
		{
			name: "DeletePrefix counts nothing",
			with: fronting(func(f *front) {
				f.deletePrefix = func(ctx context.Context, prefix string) (int, error) {
					_, err := f.store.DeletePrefix(ctx, prefix)
					return 0, err
				}
			}),
			must: []string{"batch/delete-prefix/removes", "batch/delete-prefix/many", "batch/delete-prefix/expired", "batch/delete-prefix/expired-by-other-clocks", "batch/delete-prefix/damaged-entry", "keys/special/*",
				"groups/delete-prefix", "groups/addresses", "groups/in-namespace/*",
				"expiry/fast-clock/delete-prefix", "batch/delete-prefix/empty"},
			only: true,
		},
		{
			name: "DeletePrefix of the empty prefix deletes everything",
			with: fronting(func(f *front) {
				f.deletePrefix = func(ctx context.Context, prefix string) (int, error) {
					if prefix == "" {
						n := 0
						for e := range f.store.Scan(ctx, "") {
							_ = f.store.Delete(ctx, e.Key)
							n++
						}
						return n, nil
					}
					return f.store.DeletePrefix(ctx, prefix)
				}
			}),
			must: []string{"batch/delete-prefix/empty"},
			only: true,
		},
		{
			name: "DeletePrefix does not remove expired entries",
			with: fronting(func(f *front) {
				f.deletePrefix = func(ctx context.Context, prefix string) (int, error) {
					if prefix == "" || kv.ValidatePrefix(prefix) != nil {
						return f.store.DeletePrefix(ctx, prefix)
					}
					var keys []string
					for e, err := range f.store.Scan(ctx, prefix, kv.KeysOnly()) {
						if err != nil {
							return 0, err
						}
						keys = append(keys, e.Key)
					}
					return len(keys), f.store.DeleteMany(ctx, keys)
				}
			}),
			must: []string{"batch/delete-prefix/expired"},
		},
		{
			name: "a document that cannot be encoded is stored as nothing",
			wrap: gets(func(_ kv.GetRequest, found *kv.Found) {
				if string(found.Value) == "old" {
					found.Value = []byte{}
				}
			}),
			must: []string{"json/not-encodable"},
		},
	}
}

func lifecycleFaults() []fault {
	return []fault{
		{
			name: "ignores contexts",
			with: every{ctx: context.WithoutCancel}.with,
			must: []string{"context/cancelled/*", "context/deadline", "page/cancelled"},
			only: true,
		},
		{
			name: "an ended context is reported as an unavailable service",
			with: failing(func(err error) error {
				if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
					return &kv.Error{Kind: kv.ErrUnavailable}
				}
				return err
			}),
			must: []string{"context/cancelled/*", "context/deadline", "page/cancelled"},
		},
		{
			name: "prefixes are deleted whatever the context",
			with: fronting(func(f *front) {
				f.deletePrefix = func(ctx context.Context, prefix string) (int, error) {
					n, err := f.store.DeletePrefix(ctx, prefix)
					if errors.Is(err, context.Canceled) || err == nil && ctx.Err() != nil {
						_, _ = f.store.DeletePrefix(context.WithoutCancel(ctx), prefix)
						return n, context.Canceled
					}
					return n, err
				}
			}),
			must: []string{"context/cancelled/delete-prefix", "context/cancelled-on-the-way/delete-prefix"},
			only: true,
		},
		{
			name: "Close does not close",
			with: fronting(func(f *front) { f.close = func() error { return nil } }),
			must: []string{"close/then-*", "close/with-derived", "close/during-scan"},
			only: true,
		},
		{
			name: "Close may be called only once",
			with: fronting(func(f *front) {
				var once sync.Once
				f.close = func() error {
					err := error(&kv.Error{Kind: kv.ErrClosed})
					once.Do(func() { err = f.store.Close() })
					return err
				}
			}),
			must: []string{"close/twice"},
			only: true,
		},
		{
			name: "Close of an unused store fails",
			with: fronting(func(f *front) {
				used := false
				f.put = func(ctx context.Context, key string, value []byte, opts ...kv.PutOption) (kv.Version, error) {
					used = true
					return f.store.Put(ctx, key, value, opts...)
				}
				f.putMany = func(ctx context.Context, items []kv.Item) (map[string]kv.Version, error) {
					used = true
					return f.store.PutMany(ctx, items)
				}
				f.close = func() error {
					if !used {
						return errors.New("never opened")
					}
					return f.store.Close()
				}
			}),
			must:  []string{"close/unused"},
			group: "close/",
		},
		{
			name: "a closed store is unavailable",
			with: failing(exchange(kv.ErrClosed, kv.ErrUnavailable)),
			must: []string{"close/then-*", "close/on-the-way/*", "close/with-derived", "close/during-scan"},
			only: true,
		},
	}
}
