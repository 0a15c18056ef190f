package torture

import (
	"context"
	"fmt"
	"maps"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/skykv/skykv/internal/testing/faults"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/watch"
)

// TestWatch checks that a program that watches a prefix knows all entries under the prefix in the
// end, despite faults and restarts.
func TestWatch(t *testing.T) {
	t.Parallel()
	seed := Seed(t)
	inAllWorlds(t, func(t *testing.T, w *world) {
		writes := 300
		if long() {
			writes = tortureOperations(t)
		}
		const prefix, marker = "watched:", "watched:zzz"
		put := func(key string, n int, opts ...kv.PutOption) {
			if _, err := w.direct.Put(t.Context(), key, fmt.Append(nil, n), opts...); err != nil {
				t.Error(err)
			}
		}
		remove := func(key string) {
			if err := w.direct.Delete(t.Context(), key); err != nil {
				t.Error(err)
			}
		}
		// With these rates, some polls fail although the SDKs retry requests.
		rates := faults.Rates{faults.Drop: 0.2, faults.Throttle: 0.1, faults.Lose: 0.1, faults.Truncate: 0.1, faults.Delay: 0.1}
		w.Use(faults.Seeded(seed, rates, math.MaxInt))
		most := 5*time.Minute + time.Duration(writes)*100*time.Millisecond // on a busy machine
		ctx, cancel := context.WithTimeout(t.Context(), most)
		defer cancel()
		var writing sync.WaitGroup
		writing.Go(func() {
			random := faults.Rand(seed, "watch")
			for n := range writes {
				time.Sleep(4 * time.Millisecond) // so that there are many polls between the writes
				key := fmt.Sprintf("%s%02d", prefix, random.IntN(40))
				switch random.IntN(4) {
				case 0:
					remove(key)
				case 1:
					put(key, n, kv.TTL(time.Duration(1+random.IntN(500))*time.Millisecond))
				default:
					put(key, n)
				}
			}
			time.Sleep(500 * time.Millisecond) // until the last entries have expired
			w.Use(nil)
			put(marker, writes)
		})
		// The poll that finds the marker may have read other keys before the last writes. The
		// poll that finds the marker's deletion has read all keys after the last writes. There is
		// no restart between these two polls, so the program knows the marker and sees its
		// deletion.
		stored, cursor := map[string]string{}, []byte(nil)
		marked, ended, restarts, errs := false, false, 0, 0
		for random := faults.Rand(seed, "crashes"); !ended && ctx.Err() == nil; restarts++ {
			copied := maps.Clone(stored)
			for c, err := range watch.Watch(ctx, w.stores[restarts%clients], prefix, 5*time.Millisecond, watch.From(cursor)) {
				switch {
				case err != nil:
					errs++
				case c.Deleted:
					delete(copied, c.Key)
				default:
					copied[c.Key] = string(c.Value)
				}
				if c.Key == marker && err == nil {
					marked, ended = true, c.Deleted
					remove(marker)
				}
				if ended || random.IntN(10) == 0 {
					stored, cursor = maps.Clone(copied), c.Cursor()
				}
				if ended || !marked && (restarts < 2 || random.IntN(20) == 0) {
					break
				}
			}
		}
		writing.Wait()
		if ctx.Err() != nil {
			t.Fatalf("the %d writes and their changes took more than %s", writes, most)
		}
		there := map[string]string{}
		for entry, err := range w.direct.Scan(t.Context(), prefix) {
			if err != nil {
				t.Fatal(err)
			}
			there[entry.Key] = string(entry.Value)
		}
		if !maps.Equal(stored, there) {
			t.Errorf("rule: no change is lost by errors and restarts; there is\n%v\nand the program knows\n%v", there, stored)
		}
		if restarts < 2 || w.Faults() < 50 {
			t.Errorf("too little happened for a result: %d restarts, %d faults", restarts, w.Faults())
		}
		t.Logf("%d restarts, %d errors, %d faults", restarts, errs, w.Faults())
	})
}
