package kv_test

import (
	"errors"
	"strconv"
	"sync"
	"testing"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// combining returns a memkv store whose driver says that it may wait, so that updates
// are combined.
func combining() *kv.Store { return memkv.New().With(lagging(0)) }

// incrementers are ways to add 1 to the number under a key.
var incrementers = []struct {
	name string
	open func() *kv.Store
	do   func(tb testing.TB, store *kv.Store)
}{
	{"loop", memkv.New, func(tb testing.TB, store *kv.Store) { // what programs do without Increment
		for {
			entry, err := store.Get(tb.Context(), "n")
			n, invalid := strconv.ParseInt(string(entry.Value), 10, 64)
			if err != nil || invalid != nil {
				tb.Error(err, invalid)
				return
			}
			switch _, err := store.Put(tb.Context(), "n", strconv.AppendInt(nil, n+1, 10), kv.IfVersion(entry.Version)); {
			case err == nil:
				return
			case !errors.Is(err, kv.ErrConditionFailed):
				tb.Error(err)
				return
			}
		}
	}},
	{"immediate", memkv.New, increment},
	{"combined", combining, increment},
}

func increment(tb testing.TB, store *kv.Store) {
	if _, err := store.Increment(tb.Context(), "n", 1); err != nil {
		tb.Error(err)
	}
}

func BenchmarkIncrement(b *testing.B) {
	for _, callers := range []int{1, 50} {
		for _, in := range incrementers {
			b.Run(in.name+"/callers="+strconv.Itoa(callers), func(b *testing.B) {
				store := in.open()
				increment(b, store)
				b.ReportAllocs()
				var working sync.WaitGroup
				for i := range callers {
					working.Go(func() {
						for range (b.N + i) / callers {
							in.do(b, store)
						}
					})
				}
				working.Wait()
			})
		}
	}
}
