package kv

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
)

// Driver stores records for a [Store]. Providers implement it, and middleware wraps
// it. Programs call the Store.
//
// The store validates every argument and decides what every result means. A driver
// moves records and reports facts. It may assume that keys, values and ranges are legal.
// When a condition does not hold, the driver reports the record that it found. With the
// error of a write, it reports whether the write may have been applied. The example of
// this type is a complete driver.
//
// # Rules for every method
//
//   - Methods are called concurrently.
//   - A driver neither keeps nor changes the slices that it receives. The slices that it
//     returns belong to the caller.
//   - When its context ends, a method soon returns the context's error.
//   - An iterator holds no lock, no transaction and no connection of a limited pool while
//     it yields, because the loop's body may use the store and may take hours.
//   - An iterator leaves nothing running when the loop ends early.
//   - A driver checks by the Now of a request, not by a clock, whether a record is expired.
//     The next request may have an earlier Now.
//
// # Errors
//
// A driver's errors are *[Error] values that set Kind, MayHaveApplied and Err. The store
// sets Op, Provider and Key. Kind is
//
//   - [ErrNotProvisioned] when the table, database or file is missing,
//   - [ErrIncompatible] for a record that skykv did not write,
//   - [ErrPermission], [ErrThrottled] or [ErrUnavailable], according to the service,
//   - [ErrInvalidVersion] for a native version that the service cannot have issued,
//   - [ErrUnsupported] for a kind of write or of condition that the driver does not
//     know (see [UnsupportedWrite]),
//   - [ErrClosed] for a call that ended because the driver, or the client that it uses,
//     was closed (the store itself refuses calls after its Close),
//   - nil when none of these describes the error.
//
// A driver never returns [ErrNotFound], [ErrConditionFailed] or [ErrIndeterminate].
// Instead it reports what it found, and sets MayHaveApplied. It returns a context error
// as it is, or as the Err of an *Error. No message holds a value or a secret.
//
// # Expired records
//
// A driver checks whether a record is expired only if the request has a Now. Otherwise it
// returns expired records like all others, and the store checks their expiry.
//
// A driver or its service may remove a record when [ExpiryGrace] has passed since the
// record's expiry, by the clock of the host or of the service. A driver that removes a
// record during a write must also check that the grace has passed by the Now of the
// write. With [Info].NoGrace the service may remove a record as soon as it expires.
//
// # How Driver grows
//
// The set of methods is final. An extension is a new kind of [Write] or [Condition], a
// new field of a request that asks for more, or a new field of [Info] that says what a
// driver can do. Every extension belongs to a [Level]. A driver returns ErrUnsupported
// for a kind that it does not know. Middleware never receives an extension above the
// Level that it was written for: see [Wrap].
type Driver interface {
	// Info describes the driver. The result never changes. Info is called often, so it
	// must be fast: its function values are made once, not in every call.
	Info() Info

	// Get reads the record under a key, with strong consistency unless req.Stale is set.
	Get(ctx context.Context, req GetRequest) (Found, error)

	// GetMany reads the records under any number of distinct keys. It yields every key
	// once, including keys without a record, in any order. It yields a key as soon as
	// the response for that key has arrived: a throttled key must not delay the others.
	//
	// An error with a Found that has a Key is about that key alone. An error with an
	// empty Key ends the iteration and is about every key that was not yielded.
	// [GetEach] is a complete implementation.
	GetMany(ctx context.Context, req GetManyRequest) iter.Seq2[Found, error]

	// Scan yields the records of shard req.Shard with req.From <= key <= req.To, in
	// ascending byte order of the key. It fetches more as the loop asks for more.
	//
	// An error with a record that has a Key is about that record alone: skykv did not
	// write it, or it is damaged. The scan goes on after it. An error with an empty Key
	// ends the scan.
	Scan(ctx context.Context, req ScanRequest) iter.Seq2[Record, error]

	// Write carries out one write if its condition holds. A deletion without a condition
	// is Done even if there is no record. Deletions have no conditions except CondNone
	// and CondVersion. An error that is not an *Error, or that has MayHaveApplied set,
	// tells the store that the write may have been applied.
	Write(ctx context.Context, req WriteRequest) (Outcome, error)

	// WriteMany carries out any number of writes of distinct keys, in any order. Each
	// write succeeds or fails by itself. The results are in the order of req.Writes.
	// [WriteEach] is a complete implementation.
	WriteMany(ctx context.Context, req WriteManyRequest) []WriteResult

	// WriteAtomic carries out all writes if all their conditions hold, and otherwise
	// none. There are at most [Info].MaxAtomicWrites writes, of distinct keys of one
	// [Group]. A driver whose MaxAtomicWrites is 0 returns ErrUnsupported; the store
	// does not call its WriteAtomic.
	WriteAtomic(ctx context.Context, req WriteManyRequest) (AtomicOutcome, error)

	// Close releases what the driver itself opened, but nothing that was passed to the
	// driver. The store calls Close once. Calls that are still running may fail.
	Close() error
}

