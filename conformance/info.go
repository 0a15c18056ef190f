package conformance

import (
	"fmt"
	"slices"

	"github.com/skykv/skykv/kv"
)

// The lowest limits of a driver with which the suite can run.
const (
	leastMaxKeyLen       = 64
	leastMaxValueLen     = 1024
	leastMaxAtomicWrites = 8 // for drivers that have AtomicWrite
)

func infoCases() []testCase {
	return []testCase{
		rule("info/constant",
			"Info has the driver's name and at least one shard, and never changes.",
			func(t *trial) {
				info := t.Info()
				if info.Name == "" {
					t.Errorf("Info().Name is empty")
				}
				if info.Shards < 1 {
					t.Errorf("Info().Shards is %d; want at least 1", info.Shards)
				}
				t.put("key", "value")
				again := t.Info()
				if again.Name != info.Name || again.Shards != info.Shards || again.MaxKeyLen != info.MaxKeyLen ||
					again.MaxValueLen != info.MaxValueLen || again.MaxAtomicWrites != info.MaxAtomicWrites ||
					again.NoGrace != info.NoGrace || !slices.Equal(reservedOf(again), reservedOf(info)) ||
					again.EndsCalls != info.EndsCalls || again.Immediate != info.Immediate {
					t.Errorf("Info() is %+v; it was %+v", again, info)
				}
			}),
		rule("info/lacks",
			"A driver implements the whole contract. Only providers of skykv's own module that use the layout of another program may set NoGrace or ReservedKey. ReservedKey may reserve only ., .. and keys such as __x__.",
			func(t *trial) {
				if err := checkLacks(t.Info()); err != nil {
					t.Errorf("%v", err)
				}
			}),
		rule("info/limits",
			fmt.Sprintf("A driver's Info has its limits: %d to %d bytes for a key, and %d to %d bytes for a value. Without MaxValue the store writes values of at most %d bytes. MaxAtomicWrites is 0 or at least %d.",
				leastMaxKeyLen, kv.MaxKeyLen, leastMaxValueLen, kv.MaxLargeValueLen, kv.MaxValueLen, leastMaxAtomicWrites),
			func(t *trial) {
				if n := t.Info().MaxKeyLen; n < leastMaxKeyLen || n > kv.MaxKeyLen {
					t.Errorf("Info().MaxKeyLen is %d; want %d to %d", n, leastMaxKeyLen, kv.MaxKeyLen)
				}
				most := t.underlying().Info().MaxValueLen
				if most < leastMaxValueLen || most > kv.MaxLargeValueLen {
					t.Errorf("the driver's Info().MaxValueLen is %d; want %d to %d", most, leastMaxValueLen, kv.MaxLargeValueLen)
				}
				if n := t.Info().MaxValueLen; n != min(most, kv.MaxValueLen) {
					t.Errorf("Info().MaxValueLen is %d; want %d", n, min(most, kv.MaxValueLen))
				}
				if n := t.Info().MaxAtomicWrites; n != 0 && n < leastMaxAtomicWrites {
					t.Errorf("Info().MaxAtomicWrites is %d; want 0, or at least %d", n, leastMaxAtomicWrites)
				}
			}),
	}
}
