package conformance

import (
	"context"
	"iter"

	"github.com/skykv/skykv/kv"
)

// store has the methods that the cases call. It is a *kv.Store, or in the suite's own tests
// a store that is broken on purpose.
type store interface {
	Info() kv.Info
	Get(ctx context.Context, key string) (kv.Entry, error)
	Put(ctx context.Context, key string, value []byte, opts ...kv.PutOption) (kv.Version, error)
	Delete(ctx context.Context, key string, opts ...kv.DeleteOption) error
	Touch(ctx context.Context, key string, opts ...kv.TouchOption) (kv.Version, error)
	Exists(ctx context.Context, key string) (bool, error)
	Scan(ctx context.Context, prefix string, opts ...kv.ScanOption) iter.Seq2[kv.Entry, error]
	Count(ctx context.Context, prefix string, opts ...kv.RangeOption) (int, error)
	ScanPage(ctx context.Context, prefix string, limit int, cursor string, opts ...kv.PageOption) (kv.Page, error)
	GetMany(ctx context.Context, keys []string) (map[string]kv.Entry, error)
	PutMany(ctx context.Context, items []kv.Item) (map[string]kv.Version, error)
	DeleteMany(ctx context.Context, keys []string) error
	DeletePrefix(ctx context.Context, prefix string) (int, error)
	AtomicWrite(ctx context.Context, ops ...kv.Op) ([]kv.Version, error)
	Update(ctx context.Context, key string, change func(old kv.Entry, exists bool) (kv.Change, error)) (kv.Entry, error)
	Increment(ctx context.Context, key string, delta int64, opts ...kv.IncrementOption) (int64, error)
	GetAndDelete(ctx context.Context, key string) (kv.Entry, error)
	Close() error
}
