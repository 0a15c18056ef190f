// Package middleware runs the conformance suite over each pair of middleware, in both
// orders. It has its own module, because some of the middleware packages that it imports
// have their own modules.
package middleware

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/skykv/skykv/conformance"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/hedge"
	"github.com/skykv/skykv/kv/kvotel"
	"github.com/skykv/skykv/kv/seal"
	"github.com/skykv/skykv/providers/memkv"
)

// layers are the middleware that can be put over a store.
var layers = []struct {
	name string
	over func(*kv.Store) (*kv.Store, error)
}{
	{"hedge", func(store *kv.Store) (*kv.Store, error) { return store.With(hedge.Reads(nil)), nil }},
	{"kvotel", func(store *kv.Store) (*kv.Store, error) {
		return store.With(kvotel.Observe(&kvotel.Options{TracerProvider: trace.NewTracerProvider(), MeterProvider: metric.NewMeterProvider(), Keys: true})), nil
	}},
	{"namespace", func(store *kv.Store) (*kv.Store, error) { return store.Namespace("tenant-7:") }},
	{"seal", func(store *kv.Store) (*kv.Store, error) {
		keys, err := seal.NewKeys("a", map[string][]byte{"a": bytes.Repeat([]byte("a"), seal.KeyLen)})
		if err != nil {
			return nil, err
		}
		option, err := seal.Values(keys, &seal.Options{Compress: true})
		if err != nil {
			return nil, err
		}
		return store.With(option), nil
	}},
}

func TestPairs(t *testing.T) {
	for _, lower := range layers {
		for _, upper := range layers {
			if lower.name == upper.name {
				continue
			}
			t.Run(upper.name+" over "+lower.name, func(t *testing.T) {
				var above, below atomic.Int64
				conformance.Run(t, conformance.Config{New: func(ctx context.Context) (*kv.Store, error) {
					store, err := lower.over(memkv.New().With(counted(&below, true)))
					if err != nil {
						return nil, err
					}
					if store, err = upper.over(store); err != nil {
						return nil, err
					}
					store = store.With(counted(&above, false))
					return store, warm(ctx, store)
				}})
				t.Cleanup(func() {
					hedges := lower.name == "hedge" || upper.name == "hedge"
					if second := below.Load() - above.Load(); hedges != (second > 0) {
						t.Errorf("there were %d second requests for reads; hedge is one of the pair: %v", second, hedges)
					}
				})
			})
		}
	}
}

// The function warm makes so many reads that package hedge knows how long a read takes.
func warm(ctx context.Context, store *kv.Store) error {
	for range 150 {
		if _, err := store.Get(ctx, "key"); !errors.Is(err, kv.ErrNotFound) {
			return err
		}
	}
	return nil
}

// counted counts the Gets that reach the driver. If uneven is set, some of them take longer,
// as they do with a real service.
func counted(gets *atomic.Int64, uneven bool) kv.StoreOption {
	return kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return &counting{d, gets, uneven} })
}

type counting struct {
	kv.Driver
	gets   *atomic.Int64
	uneven bool
}

func (d *counting) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	if n := d.gets.Add(1); d.uneven && n%50 == 0 {
		time.Sleep(time.Millisecond)
	}
	return d.Driver.Get(ctx, req)
}
