package kv

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
)

// Driver stores records for a [Store]. It is what a provider implements, and what
// middleware wraps; programs call the Store.
//
// The store validates every argument, judges every expiry and decides every
// outcome. A driver moves records and reports facts. It may rely on keys, values
// and ranges being legal. When a condition does not hold it reports what it found.
// It says which of its errors leave the fate of a write open. The example of this
// type is a complete driver of fifty lines.
//
// # Rules for every method
//
//   - Methods are called concurrently.
//   - A driver neither keeps nor changes the byte slices, and the slices of writes
//     and keys, that it is handed. What it returns belongs to the caller.
//   - A method ends soon after its context ends, with the context's error.
//   - No lock, transaction or connection from a limited number is held while an
//     iterator yields: the loop's body may use the store, and may take hours.
//   - An iterator that is broken off leaves nothing running.
//   - A driver keeps no clock. A request says what time it is for the call, and no
//     later request may be judged by that.
//
// # Errors
//
// Errors are *[Error] values with Kind, MayHaveApplied and Err set; the store fills
// in Op, Provider and Key. Kind is
//
//   - [ErrNotProvisioned] when the table, database or file is missing,
//   - [ErrIncompatible] for a record that skykv did not write,
//   - [ErrPermission], [ErrThrottled] and [ErrUnavailable] for what the service says,
//   - [ErrInvalidVersion] for a native version that cannot be one of the service's,
//   - [ErrUnsupported] for a kind of write or of condition that the driver does not
//     know ([UnsupportedWrite] makes it),
//   - [ErrClosed] when the driver was closed, by itself or by what it is over. The
//     store refuses calls after Close by itself, so that drivers return ErrClosed
//     only for calls that were under way,
//   - nil when none of these describes it.
//
// A driver never returns [ErrNotFound], [ErrConditionFailed] or [ErrIndeterminate]:
// it reports what it found, and sets MayHaveApplied. Context errors are passed on as
// they are, inside an *Error or instead of one. No message holds a value or a secret.
//
// # Expired records
//
// Whether a record is expired is for the store to judge: drivers return expired
// records like all others. A driver, or its service, may remove a record for good
// once [ExpiryGrace] has passed since its expiry, by the clock of the host or the
// service and, where a driver does it within a write, by the Now of that write too.
// With [Info].NoGrace the service may remove it from its expiry on.
//
// # How Driver grows
//
// The methods are final. What comes later comes as a kind of [Write] or
// [Condition], as a field of a request that asks for more than before, or as a field
// of [Info] that says what a driver can do, and belongs to a [Level]. Drivers answer
// a kind that they do not know with ErrUnsupported. Middleware is told of nothing
// above the Level that it was written for: see [Wrap].
type Driver interface {
	// Info describes the driver. It is constant and costs nothing: it is called often, so
	// that its functions are made once.
	Info() Info

	// Get reads the record under a key with strong consistency.
	Get(ctx context.Context, req GetRequest) (Found, error)

	// GetMany reads the records under distinct keys, in any number and order, and
	// yields each key as soon as its answer is there: one that is throttled must not
	// hold up the others. Every key is yielded once, also when it has no record.
	//
	// An error beside a Found with a Key concerns that key alone. An error beside an
	// empty Key ends the loop and concerns every key that was not yielded.
	// [GetEach] is a complete implementation.
	GetMany(ctx context.Context, req GetManyRequest) iter.Seq2[Found, error]

	// Scan yields the records of one shard with req.From <= key <= req.To in
	// ascending byte order of the key, and fetches as the loop asks for more.
	//
	// An error beside a record with a Key concerns that record alone, which skykv did
	// not write or which is damaged; the scan goes on after it. An error beside an
	// empty Key ends the scan.
	Scan(ctx context.Context, req ScanRequest) iter.Seq2[Record, error]

	// Write carries out one write if its condition holds. Deleting a key without a
	// record is Done unless there is a condition. The store deletes under CondNone and
	// CondVersion only. An error that is no *Error, or one
	// with MayHaveApplied set, tells the store that the write may have been applied.
	Write(ctx context.Context, req WriteRequest) (Outcome, error)

	// WriteMany carries out writes of distinct keys, in any number and order, each by
	// itself. It returns a result for each, in their order. [WriteEach] is a complete
	// implementation.
	WriteMany(ctx context.Context, req WriteManyRequest) []WriteResult

	// WriteAtomic carries out all writes, if the conditions of all hold, or none. The
	// keys are distinct, of one [Group], and at most [Info].MaxAtomicWrites. The
	// store does not call it when that is 0; the method then returns ErrUnsupported.
	WriteAtomic(ctx context.Context, req WriteManyRequest) (AtomicOutcome, error)

	// Close releases what the driver opened itself, and nothing that it was given.
	// The store calls it once. Calls under way may fail.
	Close() error
}

