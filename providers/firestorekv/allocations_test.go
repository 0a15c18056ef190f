//go:build !race

package firestorekv

import (
	"context"
	"testing"
	"time"
)

// The goal is at most 1.05 times the SDK's allocations. Under the race detector, sync.Pool
// drops some values, so the allocations cannot be counted.
func TestAllocations(t *testing.T) { // not parallel, because AllocsPerRun counts the allocations of all goroutines
	limited, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	for _, o := range []operation{get, put} {
		skykv, sdk := o.both(t)
		for name, ctx := range map[string]context.Context{"with a deadline": limited, "without a deadline": t.Context()} {
			count := func(do func(context.Context) error) float64 {
				return testing.AllocsPerRun(500, func() {
					if err := do(ctx); err != nil {
						t.Fatal(err)
					}
				})
			}
			ours, theirs := count(skykv), count(sdk)
			t.Logf("%s %s: %v allocations by the SDK, %v by skykv: %.3f", o.name, name, theirs, ours, ours/theirs)
			if ours > 1.05*theirs {
				t.Errorf("%s %s makes %v allocations; want at most 1.05 times the SDK's %v", o.name, name, ours, theirs)
			}
		}
	}
}
