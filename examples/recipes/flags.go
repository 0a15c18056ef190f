package recipes

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/watch"
)

// Flags holds feature flags, which are the entries under "flags::". The zero Flags has none.
type Flags struct{ values sync.Map }

// Get returns the value of a flag, or "" if there is no such flag.
func (f *Flags) Get(name string) string {
	value, _ := f.values.Load(name)
	text, _ := value.(string)
	return text
}

// Follow keeps the flags equal to the entries in the store until ctx ends, and then returns the
// error of ctx. While the store is unavailable, the flags keep their values. If Watch ends earlier,
// for example because the store was closed, Follow returns the last error of Watch.
func (f *Flags) Follow(ctx context.Context, store *kv.Store, every time.Duration) error {
	var last error
	for change, err := range watch.Watch(ctx, store, "flags::", every) {
		name := strings.TrimPrefix(change.Key, "flags::")
		switch {
		case err != nil:
			last = err
		case change.Deleted:
			f.values.Delete(name)
		default:
			f.values.Store(name, string(change.Value))
		}
	}
	return last
}