// Info describes a driver to its store.
type Info struct {
	// Name is the provider's name in errors, and part of every version: two
	// drivers with one name must agree on what their native versions mean. It has
	// at most 255 bytes.
	Name string

	// Namespace is what stands before every key as it is stored, in a view that
	// [Store.Namespace] made. Drivers leave it empty.
	Namespace string

	// Shards is the number of shards that a scan reads and merges, at least 1.
	Shards int

	// Shard returns the shard of a key, and ShardOfPrefix the only shard that holds
	// keys with a prefix, or false when several may. Drivers with several shards set
	// both, as a rule to [Shard] and [ShardOfPrefix] of their number of shards. Where
	// ShardOfPrefix is nil, every scan reads all shards.
	Shard         func(key string) int
	ShardOfPrefix func(prefix string) (int, bool)

	// MaxKeyLen is the longest key that the driver can hold, in bytes, and MaxValueLen the
	// longest value: at most [MaxKeyLen] and [MaxLargeValueLen]. Zero stands for
	// [MaxKeyLen] and [MaxValueLen]. Middleware finds both filled in. A store writes
	// values of more than [MaxValueLen] bytes with [MaxValue] only: see [Store.Info].
	MaxKeyLen, MaxValueLen int

	// MaxAtomicWrites is how many writes WriteAtomic takes at most; 0 means that the
	// driver has no such thing.
	MaxAtomicWrites int

	// NoGrace says that the service removes records at its own time from their expiry on,
	// without [ExpiryGrace], since the layout is one that other programs laid down. It is
	// for providers of this module alone: the conformance suite fails any other.
	NoGrace bool

	// ReservedKey, where it is set, reports whether a legal key is one that the driver cannot
	// hold, since the layout is one that other programs laid down, and its service reserves
	// the name. The store refuses such a key with ErrInvalidKey before any I/O, in reads too,
	// and scans pass over it. Prefixes and the bounds of scans may be such keys. It is for
	// providers of this module alone, as NoGrace is.
	ReservedKey func(key string) bool

	// EndsCalls says that the store need not end the calls under way at Close, and may
	// save what that takes: no method ever waits for a network, a disk or another
	// process, or the driver's Close ends the calls by itself, those without a deadline
	// too. Middleware that waits by itself clears it.
	EndsCalls bool

	// Immediate says that no method ever waits for a network, a disk or another process.
	// The store then carries out each update by a read and a write of its own: to combine
	// them would cost more than it saves. Middleware that waits by itself clears it.
	Immediate bool

	// Count returns how many records Scan would yield for a request that are not expired
	// at its Now. It is for services that count faster than they are read, and nil
	// elsewhere. It returns ErrIncompatible where it meets a record that skykv did not
	// write; the store then scans, and names the record. Middleware is not told of it: it
	// may change what is scanned, so that a store with middleware scans.
	Count func(ctx context.Context, req ScanRequest) (int, error)
}

// Record is an entry as drivers store it.
type Record struct {
	Key   string
	Value []byte // never nil in a put

	// Expires is the instant of expiry in milliseconds since the Unix epoch, and
	// zero for a record that does not expire. A record is expired when
	// now >= Expires; only the store judges that.
	Expires int64

	// Token is drawn at random for every write ([TokenLen] characters of the
	// base64url alphabet) and stored with the record: it lets the store recognise
	// its own write after a lost response. The last characters may differ between
	// the attempts of a write: see [AttemptToken].
	Token string

	// Predecessors names the writes that the record's own write replaced, for the
	// store alone to read: printable ASCII without quotes and backslashes, at most
	// [MaxPredecessorsLen] bytes, empty for most records. It is stored and returned
	// with the record, also by reads without values.
	Predecessors string

	// Version is the service's own name for this state of the record, such as an
	// ETag, or the Token where the service has none (see AttemptToken). Drivers set
	// it on records that they return, and do not look at it in a write.
	Version string
}

