package cache

import (
	"fmt"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/maypok86/otter/v2/stats"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/lease"
)

// DefaultMaxBytes is how much memory a Cache takes unless [Options].MaxBytes says otherwise.
const DefaultMaxBytes = 64 << 20

// Options of [New].
type Options struct {
	// MaxAge is how old an answer from memory may be: at least a millisecond.
	MaxAge time.Duration

	// MaxBytes is about how much memory the entries may take. 0 stands for DefaultMaxBytes.
	// An entry that is larger is not kept.
	MaxBytes int

	// Absent keeps the absence of keys as well. A key that another process creates is then
	// found after at most MaxAge.
	Absent bool

	// Leases, if set, let one process at a time compute a key in [Cache.GetOrLoad]. All
	// processes must use leases of the same names in the same store. They take up to 1,024
	// names, "load:0000" to "load:1023", whose small records stay in the store: give the leases a
	// [kv.Store.Namespace] of their own. When a process dies while it computes, another one
	// takes over after the TTL of the leases, so that a second or two suit most.
	Leases *lease.Leases
}

// Cache is a view of a store that keeps in memory what it has read and written. Its methods
// are those of the store, but for [Cache.GetOrLoad] and [Cache.Stats]. It closes together
// with the store. It is safe for concurrent use.
type Cache struct {
	*kv.Store

	exact  *kv.Store // reads the store, and keeps what it reads
	leases *lease.Leases
	turns  turns
	driver *driver
}

// New returns a Cache of what is in store. The Cache stays with the store until that closes:
// it is for the life of a program, not of a request. Options out of their bounds are an error
// that matches [kv.ErrInvalidOption].
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

// Stats counts what a Cache has done, and describes what it holds.
type Stats struct {
	// Hits and Misses are the keys that Get, Exists and GetMany found in memory and did not.
	Hits, Misses uint64

	// Shared are the misses that waited for a request under way, and shared the next one.
	Shared uint64

	// Evictions are the entries that were removed to make room.
	Evictions uint64

	Entries int // that are in memory
	Bytes   int // that the entries take: see [Options].MaxBytes
}

// Stats returns the counts since New.
func (c *Cache) Stats() Stats {
	d := c.driver
	counts := d.counts.Snapshot()
	return Stats{
		Hits: counts.Hits, Misses: counts.Misses, Shared: d.shared.Load(), Evictions: counts.Evictions,
		Entries: d.entries.EstimatedSize(), Bytes: int(d.entries.WeightedSize()),
	}
}

// evictions takes what otter records, without hits and misses: those are the driver's to
// count, since an entry that is too old is no hit.
type evictions struct{ *stats.Counter }

func (evictions) RecordHits(int)   {}
func (evictions) RecordMisses(int) {}

// overhead is what an entry takes beside its key and value: the record, its token, version and
// predecessors, and what otter needs for it.
const overhead = 512

// kept is what is known about a key. It is not changed.
type kept struct {
	found kv.Found
	since instant // before the request was sent that found or stored it
}

func (k *kept) weight() uint32 { return uint32(len(k.found.Key) + len(k.found.Value) + overhead) }

// copy returns what was found, as the caller's own.
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
