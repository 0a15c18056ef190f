package kv

import (
	"context"
	"fmt"
	"sync/atomic"
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
	closed *atomic.Bool // shared with the stores made by With
}

// New returns a store over driver. Programs get their stores from a provider's
// New or Open; New is for the authors of providers.
func New(driver Driver) *Store {
	s := &Store{driver: driver, now: time.Now, closed: new(atomic.Bool)}
	s.readInfo()
	return s
}

// StoreOption is an option of With: [Clock] or [Wrap].
type StoreOption func(*Store)

// Clock replaces the clock by which the store judges and sets expiries, which is
// time.Now. Services delete expired entries by their own clocks, an hour after
// their expiry: an entry whose expiry passed more than an hour ago by the
// service's clock is gone, however slow the replaced clock is.
func Clock(now func() time.Time) StoreOption {
	return func(s *Store) { s.now = now }
}

// Wrap puts middleware between the store and its driver. The first is the
// outermost: Wrap(a, b) makes calls pass a, then b, then the driver.
//
// Of a store and those that With makes of it, Close is handed to the drivers of the
// one that is closed first: a middleware's own Close is not called when that is one
// without it.
func Wrap(middleware ...func(Driver) Driver) StoreOption {
	return func(s *Store) {
		for i := len(middleware) - 1; i >= 0; i-- {
			s.driver = middleware[i](s.driver)
		}
		s.readInfo()
	}
}

// With returns a store over the same data with options applied in their order.
// The receiver is unchanged. Both close together: Close of either closes both.
func (s *Store) With(opts ...StoreOption) *Store {
	derived := *s
	for _, opt := range opts {
		opt(&derived)
	}
	return &derived
}

// Info describes the store's driver; its limits are filled in.
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
		panic(fmt.Sprintf("kv: the name of driver %.40s… has %d bytes; allowed are at most %d", s.info.Name, len(s.info.Name), maxNameLen))
	}
}

// Close releases what skykv opened for the store, and nothing that the program
// handed in. Every later call with valid arguments, of the stores made by With as
// well, returns ErrClosed, and so may calls that are under way; a later Close
// returns nil.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	if err := s.driver.Close(); err != nil {
		return s.fail("close", "", err)
	}
	return nil
}

// begin refuses calls of a closed store and with a finished context.
func (s *Store) begin(ctx context.Context) *Error {
	if s.closed.Load() {
		return &Error{Kind: ErrClosed}
	}
	if err := ctx.Err(); err != nil {
		return &Error{Err: err}
	}
	return nil
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
	if err := s.begin(ctx); err != nil {
		return Record{}, s.fail(op, key, err)
	}
	now := s.now().UnixMilli()
	rec, ok, err := s.driver.Get(ctx, key, withValue)
	switch {
	case err != nil:
		return Record{}, s.fail(op, key, err)
	case !ok || expired(rec.Expires, now):
		return Record{}, s.fail(op, key, &Error{Kind: ErrNotFound})
	}
	return rec, nil
}
