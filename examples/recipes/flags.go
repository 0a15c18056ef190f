package recipes

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/watch"
)

// Flags are feature flags: what is stored under "flags::". The zero Flags has none.
type Flags struct{ values sync.Map }

// Get returns the value of a flag, empty if there is none.
func (f *Flags) Get(name string) string {
	value, _ := f.values.Load(name)
	text, _ := value.(string)
	return text
}

// Follow keeps the flags as they are in the store, until ctx ends, whose error it returns.
// While the store is unavailable they stay as they are.
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
