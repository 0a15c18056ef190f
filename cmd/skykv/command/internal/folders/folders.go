// Package folders lists the keys of a store as folders, by a delimiter.
package folders

import (
	"context"
	"iter"
	"strings"

	"github.com/skykv/skykv/kv"
)

// long is the number of keys of a folder after which List skips the rest by a new scan.
// That costs a request for each shard; a page of a service has about as many keys.
const long = 1000

// List yields the entries under a prefix after a key, which may be empty, in order of the
// keys. An entry whose key has no delimiter after the prefix comes alone, without its
// value. All entries that share the part up to the delimiter come as one folder. Errors are
// as in a scan. To continue after a folder, use [Last].
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

// Is reports whether an entry that List yielded is a folder.
func Is(entry kv.Entry) bool { return entry.Version.IsZero() }

// Last returns a key that no key of a folder comes after.
func Last(store *kv.Store, folder string) string {
	return folder + strings.Repeat("z", store.Info().MaxKeyLen-len(folder))
}
