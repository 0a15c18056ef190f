package cache

import (
	"fmt"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/maypok86/otter/v2/stats"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/lease"
)

// DefaultMaxBytes is the default of [Options].MaxBytes.
const DefaultMaxBytes = 64 << 20

// Options are the options of [New].
type Options struct {
	// MaxAge is the greatest age of an answer from memory, at least a millisecond.
	MaxAge time.Duration

	// MaxBytes is about how much memory the entries may take. 0 means DefaultMaxBytes. An
	// entry that is larger than MaxBytes is not kept.
	MaxBytes int

	// Absent makes the Cache remember that a key is absent. If another process creates the
	// key, the Cache finds it after at most MaxAge.
	Absent bool

	// Leases, if set, ensure that only one process at a time computes the value of a key in
	// [Cache.GetOrLoad]. All processes must use leases in the same store and the same
	// namespace. The leases are named "load:0000" to "load:1023". Their small records remain
	// in the store, so it is best to give them a [kv.Store.Namespace] of their own. If a
	// process dies while it computes a value, another one takes over after the TTL of the
	// leases. For most programs, a TTL of one or two seconds is right.
	Leases *lease.Leases
}

// Cache is a view of a store that keeps in memory the entries that it has read and written.
// It has the methods of the store, [Cache.GetOrLoad] and [Cache.Stats]. It closes together
// with the store. It is safe for concurrent use.
type Cache struct {
	*kv.Store

	exact  *kv.Store // reads from the store only, and keeps in memory what it reads
	leases *lease.Leases
	turns  turns
	driver *driver
}

// New returns a Cache for the entries in store. The Cache keeps its memory until the store is
// closed, so make one for a program, not for each request. If an option is out of range, the
// error matches [kv.ErrInvalidOption].
func New(store *kv.Store, options *Options) (*Cache, error) {
	var o Options
	if options != nil {
		o = *options
	}
	switch {
	case o.MaxAge < time.Millisecond:
		return nil, invalid("the MaxAge is %s; want at least %s", o.MaxAge, time.Millisecond)
	case o.MaxBytes < 0:
		return nil, invalid("MaxBytes is %d; want at least 1, or 0 for %d", o.MaxBytes, DefaultMaxBytes)
	case o.MaxBytes == 0:
		o.MaxBytes = DefaultMaxBytes
	}
	counts := stats.NewCounter()
	entries, err := otter.New(&otter.Options[string, *kept]{
		MaximumWeight: uint64(o.MaxBytes),
		Weigher:       func(_ string, k *kept) uint32 { return k.weight() },
		StatsRecorder: evictions{counts},
	})
	if err != nil {
		return nil, invalid("%w", err)
	}
	c := &Cache{leases: o.Leases}
	c.exact = store.With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver {
		c.driver = newDriver(d, entries, counts, o)
		return c.driver
	}))
	c.Store = c.exact.With(kv.Stale())
	return c, nil
}

func invalid(format string, args ...any) error {
	return &kv.Error{Op: "cache options", Kind: kv.ErrInvalidOption, Err: fmt.Errorf(format, args...)}
}

// Stats are the statistics of a Cache.
type Stats struct {
	// Hits is the number of keys that Get, Exists and GetMany found in memory, and Misses the
	// number of keys that they did not find there.
	Hits, Misses uint64

	// Shared is the number of misses of Get that found a request for the same key under way. They
	// waited for its end, and then shared the next request.
	Shared uint64

	// Evictions is the number of entries that were removed to make room.
	Evictions uint64

	Entries int // number of entries in memory
	Bytes   int // number of bytes that the entries take: see [Options].MaxBytes
}

// Stats returns the statistics since New.
func (c *Cache) Stats() Stats {
	d := c.driver
	counts := d.counts.Snapshot()
	return Stats{
		Hits: counts.Hits, Misses: counts.Misses, Shared: d.shared.Load(), Evictions: counts.Evictions,
		Entries: d.entries.EstimatedSize(), Bytes: int(d.entries.WeightedSize()),
	}
}

// evictions records what otter reports, except hits and misses. The driver counts these,
// because an entry that is too old is not a hit.
type evictions struct{ *stats.Counter }

func (evictions) RecordHits(int)   {}
func (evictions) RecordMisses(int) {}

// overhead is the number of bytes that an entry takes besides its key and value, for the other
// fields of the record and the data of otter.
const overhead = 512

// kept is what is known about a key. It is never modified.
type kept struct {
	found kv.Found
	since instant // a moment before the request that found or stored the entry was sent
}

func (k *kept) weight() uint32 { return uint32(len(k.found.Key) + len(k.found.Value) + overhead) }

// expired reports whether the entry has expired at an instant, by the wall clock.
func (k *kept) expired(at instant) bool {
	return k.found.Exists && k.found.Expires != 0 && k.found.Expires <= at.wall.Milliseconds()
}

// copy returns a copy of what was found, for a caller that may modify it.
func (k *kept) copy(withValue bool) kv.Found {
	found := k.found
	switch {
	case !withValue:
		found.Value = nil
	case found.Exists:
		found.Value = append([]byte{}, found.Value...)
	}
	return found
}
