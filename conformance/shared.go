package conformance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skykv/skykv/kv"
)

// refuseOccupied protects the data of a shared store that is not there for the suite.
func refuseOccupied(ctx context.Context, config Config) (err error) {
	store, err := config.New(ctx)
	if err != nil {
		return fmt.Errorf("conformance: opening the shared store: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	for entry, err := range store.Scan(ctx, "", kv.Limit(1), kv.KeysOnly()) {
		if entry.Key != "" {
			return fmt.Errorf("conformance: the shared store is not empty, it holds %q; the suite wants an empty one, and deletes all it finds there", entry.Key)
		}
		return fmt.Errorf("conformance: looking into the shared store: %w", err)
	}
	return nil
}

// wipe empties a shared store behind a case.
func wipe(ctx context.Context, config Config) (err error) {
	store, err := config.New(ctx)
	if err != nil {
		return fmt.Errorf("conformance: opening the shared store to clear it: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	// At the beginning of time nothing has expired: this sees what is left of
	// entries that expired in the case as well.
	all := store.With(kv.Clock(func() time.Time { return time.UnixMilli(1) }))
	var keys []string
	for entry, err := range all.Scan(ctx, "", kv.KeysOnly()) {
		if err != nil {
			return fmt.Errorf("conformance: clearing the shared store: %w", err)
		}
		keys = append(keys, entry.Key)
	}
	if err := all.DeleteMany(ctx, keys); err != nil {
		return fmt.Errorf("conformance: clearing the shared store: %w", err)
	}
	return nil
}
