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

// TestWatch: a program that watches knows the whole content in the end, under faults and restarts.
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
		put(marker, 0)
		// SDKs retry failed requests. Where many requests fail, some polls fail.
		rates := faults.Rates{faults.Drop: 0.2, faults.Throttle: 0.1, faults.Lose: 0.1, faults.Truncate: 0.1, faults.Delay: 0.1}
		w.Use(faults.Seeded(seed, rates, math.MaxInt))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		var writing sync.WaitGroup
		writing.Go(func() {
			random := faults.Rand(seed, "watch")
			for n := range writes {
				time.Sleep(2 * time.Millisecond) // so that there are many polls in between
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
			remove(marker)
		})
		// The poll that finds the marker gone for the first time may have read other keys before
		// the last writes. The second one has not. ~103 rule: no change is lost by errors and
		// restarts; there is %v and the program knows %v => rule: errors and restarts lose no
		// change; stored is %v and the program knows %v
		stored, cursor := map[string]string{}, []byte(nil)
		gone, restarts, errs := 0, 0, 0
		for random := faults.Rand(seed, "crashes"); gone < 2 && ctx.Err() == nil; restarts++ {
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
				if c.Deleted && c.Key == marker {
					if gone++; gone == 1 {
						put(marker, 1)
						continue
					}
				} else if c.Key == marker && gone == 1 && err == nil {
					remove(marker)
				}
				if gone == 2 || random.IntN(10) == 0 {
					stored, cursor = maps.Clone(copied), c.Cursor()
				}
				if gone == 2 || gone == 0 && (restarts < 2 || random.IntN(20) == 0) {
					break
				}
			}
		}
		writing.Wait()
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
