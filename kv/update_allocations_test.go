//go:build !race

package kv_test

import (
	"context"
	"math"
	"testing"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// An update without competition makes few allocations, including two of memkv and one of the
// function. The race detector makes sync.Pool drop some items, so the number would be wrong.
func TestUpdateAllocations(t *testing.T) {
	change := func(kv.Entry, bool) (kv.Change, error) { return kv.Change{Value: []byte("new value of an entry")}, nil }
	for name, c := range map[string]struct {
		store *kv.Store
		do    func(context.Context, *kv.Store) error
		most  float64
	}{
		"Update of a driver that never waits": {memkv.New(), func(ctx context.Context, s *kv.Store) error {
			_, err := s.Update(ctx, "n", change)
			return err
		}, 6},
		"Increment of a driver that never waits": {memkv.New(), func(ctx context.Context, s *kv.Store) error {
			_, err := s.Increment(ctx, "n", 1)
			return err
		}, 7},
		"Update of another driver": {combining(), func(ctx context.Context, s *kv.Store) error {
			_, err := s.Update(ctx, "n", change)
			return err
		}, 10},
		"Increment of another driver": {combining(), func(ctx context.Context, s *kv.Store) error {
			_, err := s.Increment(ctx, "n", 1)
			return err
		}, 11},
	} {
		got := math.Inf(1)
		for range 5 { // other goroutines of the process may add to the count, so take the lowest
			got = min(got, testing.AllocsPerRun(100, func() {
				if err := c.do(t.Context(), c.store); err != nil {
					t.Fatal(err)
				}
			}))
		}
		if got > c.most {
			t.Errorf("rule: %s makes at most %v allocations; it makes %v", name, c.most, got)
		}
	}
}
