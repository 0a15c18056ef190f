package fiber

import (
	"context"
	"errors"
	"time"

	"github.com/skykv/skykv/kv"
)

// Storage is the Storage of fiber. It is safe for concurrent use.
type Storage struct {
	store   *kv.Store
	timeout time.Duration
}

// New returns the storage in a store: a [kv.Store.Namespace] if Reset is going to be called. Calls
// without a context end after timeout.
func New(store *kv.Store, timeout time.Duration) *Storage { return &Storage{store, timeout} }

// GetWithContext returns the value under a key, or nil without an error if there is no entry.
func (s *Storage) GetWithContext(ctx context.Context, key string) ([]byte, error) {
	entry, err := s.store.Get(ctx, kv.HashKey(key))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	return entry.Value, err
}

// SetWithContext stores a value, which expires after expiry: 0 stands for never, and less than 0
// deletes the key. An expiry of less than a millisecond is [kv.ErrInvalidOption]. As fiber
// wants it, an empty key or value does nothing.
func (s *Storage) SetWithContext(ctx context.Context, key string, value []byte, expiry time.Duration) error {
	switch {
	case key == "" || len(value) == 0:
		return nil
	case expiry < 0:
		return s.DeleteWithContext(ctx, key)
	case expiry == 0:
		_, err := s.store.Put(ctx, kv.HashKey(key), value)
		return err
	}
	_, err := s.store.Put(ctx, kv.HashKey(key), value, kv.TTL(expiry))
	return err
}

// DeleteWithContext removes a key. A key without a value is no error.
func (s *Storage) DeleteWithContext(ctx context.Context, key string) error {
	return s.store.Delete(ctx, kv.HashKey(key))
}

// ResetWithContext removes every key of the namespace. A store that is no namespace is
// [kv.ErrInvalidKey], and keeps all it has.
func (s *Storage) ResetWithContext(ctx context.Context) error {
	_, err := s.store.DeletePrefix(ctx, "")
	return err
}

// Get is GetWithContext with the timeout of New.
func (s *Storage) Get(key string) ([]byte, error) {
	ctx, cancel := s.context()
	defer cancel()
	return s.GetWithContext(ctx, key)
}

// Set is SetWithContext with the timeout of New.
func (s *Storage) Set(key string, value []byte, expiry time.Duration) error {
	ctx, cancel := s.context()
	defer cancel()
	return s.SetWithContext(ctx, key, value, expiry)
}

// Delete is DeleteWithContext with the timeout of New.
func (s *Storage) Delete(key string) error {
	ctx, cancel := s.context()
	defer cancel()
	return s.DeleteWithContext(ctx, key)
}

// Reset is ResetWithContext without a timeout, since it takes as long as there are keys.
func (s *Storage) Reset() error { return s.ResetWithContext(context.Background()) }

// Close does nothing. The program that opened the store closes it.
func (s *Storage) Close() error { return nil }

func (s *Storage) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), s.timeout)
}
