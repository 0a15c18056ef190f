package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/skykv/skykv/kv"
)

// Reseal seals again the values of the entries whose keys start with prefix, and returns the
// number of entries that it wrote. The empty prefix matches every key. The store must have the
// option [Values], and [kv.MaxValue] if some values need it. With [Keys], Reseal writes only
// the entries that the primary key did not seal. With another AEAD it cannot tell which key sealed
// an entry, and writes all.
//
// Reseal replaces an entry only if the entry has not changed since Reseal read it, so it
// overwrites no newer value. An entry that has changed is read and written again by
// [kv.Store.Update]. Reseal keeps the expiry. The version of the entry changes. After an error,
// Reseal can be called again.
//
// To change keys, first add the new key in every program. Then make it the primary in all
// of them. Then call Reseal. Then remove the old key.
//
// Reseal does not change entries that it cannot read or write, and names them in a
// *[kv.BatchError] at the end. It returns kv.ErrInvalidOption if the store does not have the
// option Values. Any other error ends Reseal at once.
func Reseal(ctx context.Context, store *kv.Store, prefix string) (int, error) {
	state, info := new(reseal), store.Info()
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
			written := false
			if errors.Is(err, kv.ErrConditionFailed) {
				// Somebody else has written the entry since the scan. A Touch keeps the
				// value, so the value may still be sealed with an old key.
				written, err = again(ctx, store, key)
			}
			switch {
			case err != nil && (ctx.Err() != nil || errors.Is(err, kv.ErrClosed)):
				return err
			case err != nil:
				failed[key] = err
			case written:
				resealed++
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
		if n := len(entry.Value); err == nil && n > info.MaxValueLen { // PutMany would refuse the whole group
			err = &kv.Error{Op: "reseal", Provider: info.Name, Key: entry.Key, Kind: kv.ErrValueTooLarge, Err: fmt.Errorf("the value has %d bytes; want at most %d", n, info.MaxValueLen)}
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

// The function again stores the value under key unchanged, which seals it with the current key. It
// returns false if there is no entry.
func again(ctx context.Context, store *kv.Store, key string) (written bool, err error) {
	_, err = store.Update(ctx, key, func(old kv.Entry, exists bool) (kv.Change, error) {
		written = exists
		return kv.Change{Value: old.Value, Leave: !exists}, nil
	})
	return written, err
}

// resealGroup is the number of entries that Reseal writes at once.
const resealGroup = 100

// resealKey is the key of a *reseal in the context of a scan. The context carries it through
// other middleware to the driver of this package. The driver then leaves out records that
// need not be sealed again.
type resealKey struct{}

type reseal struct {
	sealed atomic.Bool // a driver of this package has received the scan
}

// isCurrent reports whether the primary key of Keys sealed a value. It returns false for any
// other AEAD.
func (s *scheme) isCurrent(sealed []byte) bool {
	keys, ok := s.aead.(*Keys)
	if !ok || len(sealed) <= len(header) || !bytes.HasPrefix(sealed, []byte(header)) {
		return false
	}
	return keys.isPrimary(sealed[len(header)+1:])
}