// Info describes a driver to its store.
type Info struct {
	// Name is the provider's name in errors, and a part of every version. Native
	// versions must have the same meaning in all drivers of the same name. Name has at
	// most 255 bytes.
	Name string

	// Namespace is the prefix of every stored key, in a view that [Store.Namespace]
	// returned. Drivers leave it empty.
	Namespace string

	// Shards is the number of shards that a scan reads and merges, at least 1.
	Shards int

	// Shard returns the shard of a key. ShardOfPrefix returns the one shard that holds
	// all keys with a prefix, or false if several shards may hold such keys. A driver
	// with several shards sets both. Most drivers use the functions [Shard] and
	// [ShardOfPrefix], with their number of shards. If ShardOfPrefix is nil, every scan
	// reads all shards.
	Shard         func(key string) int
	ShardOfPrefix func(prefix string) (int, bool)

	// MaxKeyLen and MaxValueLen are the lengths in bytes of the longest key and of the
	// longest value that the driver can store, at most [MaxKeyLen] and
	// [MaxLargeValueLen]. Zero means the defaults, [MaxKeyLen] and [MaxValueLen]. In an
	// Info that middleware receives, neither is zero. A store writes values of more than
	// [MaxValueLen] bytes only with the option [MaxValue]: see [Store.Info].
	MaxKeyLen, MaxValueLen int

	// MaxAtomicWrites is the greatest number of writes in one WriteAtomic, at least 8. 0
	// means that the driver does not support WriteAtomic.
	MaxAtomicWrites int

	// NoGrace reports whether the service may remove a record as soon as it expires, without
	// [ExpiryGrace], because other programs define the layout of the records. Only
	// providers of this module may set NoGrace: any other driver that does so fails the
	// conformance suite.
	NoGrace bool

	// ReservedKey reports whether the service reserves key. The driver cannot store a record
	// under such a key, although the key is legal. The store refuses a reserved key with
	// ErrInvalidKey before any I/O, even in reads, and scans skip it. A prefix or a bound
	// of a scan may be a reserved key. Nil means that no key is reserved.
	//
	// ReservedKey is for layouts that other programs define. As with NoGrace, only
	// providers of this module may set it.
	ReservedKey func(key string) bool

	// EndsCalls is true if running calls end without the store's help when the store is
	// closed. The store then saves time in every call. A driver sets EndsCalls in two
	// cases: if no method ever waits for a network, a disk or another process, or if the
	// driver's own Close ends all running calls. Middleware that waits must clear EndsCalls.
	EndsCalls bool

	// Immediate reports whether no method ever waits for a network, a disk or another
	// process. If so, the store uses one read and one write for each update, because
	// combining updates would take longer. Middleware that waits must clear Immediate.
	Immediate bool

	// Count returns how many of the records that Scan would yield for req are not
	// expired at req.Now. A driver sets Count only if its service counts records faster
	// than it returns them. If Count notices a record that skykv did not write, it returns
	// ErrIncompatible. The store then scans, to name that record. A store with middleware
	// does not call Count, because the middleware may change what a scan yields.
	Count func(ctx context.Context, req ScanRequest) (int, error)
}

// Record is an entry as drivers store it.
type Record struct {
	Key   string
	Value []byte // never nil in a put

	// Expires is the instant of expiry in milliseconds since the Unix epoch, or zero
	// if the record does not expire. A record is expired when now >= Expires.
	Expires int64

	// Token is a random text that is different in every write: [TokenLen] characters of
	// the base64url alphabet. It is stored with the record, and after a lost response the
	// store recognises its own write by it. The last four characters may differ between the
	// attempts of one write: see [AttemptToken].
	Token string

	// Predecessors names the writes that this record replaced. Only the store interprets
	// it. It is printable ASCII without quotes and backslashes, has at most
	// [MaxPredecessorsLen] bytes, and is empty in most records. It is stored and returned
	// with the record, even by reads without values.
	Predecessors string

	// Version is the service's own name for this state of the record, such as an ETag.
	// If the service has no such name, Version is the Token (see AttemptToken). Drivers
	// set Version in the records that they return, and ignore it in a write.
	Version string
}

