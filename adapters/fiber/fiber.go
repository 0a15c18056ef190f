package fiber

import (
	"context"
	"errors"
	"time"

	"github.com/skykv/skykv/kv"
)

// Storage is a fiber.Storage. It is safe for concurrent use.
type Storage struct {
	store   *kv.Store
	timeout time.Duration
}

// New returns a storage in a store. Reset works only if the store is a [kv.Store.Namespace].
// Get, Set and Delete take at most the time timeout.
func New(store *kv.Store, timeout time.Duration) *Storage { return &Storage{store, timeout} }

// GetWithContext returns the value under a key, or nil without an error if there is no entry.
func (s *Storage) GetWithContext(ctx context.Context, key string) ([]byte, error) {
	entry, err := s.store.Get(ctx, kv.HashKey(key))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	return entry.Value, err
}

// SetWithContext stores a value. The duration expiry is the time until the value expires. If
// expiry is 0, the value never expires. If it is negative, the key is deleted. If it is
// positive but less than a millisecond, the error matches [kv.ErrInvalidOption]. If the key or
// the value is empty, SetWithContext does nothing, as fiber demands.
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

// DeleteWithContext removes a key. It is not an error if the key has no value.
func (s *Storage) DeleteWithContext(ctx context.Context, key string) error {
	return s.store.Delete(ctx, kv.HashKey(key))
}

// ResetWithContext removes every key of the namespace. If the store is not a namespace, it
// removes nothing and returns [kv.ErrInvalidKey].
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

// Reset is ResetWithContext without a timeout, because the time that it takes depends on the
// number of keys.
func (s *Storage) Reset() error { return s.ResetWithContext(context.Background()) }

// Close does nothing. The program that opened the store closes it.
func (s *Storage) Close() error { return nil }

func (s *Storage) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), s.timeout)
}
