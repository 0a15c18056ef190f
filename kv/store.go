package kv

import (
	"context"
	"fmt"
	"time"
)

// Store is a key-value store over a [Driver]. It is safe for concurrent use.
//
// Every method checks its arguments before any I/O, and reads the store's clock
// once at its start: all expiries are judged by that reading, retries included.
// A scan reads the clock once for every entry.
type Store struct {
	driver Driver
	info   Info
	now    func() time.Time
	life   *life // shared with the stores derived from it
	link   *link // closes driver
	stale  bool  // see Stale

	updates *updates // of this store alone: what is derived from it has another driver or clock
}

// New returns a store over driver. Programs get their stores from a provider's
// New or Open; New is for the authors of providers.
func New(driver Driver) *Store {
	s := &Store{driver: driver, now: time.Now, life: newLife(), updates: new(updates)}
	s.link = s.life.add(driver)
	s.readInfo()
	return s
}

// StoreOption is an option of With: [Clock], [Stale] or [Wrap].
type StoreOption func(*Store)

// Clock replaces the clock by which the store judges and sets expiries, which is
// time.Now. Services delete expired entries by their own clocks, [ExpiryGrace] after
// their expiry: an entry that expired longer ago by the service's clock is gone,
// however slow the replaced clock is.
func Clock(now func() time.Time) StoreOption {
	return func(s *Store) { s.now = now }
}

// Stale makes a view whose Get, Exists, GetMany, Scan and ScanPage may miss the writes of
// the last second or so, its own included, and may see keys as they were at different
// moments. A read costs half as much on DynamoDB, and the same elsewhere. Writes, their
// conditions, Update and DeletePrefix are as in every store.
func Stale() StoreOption {
	return func(s *Store) { s.stale = true }
}

// With returns a store over the same data with options applied in their order.
// The receiver is unchanged. Both close together: Close of either closes both. With
// a Clock alone it leaves nothing behind, so that a request may have a store of its
// own; [Wrap] says what middleware leaves.
func (s *Store) With(opts ...StoreOption) *Store {
	derived := *s
	derived.updates = new(updates)
	for _, opt := range opts {
		opt(&derived)
	}
	return &derived
}

// Info describes the store's driver, with the limits of this store filled in:
// MaxKeyLen and MaxValueLen are never zero.
func (s *Store) Info() Info { return s.info }

func (s *Store) readInfo() {
	s.info = s.driver.Info()
	if s.info.MaxKeyLen == 0 {
		s.info.MaxKeyLen = MaxKeyLen
	}
	if s.info.MaxValueLen == 0 {
		s.info.MaxValueLen = MaxValueLen
	}
	if s.info.Shards < 1 {
		panic("kv: driver " + s.info.Name + " must have at least one shard")
	}
	if len(s.info.Name) > maxNameLen {
		panic(fmt.Sprintf("kv: the name of driver %.40s… has %d bytes; it must have at most %d", s.info.Name, len(s.info.Name), maxNameLen))
	}
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

// Exists reports whether there is an entry under key that has not expired. Its
// value is not transferred where the service can avoid it.
func (s *Store) Exists(ctx context.Context, key string) (bool, error) {
	_, err := s.get(ctx, "exists", key, false)
	if e, ok := err.(*Error); ok && e.Kind == ErrNotFound {
		return false, nil
	}
	return err == nil, err
}

func (s *Store) get(ctx context.Context, op, key string, withValue bool) (Record, error) {
	if err := checkKey(key, s.info.MaxKeyLen); err != nil {
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