// MaxPredecessorsLen is the greatest length of a [Record]'s Predecessors, in bytes.
const MaxPredecessorsLen = 256

// Found is what a read found under a key.
type Found struct {
	Record // only Key is set if there is no record
	Exists bool
}

// GetRequest asks for the record under a key.
type GetRequest struct {
	Key string

	// WithValue is false if the caller does not need the value. The driver then avoids
	// the transfer of the value if the service can.
	WithValue bool

	// Stale permits an eventually consistent read, if that costs less.
	Stale bool

	// Prompt is true if the driver must return ErrUnavailable after an attempt without a
	// response, instead of making another attempt. It is set only with WithValue.
	Prompt bool

	Meter *Meter // counts the requests to the service; may be nil
}

// GetManyRequest asks for the records under distinct keys.
type GetManyRequest struct {
	Keys      []string
	WithValue bool // as in GetRequest
	Stale     bool // as in GetRequest
	Meter     *Meter
}

// ScanRequest asks for the records of one shard whose keys are in a range. From and To
// are part of the range. They are never empty, and need not be legal keys.
type ScanRequest struct {
	Shard    int
	From, To string // From <= key <= To

	// Alone is true if the store reads no other shard for this scan, because all keys
	// of the range are in this shard. Drivers may ignore it.
	Alone bool

	// Limit is approximately the number of records that the caller will take, at least
	// 1. It is a hint for the size of a page. The scan does not end after Limit records.
	Limit int

	WithValue bool // as in GetRequest
	Stale     bool // as in GetRequest

	// MaxValueLen is the greatest length of the values that this store writes, at least
	// 1. A driver that must guess the size of a page may use it. Other stores may have
	// written longer values.
	MaxValueLen int

	// Now, if not zero, permits the driver to leave out records that are expired at
	// that time, in milliseconds since the Unix epoch.
	Now int64

	Meter *Meter
}

// WriteKind says what a [Write] does. The zero WriteKind is invalid.
type WriteKind uint8

// The kinds of writes. All are of [Level1].
const (
	// KindPut stores the record in place of any record under its key.
	KindPut WriteKind = iota + 1

	// KindDelete removes the record under Key.
	KindDelete

	// KindTouch replaces Expires, Token and Predecessors of the record under Key, and
	// keeps its value. Its condition is CondVersion or CondLive.
	KindTouch

	// KindCheck writes nothing: it adds a condition to a WriteAtomic. No other method
	// receives it. If the service cannot check a condition without a write, the driver
	// may write the record back, with the Token of the Write and without Predecessors.
	KindCheck
)

var kindNames = [...]string{"no write", "a put", "a deletion", "a touch", "a check"}

// String returns a description of k for messages, such as "a put".
func (k WriteKind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("a write of kind %d", uint8(k))
}

// Write is one change of one record.
type Write struct {
	Kind WriteKind

	// Record is the record to write. A deletion or a check has only Key and Token. A
	// touch has no Value. Every write has a Token.
	Record

	Condition Condition
}

// ConditionKind says what a [Condition] asks for.
type ConditionKind uint8

// The kinds of conditions. All are of [Level1].
const (
	// CondNone always holds.
	CondNone ConditionKind = iota

	// CondAbsent holds if there is no record under the key, or the record is expired at
	// Now.
	CondAbsent

	// CondVersion holds if there is a record with the native version Condition.Version.
	CondVersion

	// CondLive holds if there is a record that is not expired at Now.
	CondLive
)

var conditionNames = [...]string{"no condition", "CondAbsent", "CondVersion", "CondLive"}

// String returns the name of k for messages.
func (k ConditionKind) String() string {
	if int(k) < len(conditionNames) {
		return conditionNames[k]
	}
	return fmt.Sprintf("a condition of kind %d", uint8(k))
}

