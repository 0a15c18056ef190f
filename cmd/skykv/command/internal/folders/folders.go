// Package folders lists the keys of a store as folders, by a delimiter.
package folders

import (
	"context"
	"iter"
	"strings"

	"github.com/skykv/skykv/kv"
)

// long is the number of a folder's keys that List reads before it skips the rest with a new
// scan. A service returns about this many keys in one page, so an earlier skip would save
// little. A new scan costs a request for each shard.
const long = 1000

// List lists the keys that begin with prefix, in order. If after is not empty, the list begins
// after that key. A key without a delimiter after the prefix is yielded as an entry without its
// value. All keys that are equal up to their first delimiter after the prefix are yielded as one
// folder. List yields the same errors as [kv.Store.Scan]. To continue after a folder, use [Last].
func List(ctx context.Context, store *kv.Store, prefix, delimiter, after string) iter.Seq2[kv.Entry, error] {
	return func(yield func(kv.Entry, error) bool) {
		for again := true; again; {
			again = false
			folder, inside := "", 0
			for entry, err := range store.Scan(ctx, prefix, kv.KeysOnly(), kv.After(after)) {
				if err != nil {
					if !yield(entry, err) || entry.Key == "" {
						return
					}
					continue
				}
				name, _, within := strings.Cut(entry.Key[len(prefix):], delimiter)
				if name = prefix + name + delimiter; within && name == folder {
					if inside++; inside < long {
						continue
					}
					after, again = Last(store, folder), true
					break
				}
				if within {
					folder, inside, entry = name, 1, kv.Entry{Key: name}
				}
				if !yield(entry, nil) {
					return
				}
			}
		}
	}
}

// Is reports whether an entry that List yielded without an error is a folder.
func Is(entry kv.Entry) bool { return entry.Version.IsZero() }

// Last returns a key that comes after all other keys of a folder.
func Last(store *kv.Store, folder string) string {
	return folder + strings.Repeat("z", store.Info().MaxKeyLen-len(folder))
}
