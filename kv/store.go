package kv

import (
	"cmp"
	"context"
	"fmt"
	"time"
)

// Store is a key-value store over a [Driver]. It is safe for concurrent use.
//
// Every method checks its arguments before any I/O. It reads the store's clock once, at
// its start, and decides by that reading which entries have expired, even in retries.
// There are two exceptions: scans and DeletePrefix read the clock for every entry, and
// updates read it each time before they call their functions.
type Store struct {
	driver Driver
	info   Info
	now    func() time.Time
	life   *life // shared with the stores derived from it
	link   *link // closes driver
	stale  bool  // see Stale

	maxValue int   // see MaxValue; 0 if not set
	refused  error // the error of an invalid option; every call returns it

	updates *updates // of this store alone: a derived store may have another driver or clock
}

// New returns a store over driver. It is for authors of providers. Programs use a
// provider's New or Open.
func New(driver Driver) *Store {
	s := &Store{driver: driver, now: time.Now, life: newLife(), updates: new(updates)}
	s.link = s.life.add(driver)
	s.readInfo()
	return s
}

// StoreOption is an option of With: [Clock], [MaxValue], [Stale] or [Wrap].
type StoreOption func(*Store)

// Clock replaces the clock that the store uses to set and check expiries. The default is
// time.Now. Services delete expired entries by their own clocks, [ExpiryGrace] or more after
// the expiry, or earlier with [Info].NoGrace. From then on an entry may be gone, even if it
// has not expired by the store's clock. The store may call now in several goroutines at once,
// and shortly after a call of the store has returned.
func Clock(now func() time.Time) StoreOption {
	return func(s *Store) { s.now = now }
}

// MaxValue makes n bytes the limit for values that the store writes. The limit can be 1 to
// [MaxLargeValueLen]. The default is [MaxValueLen]. Reads have no such limit: a store
// without MaxValue can read larger values. Larger values cost more on services that
// charge by size, and a scan needs more memory: see docs/scale.md and docs/guarantees.md.
//
// If n is out of range, or more than the store's driver can hold, every read and write of
// the store fails before any I/O. The error matches ErrInvalidOption, unless an argument is
// invalid too. Middleware that is added later may lower the limit: see [Store.Info].
func MaxValue(n int) StoreOption {
	return func(s *Store) {
		if most := s.largestValue(); n < 1 || n > most {
			s.refused = fmt.Errorf("MaxValue is %d; it must be 1 to %d, the limit of the store's driver", n, most)
			return
		}
		s.maxValue = n
		s.readInfo()
	}
}

// Stale makes reads cheaper. Get, Exists, GetMany, Scan, ScanPage and Count may miss the
// writes of the last second or so, even those of the same store. A batch or scan may see
// different keys as of different moments. A read costs half as much on DynamoDB, and the same
// elsewhere. Stale does not affect writes, their conditions, Update and DeletePrefix.
func Stale() StoreOption {
	return func(s *Store) { s.stale = true }
}

// With returns a store over the same data, with the options applied in order. It does
// not change s. Closing either store closes both. Unless the options include [Wrap], the
// new store holds no resources of its own, so a program may derive one for each request.
func (s *Store) With(opts ...StoreOption) *Store {
	derived := *s
	derived.updates = new(updates)
	for _, opt := range opts {
		opt(&derived)
	}
	return &derived
}

// Info describes the store's driver, with the limits of this store. MaxKeyLen is never
// zero. MaxValueLen is the greatest length of the values that the store writes:
// [MaxValueLen] or the [MaxValue] of the store, or less if the driver can store less.
func (s *Store) Info() Info { return s.info }

// describe returns the Info of a driver, with the default limits in place of zeros.
func describe(d Driver) Info {
	info := d.Info()
	info.MaxKeyLen = cmp.Or(info.MaxKeyLen, MaxKeyLen)
	info.MaxValueLen = cmp.Or(info.MaxValueLen, MaxValueLen)
	return info
}

// largestValue returns the greatest n that MaxValue accepts.
func (s *Store) largestValue() int { return min(describe(s.driver).MaxValueLen, MaxLargeValueLen) }

func (s *Store) readInfo() {
	s.info = describe(s.driver)
	s.info.MaxValueLen = min(cmp.Or(s.maxValue, MaxValueLen), s.info.MaxValueLen)
	if s.info.Shards < 1 {
		panic("kv: driver " + s.info.Name + " must have at least one shard")
	}
	if len(s.info.Name) > maxNameLen {
		panic(fmt.Sprintf("kv: the name of driver %.40s… has %d bytes; it must have at most %d", s.info.Name, len(s.info.Name), maxNameLen))
	}
}

// checkKey returns an error if key is not legal, or if the driver cannot store it.
func (s *Store) checkKey(key string) *Error {
	err := checkKey(key, s.info.MaxKeyLen)
	if err == nil && s.info.ReservedKey != nil && s.info.ReservedKey(key) {
		return &Error{Key: key, Kind: ErrInvalidKey, Err: fmt.Errorf("%s cannot store an entry under this key, whose name the service reserves", s.info.Name)}
	}
	return err
}

// checkValue returns an error if the store must not write value. If an option of the store
// is invalid, checkValue returns nil, because begin returns the error of the option.
func (s *Store) checkValue(value []byte) *Error {
	if s.refused != nil {
		return nil
	}
	err := checkValue(value, s.info.MaxValueLen)
	if err == nil {
		return nil
	}
	if most := s.largestValue(); most > s.info.MaxValueLen {
		err.Err = fmt.Errorf("%w, or at most %d in a store with MaxValue", err.Err, most)
	}
	return err
}

// Get reads the entry under key. It returns ErrNotFound if the key is absent or its
// entry has expired.
func (s *Store) Get(ctx context.Context, key string) (Entry, error) {
	rec, err := s.get(ctx, "get", key, true)
	if err != nil {
		return Entry{}, err
	}
	return s.entry(rec, true), nil
}

// Exists reports whether there is an entry under key that has not expired. The value is
// not transferred if the service can leave it out.
func (s *Store) Exists(ctx context.Context, key string) (bool, error) {
	_, err := s.get(ctx, "exists", key, false)
	if e, ok := err.(*Error); ok && e.Kind == ErrNotFound {
		return false, nil
	}
	return err == nil, err
}

func (s *Store) get(ctx context.Context, op, key string, withValue bool) (Record, error) {
	if err := s.checkKey(key); err != nil {
		return Record{}, s.fail(op, key, err)
	}
	c, refused := s.begin(ctx)
	if refused != nil {
		return Record{}, s.fail(op, key, refused)
	}
	defer c.end()
	now := s.now().UnixMilli()
	found, err := s.driver.Get(c.ctx, GetRequest{Key: key, WithValue: withValue, Stale: s.stale})
	switch {
	case err != nil:
		return Record{}, s.fail(op, key, c.explain(err))
	case !found.Exists || expired(found.Expires, now):
		return Record{}, s.fail(op, key, &Error{Kind: ErrNotFound})
	}
	return found.Record, nil
}