// Condition restricts a write. The zero Condition always holds.
//
// Some services cannot compare an expiry with Now as part of a write. Their drivers report
// CondAbsent and CondLive as failed for every record that they find, expired or not, and
// return the record. The store then checks the record's expiry. If the condition holds,
// the store writes again, on the condition that the record still has the same version.
type Condition struct {
	Kind    ConditionKind
	Version string // for CondVersion; never empty there
}

// WriteRequest asks for one write.
type WriteRequest struct {
	Write

	// Now is the time by which the driver decides whether the record is expired, in
	// milliseconds since the Unix epoch. It applies to this write only.
	Now int64

	// Prompt is true if the store itself reads the record when it has to. The driver must
	// then return after an attempt that may have been applied, with MayHaveApplied, instead
	// of making another attempt. If the condition fails, and the driver would need another
	// request to find the record, it returns an Outcome without the record.
	Prompt bool

	Meter *Meter
}

// WriteManyRequest asks for writes of distinct keys.
type WriteManyRequest struct {
	Writes []Write
	Now    int64 // as in WriteRequest
	Meter  *Meter
}

// One returns the request for write i only.
func (r WriteManyRequest) One(i int) WriteRequest {
	return WriteRequest{Write: r.Writes[i], Now: r.Now, Meter: r.Meter}
}

// Outcome is the result of a write that ended without an error.
type Outcome struct {
	// Done: the condition held, and the write is durable.
	Done bool

	// Version is the native version of the record that a put or touch stored, if Done.
	Version string

	// If not Done, Exists and Found report the record that was under the key when the
	// condition failed, or later. Exists is false if there was none, or if
	// [WriteRequest].Prompt is set and the driver did not look. Found.Value may be left out.
	Exists bool
	Found  Record

	// MayHaveApplied: the condition failed, but the response to an earlier attempt of
	// this call was lost. That attempt may have been applied.
	MayHaveApplied bool
}

// WriteResult is the result of one write of a batch: an Outcome, or an error as
// [Driver].Write returns it.
type WriteResult struct {
	Outcome
	Err error
}

// AtomicOutcome is the result of a [Driver].WriteAtomic that ended without an error.
type AtomicOutcome struct {
	// Done: all conditions held, and all writes are durable.
	Done bool

	// If Done, Versions has one element for each write, in the order of the writes: the
	// native version of the record that a put or touch stored, or "" for other kinds.
	Versions []string

	// If not Done, Found reports the records that were under the keys when a condition
	// failed, or later, in the order of the writes. An element is nil if the driver did
	// not read that key. The values may be left out.
	Found []*Found

	// MayHaveApplied: a condition failed, but an earlier attempt of this call may have
	// been applied, or may be applied later.
	MayHaveApplied bool
}

// Meter counts the requests that a driver sends to its service. It is a field of the
// requests to the driver, because results and errors have no field for the numbers. It is
// safe for concurrent use. Add of a nil Meter does nothing.
type Meter struct {
	outer              *Meter
	requests, attempts atomic.Int64
}

// NewMeter returns a Meter that also adds its counts to outer, which may be nil.
// Middleware that counts requests sets req.Meter to NewMeter(req.Meter) before it passes req
// on.
func NewMeter(outer *Meter) *Meter { return &Meter{outer: outer} }

// Add adds to the number of requests and to the number of their attempts, which include
// the first attempt of each request. Drivers call Add for every request that ended,
// whatever its result.
func (m *Meter) Add(requests, attempts int) {
	for ; m != nil; m = m.outer {
		m.requests.Add(int64(requests))
		m.attempts.Add(int64(attempts))
	}
}

// Requests returns the number of requests.
func (m *Meter) Requests() int { return int(m.requests.Load()) }

// Attempts returns the number of attempts of the counted requests.
func (m *Meter) Attempts() int { return int(m.attempts.Load()) }

// UnsupportedWrite returns the error for a driver that does not know the kind of w or of
// its condition, and so has written nothing.
func UnsupportedWrite(w Write) *Error {
	return &Error{Kind: ErrUnsupported, Err: fmt.Errorf("the driver does not support %s with %s", w.Kind, w.Condition.Kind)}
}

// GetEach implements [Driver].GetMany by calls of d.Get. The argument parallel is the
// greatest number of calls at the same time.
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
					found, err := d.Get(ctx, GetRequest{Key: req.Keys[i], WithValue: req.WithValue, Stale: req.Stale, Meter: req.Meter})
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

// WriteEach implements [Driver].WriteMany by calls of d.Write. The argument parallel is the
// greatest number of calls at the same time.
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
