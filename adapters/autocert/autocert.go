package autocert

import (
	"context"
	"errors"

	"golang.org/x/crypto/acme/autocert"

	"github.com/skykv/skykv/kv"
)

// Cache is an autocert.Cache. It is safe for concurrent use.
type Cache struct{ store *kv.Store }

// New returns the cache in a store. The key of an entry is [kv.EscapeKey] of its name, such as
// "example.com_2Brsa": use a [kv.Store.Namespace].
func New(store *kv.Store) *Cache { return &Cache{store} }

// Get returns what is stored under a name, or autocert.ErrCacheMiss. A name that is too long to
// be stored is a miss as well.
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

// Delete removes what is stored under a name. A name without anything is no error.
func (c *Cache) Delete(ctx context.Context, name string) error {
	err := c.store.Delete(ctx, kv.EscapeKey(name))
	if errors.Is(err, kv.ErrInvalidKey) {
		return nil // nothing is stored under it
	}
	return err
}