// MaxPredecessorsLen is the greatest length of a [Record]'s Predecessors, in bytes.
const MaxPredecessorsLen = 256

// Found is what a read found under a key.
type Found struct {
	Record // without a record only Key is set
	Exists bool
}

// GetRequest asks for the record under a key.
type GetRequest struct {
	Key string

	// WithValue is unset when the value is not wanted. It is then not transferred
	// where the service can avoid it.
	WithValue bool

	// Stale permits an answer that is eventually consistent, where that costs less.
	Stale bool

	Meter *Meter // counts what the service is asked; may be nil
}

// GetManyRequest asks for the records under keys, which are distinct.
type GetManyRequest struct {
	Keys      []string
	WithValue bool // as in GetRequest
	Stale     bool // as in GetRequest
	Meter     *Meter
}

// ScanRequest asks for a part of one shard. From and To are never empty and need
// not be keys: To is greater than every key of the range.
type ScanRequest struct {
	Shard    int
	From, To string // From <= key <= To

	// Alone says that the store reads no other shard for this scan, since all keys of
	// the range are in this one. Drivers need not look at it.
	Alone bool

	// Limit is about how many records the caller is going to take: a page size
	// for the service, at least 1. It does not end the scan.
	Limit int

	WithValue bool // as in GetRequest
	Stale     bool // as in GetRequest

	// MaxValueLen is the greatest length of the values that the store writes, at least 1: a
	// driver that must guess how large a page is may go by it. Others may have written
	// larger ones.
	MaxValueLen int

	// Now, when set, lets the driver leave out records that are expired at Now
	// (milliseconds since the Unix epoch).
	Now int64

	Meter *Meter
}

// WriteKind says what a [Write] does. The zero WriteKind is none.
type WriteKind uint8

// The kinds of writes. All are of [Level1].
const (
	// KindPut stores the record in place of all that is there under its key.
	KindPut WriteKind = iota + 1

	// KindDelete removes the record under Key.
	KindDelete

	// KindTouch replaces Expires, Token and Predecessors of the record under Key, and
	// leaves its value alone. Its condition is CondVersion or CondLive.
	KindTouch

	// KindCheck changes nothing: it adds a condition to a WriteAtomic, the only method
	// that it is handed to. A driver whose service cannot check without writing may
	// write the record back, with the Token of the Write. It then clears Predecessors.
	KindCheck
)

var kindNames = [...]string{"no write", "a put", "a deletion", "a touch", "a check"}

func (k WriteKind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("a write of kind %d", uint8(k))
}

// Write is one change of one record.
type Write struct {
	Kind WriteKind

	// Record is what to write. For a deletion or a check only Key and Token are set,
	// for a touch all but Value. The Token is set in every write.
	Record

	Condition Condition
}

// ConditionKind says what a [Condition] asks for.
type ConditionKind uint8

// The kinds of conditions. All are of [Level1].
const (
	// CondNone always holds.
	CondNone ConditionKind = iota

	// CondAbsent asks for a key without a record, or with one that is expired at Now.
	CondAbsent

	// CondVersion asks for a record whose native version is Condition.Version.
	CondVersion

	// CondLive asks for a record that is not expired at Now.
	CondLive
)

var conditionNames = [...]string{"no condition", "CondAbsent", "CondVersion", "CondLive"}

func (k ConditionKind) String() string {
	if int(k) < len(conditionNames) {
		return conditionNames[k]
	}
	return fmt.Sprintf("a condition of kind %d", uint8(k))
}

// Condition restricts a write. The zero Condition always holds.
//
// A driver that cannot judge the expiry within its request answers CondAbsent and
// CondLive with the record that it found, expired or not, as one that failed: the
// store then judges, and writes under the version of what was found.
type Condition struct {
	Kind    ConditionKind
	Version string // for CondVersion; never empty there
}

// WriteRequest asks for one write.
type WriteRequest struct {
	Write

	// Now is the clock's reading at the start of the call, in milliseconds since the
	// Unix epoch. It judges this write and nothing else.
	Now int64

	Meter *Meter
}

// WriteManyRequest asks for writes of distinct keys.
type WriteManyRequest struct {
	Writes []Write
	Now    int64 // as in WriteRequest
	Meter  *Meter
}

// One returns the request for write i alone.
func (r WriteManyRequest) One(i int) WriteRequest {
	return WriteRequest{Write: r.Writes[i], Now: r.Now, Meter: r.Meter}
}

