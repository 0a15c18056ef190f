package autocert

import (
	"context"
	"errors"

	"golang.org/x/crypto/acme/autocert"

	"github.com/skykv/skykv/kv"
)

// Cache is an autocert.Cache. It is safe for concurrent use.
type Cache struct{ store *kv.Store }

// New returns a cache in a store, which should be a [kv.Store.Namespace]. The key of an entry
// is [kv.EscapeKey] of its name, such as "example.com_2Brsa".
func New(store *kv.Store) *Cache { return &Cache{store} }

// Get returns the data that is stored under a name. If nothing is stored there, or the name is
// too long for the store, Get returns autocert.ErrCacheMiss.
func (c *Cache) Get(ctx context.Context, name string) ([]byte, error) {
	entry, err := c.store.Get(ctx, kv.EscapeKey(name))
	switch {
	case errors.Is(err, kv.ErrNotFound), errors.Is(err, kv.ErrInvalidKey):
		return nil, autocert.ErrCacheMiss
	case err != nil:
		return nil, err
	}
	return entry.Value, nil
}

// Put stores data under a name.
func (c *Cache) Put(ctx context.Context, name string, data []byte) error {
	_, err := c.store.Put(ctx, kv.EscapeKey(name), data)
	return err
}

// Delete removes the data that is stored under a name. If nothing is stored there, Delete
// returns nil.
func (c *Cache) Delete(ctx context.Context, name string) error {
	err := c.store.Delete(ctx, kv.EscapeKey(name))
	if errors.Is(err, kv.ErrInvalidKey) {
		return nil // nothing can be stored under this name
	}
	return err
}
