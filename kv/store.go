package kv

import (
	"cmp"
	"context"
	"fmt"
	"time"
)

// Store is a key-value store over a [Driver]. It is safe for concurrent use.
//
// Every method checks its arguments before any I/O. It reads the store's clock once at
// its start, and judges all expiries by that reading, also in retries. A scan reads the
// clock once for every entry.
type Store struct {
	driver Driver
	info   Info
	now    func() time.Time
	life   *life // shared with the stores derived from it
	link   *link // closes driver
	stale  bool  // see Stale

	maxValue int   // see MaxValue; 0 if not set
	refused  error // the error of an invalid option; every call returns it

	updates *updates // of this store alone: derived stores have another driver or clock
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

// Clock replaces the clock by which the store judges and sets expiries. The default is
// time.Now. Services delete expired entries by their own clocks, [ExpiryGrace] after
// the expiry. So an entry that expired longer ago by the service's clock is gone, even
// if the replaced clock is slower.
func Clock(now func() time.Time) StoreOption {
	return func(s *Store) { s.now = now }
}

// MaxValue sets the greatest length of the values that the store writes to n bytes, 1
// to [MaxLargeValueLen]. The default is [MaxValueLen]. Reads have no such limit: a
// store without MaxValue reads larger values too. Larger values cost more on services
// that charge by size, and a scan needs more memory: see docs/services.md.
//
// If n is out of range, or more than the store's driver can hold, every call of the
// store returns ErrInvalidOption before any I/O. Middleware that is added later may
// lower the limit: see [Store.Info].
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

// Stale returns a view for cheaper reads. Its Get, Exists, GetMany, Scan and ScanPage
// may miss the writes of the last second or so, its own included. They may see
// different keys as of different moments. A read costs half as much on DynamoDB, and
// the same elsewhere. Writes, their conditions, Update and DeletePrefix are as in every
// store.
func Stale() StoreOption {
	return func(s *Store) { s.stale = true }
}

// With returns a store over the same data with the options applied in order. It does
// not change s. Both close together: Close of either closes both. A store with only a
// Clock needs no cleanup, so a program may make one for each request. For middleware
// see [Wrap].
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
// [MaxValueLen] or the [MaxValue] of the store, or less if the driver holds less.
func (s *Store) Info() Info { return s.info }

// describe returns the Info of a driver, with the default limits in place of zeros.
func describe(d Driver) Info {
	info := d.Info()
	info.MaxKeyLen = cmp.Or(info.MaxKeyLen, MaxKeyLen)
	info.MaxValueLen = cmp.Or(info.MaxValueLen, MaxValueLen)
	return info
}

// largestValue is the greatest n of MaxValue.
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

// checkKey refuses keys that are not legal, and those that the driver cannot hold.
func (s *Store) checkKey(key string) *Error {
	err := checkKey(key, s.info.MaxKeyLen)
	if err == nil && s.info.ReservedKey != nil && s.info.ReservedKey(key) {
		return &Error{Key: key, Kind: ErrInvalidKey, Err: fmt.Errorf("%s cannot store an entry under this key, whose name the service reserves", s.info.Name)}
	}
	return err
}

// checkValue refuses values that the store must not write. If an option is invalid, it
// returns nil, and begin returns that error.
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

// Get reads the entry under key. It returns ErrNotFound when the key is absent
// or its entry has expired.
func (s *Store) Get(ctx context.Context, key string) (Entry, error) {
	rec, err := s.get(ctx, "get", key, true)
	if err != nil {
		return Entry{}, err
	}
	return s.entry(rec, true), nil
}

// Exists reports whether there is an entry under key that has not expired. The value is
// not transferred where the service can avoid it.
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
