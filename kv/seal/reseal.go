package seal

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"

	"github.com/skykv/skykv/kv"
)

// Reseal seals the values under the keys that start with prefix again, and returns how many
// entries it wrote. The empty prefix stands for all. The store must have the option [Values], and
// [kv.MaxValue] if some values need it. With [Keys], Reseal writes the entries that the primary
// key did not seal. With another AEAD it cannot tell, and writes all.
//
// Reseal replaces an entry only in the state that it read, and keeps the expiry. What somebody
// else writes meanwhile stays. The version of the entry changes. After an error, Reseal can be
// called again.
//
// To change keys, first add the new key in every program. Then make it the primary in all
// of them. Then call Reseal. Then remove the old key.
//
// Reseal leaves entries as they are that it cannot read or write, and names them in a
// *[kv.BatchError] at the end. It returns kv.ErrInvalidOption when the store does not have the
// option Values. Any other error stops it.
func Reseal(ctx context.Context, store *kv.Store, prefix string) (int, error) {
	state := new(reseal)
	resealed, failed := 0, make(map[string]error)
	var group []kv.Item
	flush := func() error {
		versions, err := store.PutMany(ctx, group)
		resealed += len(versions)
		group = group[:0]
		batch, partial := errors.AsType[*kv.BatchError](err)
		if !partial {
			return err
		}
		for key, err := range batch.Failed {
			if !errors.Is(err, kv.ErrConditionFailed) { // else somebody wrote, and sealed, another value
				failed[key] = err
			}
		}
		return nil
	}
	for entry, err := range store.Scan(context.WithValue(ctx, resealKey{}, state), prefix) {
		if err == nil && !state.sealed.Load() {
			break
		}
		if err != nil && entry.Key == "" {
			return resealed, err
		}
		if err != nil {
			failed[entry.Key] = err
			continue
		}
		group = append(group, kv.Item{Key: entry.Key, Value: entry.Value, IfVersion: entry.Version, ExpiresAt: entry.ExpiresAt})
		if len(group) == resealGroup {
			if err := flush(); err != nil {
				return resealed, err
			}
		}
	}
	if !state.sealed.Load() {
		return 0, invalid("the store does not seal its values; want one that Values is an option of")
	}
	if err := flush(); err != nil || len(failed) == 0 {
		return resealed, err
	}
	return resealed, &kv.BatchError{Failed: failed}
}

// resealGroup is how many entries Reseal writes at once: a multiple of every service's batch.
const resealGroup = 100

// resealKey is the key of a *reseal in the context of a scan. Such a scan leaves out what is
// sealed as it should be. A context is how a call reaches the driver through all that is
// between.
type resealKey struct{}

type reseal struct {
	sealed atomic.Bool // a driver of this package has seen the scan
}

// isCurrent reports whether a value is sealed as a new one would be.
func (s *scheme) isCurrent(sealed []byte) bool {
	keys, ok := s.aead.(*Keys)
	if !ok || len(sealed) <= len(header) || !bytes.HasPrefix(sealed, []byte(header)) {
		return false
	}
	return keys.isPrimary(sealed[len(header)+1:])
}