// Outcome is what became of a write that ended without an error.
type Outcome struct {
	// Done: the condition held, and the write is durable.
	Done bool

	// Version is the native version of the record that a put or touch stored, when
	// Done.
	Version string

	// Exists and Found report the record that made the condition fail, read after
	// the failure; the value may be left out. Exists is false when there is none.
	Exists bool
	Found  Record

	// MayHaveApplied: the condition failed, but an earlier attempt of this very call
	// was sent and its answer lost, so that it may have been applied.
	MayHaveApplied bool
}

// WriteResult is what became of one write of a batch: an Outcome, or an error as
// [Driver].Write returns it.
type WriteResult struct {
	Outcome
	Err error
}

// AtomicOutcome is what became of a [Driver].WriteAtomic that ended without an
// error.
type AtomicOutcome struct {
	// Done: all conditions held, and all writes are durable.
	Done bool

	// Versions are the native versions of the records that puts and touches stored,
	// when Done, in the order of the writes; empty for other kinds.
	Versions []string

	// Found reports, when not Done, what there is under the keys, read after the
	// failure, in the order of the writes. It is nil for a key that the driver did not
	// look at. The values may be left out.
	Found []*Found

	// MayHaveApplied is as in [Outcome]: an earlier attempt may have been, or may yet
	// be, applied.
	MayHaveApplied bool
}

// Meter counts what a service is asked for the calls that carry it, whose answers
// and errors have no place for that. It is safe for concurrent use. The methods of
// a nil Meter do nothing.
type Meter struct {
	outer              *Meter
	requests, attempts atomic.Int64
}

// NewMeter returns a Meter that adds what it counts to outer as well, which may be
// nil. Middleware that counts puts a new one over that of the request.
func NewMeter(outer *Meter) *Meter { return &Meter{outer: outer} }

// Add counts requests, and the attempts that they took: the first ones and the
// repetitions. Drivers call it for every request that ended, however it ended.
func (m *Meter) Add(requests, attempts int) {
	for ; m != nil; m = m.outer {
		m.requests.Add(int64(requests))
		m.attempts.Add(int64(attempts))
	}
}

// Requests returns the number of requests.
func (m *Meter) Requests() int { return int(m.requests.Load()) }

// Attempts returns the number of attempts at them.
func (m *Meter) Attempts() int { return int(m.attempts.Load()) }

// UnsupportedWrite returns the error of a driver that does not know the kind of a
// write or of its condition. Nothing was written.
func UnsupportedWrite(w Write) *Error {
	return &Error{Kind: ErrUnsupported, Err: fmt.Errorf("the driver has no way to carry out %s under %s", w.Kind, w.Condition.Kind)}
}

// GetEach implements [Driver].GetMany by calls of d.Get, at most parallel of
// them at once.
func GetEach(ctx context.Context, d Driver, req GetManyRequest, parallel int) iter.Seq2[Found, error] {
	return func(yield func(Found, error) bool) {
		type answer struct {
			found Found
			err   error
		}
		ctx, cancel := context.WithCancel(ctx)
		answers, stop := make(chan answer), make(chan struct{})
		var reading sync.WaitGroup
		defer reading.Wait()
		defer cancel()
		defer close(stop)
		var next atomic.Int64
		for range min(len(req.Keys), max(parallel, 1)) {
			reading.Go(func() {
				for i := int(next.Add(1)) - 1; i < len(req.Keys); i = int(next.Add(1)) - 1 {
					found, err := d.Get(ctx, GetRequest{Key: req.Keys[i], WithValue: req.WithValue, Meter: req.Meter})
					found.Key = req.Keys[i]
					select {
					case answers <- answer{found, err}:
					case <-stop:
						return
					}
				}
			})
		}
		for range req.Keys {
			if a := <-answers; !yield(a.found, a.err) {
				return
			}
		}
	}
}

// WriteEach implements [Driver].WriteMany by calls of d.Write, at most parallel of
// them at once.
func WriteEach(ctx context.Context, d Driver, req WriteManyRequest, parallel int) []WriteResult {
	results := make([]WriteResult, len(req.Writes))
	var next atomic.Int64
	var writing sync.WaitGroup
	for range min(len(results), max(parallel, 1)) {
		writing.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(results); i = int(next.Add(1)) - 1 {
				results[i].Outcome, results[i].Err = d.Write(ctx, req.One(i))
			}
		})
	}
	writing.Wait()
	return results
}
