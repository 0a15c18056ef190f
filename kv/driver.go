package kv

import (
	"context"
	"iter"
)

// Driver stores records for a [Store]. It is what a provider implements, and
// what middleware wraps; programs call the Store.
//
// The store validates every argument, judges every expiry and chooses every
// outcome. A driver moves records and reports facts: it may rely on keys,
// values and ranges being legal, it answers a condition that did not hold with
// what it found, and it says which of its errors leave the fate of a write
// open. Methods are called concurrently. A driver neither keeps nor changes the
// byte slices and slices of records that it is handed, and gives away the ones
// that it returns.
//
// Errors are *[Error] values with Kind, Indeterminate and Err set; the store
// fills in Op, Provider and Key. Context errors are passed on as they are,
// inside or instead of an *Error.
type Driver interface {
	// Info describes the driver. It is constant and costs nothing.
	Info() Info

	// Get reads the record under key with strong consistency and reports
	// whether there is one, expired or not. Unless withValue is set the value is
	// not wanted, and not transferred where the service can avoid it.
	Get(ctx context.Context, key string, withValue bool) (Record, bool, error)

	// Put writes rec, replacing all that is stored under its key, if cond holds.
	// An error that is no *Error, or one with Indeterminate set, tells the store
	// that the record may have been written.
	Put(ctx context.Context, rec Record, cond Condition) (Outcome, error)

	// Delete removes the record under key if cond holds; cond.Absent is never
	// set. Without a condition an absent key is Done. Errors are those of Put.
	Delete(ctx context.Context, key string, cond Condition) (Outcome, error)

	// Scan yields the records of one shard with r.From <= key <= r.To in
	// ascending byte order of the key, fetching as the loop asks for more.
	//
	// An error beside a record with a Key concerns that record alone (skykv did
	// not write it, or it is damaged): the scan goes on behind it. An error
	// beside an empty Key ends the scan.
	Scan(ctx context.Context, r Range) iter.Seq2[Record, error]

	// GetMany reads the records under keys, which are distinct, in any number
	// and order. It returns all that it could read; a *[BatchError] names the
	// keys that failed, any other error stands for every key not returned.
	// [GetEach] is a complete implementation.
	GetMany(ctx context.Context, keys []string) ([]Record, error)

	// WriteMany applies writes, whose keys are distinct, in any number and order
	// and without atomicity. A *[BatchError] names the keys that failed, any
	// other error stands for all of them; what Put says of errors holds for each.
	// [WriteEach] is a complete implementation.
	WriteMany(ctx context.Context, writes []Write) error

	// Close releases what the driver opened itself, and nothing it was given.
	// The store calls it once at most; of middleware see [Wrap].
	Close() error
}

// Info describes a driver to its store.
type Info struct {
	// Name is the provider's name in errors, and part of every version: two
	// drivers with one name must agree on what their native versions mean. It has
	// at most 255 bytes.
	Name string

	// Shards is the number of shards that a scan reads and merges, at least 1.
	// The shard of a key is [Shard](key, Shards).
	Shards int

	// MaxKeyLen and MaxValueLen are limits in bytes where they are below
	// [MaxKeyLen] and [MaxValueLen]; zero stands for those.
	MaxKeyLen, MaxValueLen int
}

// Record is an entry as drivers store it.
type Record struct {
	Key   string
	Value []byte // never nil in a Put or a Write

	// Expires is the instant of expiry in milliseconds since the Unix epoch, and
	// zero for a record that does not expire. A record is expired when
	// now >= Expires; only the store judges that.
	Expires int64

	// Token is drawn at random for every write ([TokenLen] characters of the
	// base64url alphabet) and stored with the record: it lets the store recognise
	// its own write after a lost response. The last characters may differ between
	// the attempts of a write: see [AttemptToken].
	Token string

	// Version is the service's own name for this state of the record, such as an
	// ETag, or the Token where the service has none; what to heed then, AttemptToken
	// says. It is set on records that a driver returns, and not looked at on those
	// it is given.
	Version string
}

// Condition restricts a write. The zero Condition, but for Now, always holds.
type Condition struct {
	// Absent asks for a key without a record, or with one that is expired at
	// Now. A driver that cannot judge the expiry within the request reports the
	// record it found, expired or not: the store then replaces it by Version.
	Absent bool

	// Version, when set, asks for a record whose native version equals it.
	Version string

	// Now is the clock's reading at the start of the call, in milliseconds since
	// the Unix epoch. The store always sets it; in the writes of [WriteEach], which
	// have no condition, it is zero.
	Now int64
}

// Outcome is what became of a Put or Delete that ended without an error.
type Outcome struct {
	// Done: the condition held, and the write is durable.
	Done bool

	// Version is the native version of the record that a Put wrote, when Done.
	Version string

	// Exists and Found report the record that made the condition fail (the value
	// may be left out), read after the failure. Exists is false when there is none.
	Exists bool
	Found  Record

	// Retried: the condition failed, but an earlier attempt of this very call was
	// sent and its answer lost, so that attempt may have been applied.
	Retried bool
}

// Range selects a part of one shard. From and To are never empty and need not
// be keys: To is greater than every key of the range.
type Range struct {
	Shard    int
	From, To string // From <= key <= To

	// Limit is about how many records the caller is going to take: a page size
	// for the service, at least 1. It does not end the scan.
	Limit int

	// WithValue is unset when values are not wanted, as for Get.
	WithValue bool

	// Now, when set, allows the driver to leave out records that are expired at
	// Now (milliseconds since the Unix epoch).
	Now int64
}

// Write is one element of a batch: a record to put, or a key to delete.
type Write struct {
	Record // for a deletion only Key is set
	Delete bool
}

// GetEach implements [Driver].GetMany by calls of d.Get, at most parallel of
// them at once.
func GetEach(ctx context.Context, d Driver, keys []string, parallel int) ([]Record, error) {
	recs := make([]Record, len(keys))
	errs := each(len(keys), parallel, func(i int) error {
		rec, ok, err := d.Get(ctx, keys[i], true)
		if err == nil && ok {
			recs[i] = rec
		}
		return err
	})
	n := 0
	for _, rec := range recs {
		if rec.Key != "" {
			recs[n] = rec
			n++
		}
	}
	return recs[:n], batchError(errs, func(i int) string { return keys[i] })
}

// WriteEach implements [Driver].WriteMany by calls of d.Put and d.Delete, at
// most parallel of them at once.
func WriteEach(ctx context.Context, d Driver, writes []Write, parallel int) error {
	errs := each(len(writes), parallel, func(i int) error {
		w := writes[i]
		var err error
		if w.Delete {
			_, err = d.Delete(ctx, w.Key, Condition{})
		} else {
			_, err = d.Put(ctx, w.Record, Condition{})
		}
		return err
	})
	return batchError(errs, func(i int) string { return writes[i].Key })
}
