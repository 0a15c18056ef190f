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
// The store validates every argument, judges every expiry and decides every outcome. A
// driver moves records and reports facts. It may rely on legal keys, values and
// ranges. When a condition does not hold, it reports the record that it found. It says
// of each error whether the write may have been applied. The example of this type is a
// complete driver of fifty lines.
//
// # Rules for every method
//
//   - Methods are called concurrently.
//   - A driver neither keeps nor changes the slices that it receives. What it returns
//     belongs to the caller.
//   - A method ends soon after its context ends, with the context's error.
//   - An iterator holds no lock, transaction or limited connection while it yields: the
//     loop's body may use the store, and may take hours.
//   - An iterator leaves nothing running when the loop ends early.
//   - A driver keeps no clock. A request has the time for that request alone.
//
// # Errors
//
// Errors are *[Error] values with Kind, MayHaveApplied and Err set. The store fills in
// Op, Provider and Key. Kind is
//
//   - [ErrNotProvisioned] when the table, database or file is missing,
//   - [ErrIncompatible] for a record that skykv did not write,
//   - [ErrPermission], [ErrThrottled] and [ErrUnavailable] for what the service says,
//   - [ErrInvalidVersion] for a native version that cannot be one of the service's,
//   - [ErrUnsupported] for a kind of write or of condition that the driver does not
//     know ([UnsupportedWrite] makes it),
//   - [ErrClosed] for a call that Close ended: Close of the driver, or of the client below
//     it. The store itself refuses calls after its Close,
//   - nil when none of these describes it.
//
// A driver never returns [ErrNotFound], [ErrConditionFailed] or [ErrIndeterminate]: it
// reports what it found, and sets MayHaveApplied. A driver passes on context errors as
// they are, inside an *Error or instead of one. No message holds a value or a secret.
//
// # Expired records
//
// The store judges whether a record is expired. Drivers return expired records like
// all others. A driver, or its service, may remove a record once [ExpiryGrace] has
// passed since its expiry, by the clock of the host or the service. If a driver
// removes it during a write, the grace must also have passed by the Now of that write.
// With [Info].NoGrace the service may remove a record from its expiry on.
//
// # How Driver grows
//
// The methods are final. An extension is a new kind of [Write] or [Condition], a new
// field of a request that asks for more, or a new field of [Info] that says what a
// driver can do. Each belongs to a [Level]. Drivers return ErrUnsupported for a kind
// that they do not know. Middleware never receives what is above the Level that it was
// written for: see [Wrap].
type Driver interface {
	// Info describes the driver. It is constant and fast, because it is called often:
	// its function values are made once, not in every call.
	Info() Info

	// Get reads the record under a key with strong consistency.
	Get(ctx context.Context, req GetRequest) (Found, error)

	// GetMany reads the records under distinct keys, in any number and order. It
	// yields each key as soon as its response is there: a key that is throttled must
	// not delay the others. It yields every key once, also a key without a record.
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
	// record is Done, unless there is a condition. The store deletes under CondNone
	// and CondVersion only. An error that is not an *Error, or that has MayHaveApplied
	// set, tells the store that the write may have been applied.
	Write(ctx context.Context, req WriteRequest) (Outcome, error)

	// WriteMany carries out writes of distinct keys, in any number and order, each by
	// itself. It returns a result for each write, in the order of the writes.
	// [WriteEach] is a complete implementation.
	WriteMany(ctx context.Context, req WriteManyRequest) []WriteResult

	// WriteAtomic carries out all writes if all their conditions hold, and otherwise
	// none. The keys are distinct, of one [Group], and at most [Info].MaxAtomicWrites.
	// Where that is 0, the store does not call the method, and it returns
	// ErrUnsupported.
	WriteAtomic(ctx context.Context, req WriteManyRequest) (AtomicOutcome, error)

	// Close releases what the driver opened itself, and nothing that it received. The
	// store calls it once. Running calls may fail.
	Close() error
}

// Info describes a driver to its store.
type Info struct {
	// Name is the provider's name in errors, and a part of every version. Two drivers
	// with one name must mean the same by their native versions. Name has at most 255
	// bytes.
	Name string

	// Namespace is the prefix of every stored key, in a view that [Store.Namespace]
	// returned. Drivers leave it empty.
	Namespace string

	// Shards is the number of shards that a scan reads and merges, at least 1.
	Shards int

	// Shard returns the shard of a key. ShardOfPrefix returns the only shard with keys
	// of a prefix, or false if there may be several. Drivers with several shards set
	// both; most call [Shard] and [ShardOfPrefix] with their number of shards. Where
	// ShardOfPrefix is nil, every scan reads all shards.
	Shard         func(key string) int
	ShardOfPrefix func(prefix string) (int, bool)

	// MaxKeyLen is the length of the longest key that the driver can hold, in bytes,
	// and MaxValueLen the length of the longest value: at most [MaxKeyLen] and
	// [MaxLargeValueLen]. Zero means [MaxKeyLen] and [MaxValueLen]. Middleware always
	// sees both set. A store writes values of more than [MaxValueLen] bytes only with
	// [MaxValue]: see [Store.Info].
	MaxKeyLen, MaxValueLen int

	// MaxAtomicWrites is the greatest number of writes of one WriteAtomic. 0 means
	// that the driver has no WriteAtomic.
	MaxAtomicWrites int

	// NoGrace says that the service may remove a record from its expiry on, without
	// [ExpiryGrace], because other programs own the layout. Only providers of this
	// module may set it: the conformance suite fails all others.
	NoGrace bool

	// ReservedKey, where it is set, reports whether a legal key is one that the driver cannot
	// hold, since the layout is one that other programs laid down, and its service reserves
	// the name. The store refuses such a key with ErrInvalidKey before any I/O, in reads too,
	// and scans pass over it. Prefixes and the bounds of scans may be such keys. It is for
	// providers of this module alone, as NoGrace is.
	ReservedKey func(key string) bool

	// EndsCalls says that the store need not end running calls at Close, which saves
	// time in every call. A driver sets it if no method ever waits for a network, a
	// disk or another process, or if its own Close ends running calls, even those
	// without a deadline. Middleware that waits must clear it.
	EndsCalls bool

	// Immediate says that no method ever waits for a network, a disk or another
	// process. The store then carries out each update by its own read and write,
	// because combining updates would take longer. Middleware that waits must clear
	// it.
	Immediate bool

	// Count returns the number of records that Scan would yield for a request and that
	// are not expired at its Now. A driver sets it only if its service counts faster
	// than it returns records. Count returns ErrIncompatible for a record that skykv
	// did not write. The store then scans, and names the record. A store with
	// middleware does not call Count, because the middleware may change what is
	// scanned.
	Count func(ctx context.Context, req ScanRequest) (int, error)
}

// Record is an entry as drivers store it.
type Record struct {
	Key   string
	Value []byte // never nil in a put

	// Expires is the instant of expiry in milliseconds since the Unix epoch, or zero
	// if the record does not expire. A record is expired when now >= Expires. Only the
	// store judges that.
	Expires int64

	// Token is drawn at random for every write ([TokenLen] characters of the base64url
	// alphabet) and stored with the record. By it the store recognises its own write
	// after a lost response. The last characters may differ between the attempts of a
	// write: see [AttemptToken].
	Token string

	// Predecessors names the writes that this record replaced. Only the store reads
	// it. It is printable ASCII without quotes and backslashes, at most
	// [MaxPredecessorsLen] bytes, and empty in most records. It is stored and returned
	// with the record, also by reads without values.
	Predecessors string

	// Version is the service's own name for this state of the record, such as an ETag,
	// or the Token where the service has no such name (see AttemptToken). Drivers set
	// it in records that they return, and ignore it in a write.
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

	// WithValue is false when the caller does not want the value. The value is then
	// not transferred where the service can avoid it.
	WithValue bool

	// Stale permits an eventually consistent read, where that costs less.
	Stale bool

	Meter *Meter // counts the requests to the service; may be nil
}

// GetManyRequest asks for the records under distinct keys.
type GetManyRequest struct {
	Keys      []string
	WithValue bool // as in GetRequest
	Stale     bool // as in GetRequest
	Meter     *Meter
}

// ScanRequest asks for a part of one shard. From and To are never empty, and they need
// not be keys. To is greater than every key of the range.
type ScanRequest struct {
	Shard    int
	From, To string // From <= key <= To

	// Alone says that the store reads no other shard for this scan, because all keys
	// of the range are in this one. Drivers may ignore it.
	Alone bool

	// Limit is about how many records the caller will take, at least 1. It is a page
	// size for the service. It does not end the scan.
	Limit int

	WithValue bool // as in GetRequest
	Stale     bool // as in GetRequest

	// MaxValueLen is the greatest length of the values that the store writes, at least
	// 1. A driver that must guess the size of a page may use it. Others may have
	// written larger values.
	MaxValueLen int

	// Now, when set, lets the driver leave out records that are expired at Now, in
	// milliseconds since the Unix epoch.
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

	// KindCheck changes nothing: it adds a condition to a WriteAtomic, the only method
	// that receives it. A driver whose service cannot check without a write may write
	// the record back, with the Token of the Write. It then clears Predecessors.
	KindCheck
)

var kindNames = [...]string{"no write", "a put", "a deletion", "a touch", "a check"}

// String returns the words for a kind in messages.
func (k WriteKind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("a write of kind %d", uint8(k))
}

// Write is one change of one record.
type Write struct {
	Kind WriteKind

	// Record is what to write. In a deletion or a check only Key and Token are set. In
	// a touch all is set but Value. The Token is set in every write.
	Record

	Condition Condition
}

// ConditionKind says what a [Condition] asks for.
type ConditionKind uint8

// The kinds of conditions. All are of [Level1].
const (
	// CondNone always holds.
	CondNone ConditionKind = iota

	// CondAbsent wants a key without a record, or with a record that is expired at
	// Now.
	CondAbsent

	// CondVersion wants a record whose native version is Condition.Version.
	CondVersion

	// CondLive wants a record that is not expired at Now.
	CondLive
)

var conditionNames = [...]string{"no condition", "CondAbsent", "CondVersion", "CondLive"}

// String returns the name of a kind for messages.
func (k ConditionKind) String() string {
	if int(k) < len(conditionNames) {
		return conditionNames[k]
	}
	return fmt.Sprintf("a condition of kind %d", uint8(k))
}

// Condition restricts a write. The zero Condition always holds.
//
// If a driver cannot judge the expiry within its request, it reports CondAbsent and
// CondLive as failed, with the record that it found, expired or not. The store then
// judges, and writes under the version of that record.
type Condition struct {
	Kind    ConditionKind
	Version string // for CondVersion; never empty there
}

// WriteRequest asks for one write.
type WriteRequest struct {
	Write

	// Now is the reading of the clock at the start of the call, in milliseconds since
	// the Unix epoch. It counts for this write alone.
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

// Outcome is the result of a write that ended without an error.
type Outcome struct {
	// Done: the condition held, and the write is durable.
	Done bool

	// Version is the native version of the record that a put or touch stored, when
	// Done.
	Version string

	// Exists and Found report the record that made the condition fail, read after the
	// failure. The value may be left out. Exists is false if there is no record.
	Exists bool
	Found  Record

	// MayHaveApplied: the condition failed, but an earlier attempt of this call was
	// sent and its response lost. That attempt may have been applied.
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

	// Versions are the native versions of the records that puts and touches stored,
	// when Done, in the order of the writes; empty for other kinds.
	Versions []string

	// Found reports, when not Done, the records under the keys, read after the
	// failure, in the order of the writes. It is nil for a key that the driver did not
	// read. The values may be left out.
	Found []*Found

	// MayHaveApplied is as in [Outcome]: an earlier attempt was applied, or may still
	// be.
	MayHaveApplied bool
}

// Meter counts the requests to the service of the calls that carry it. Results and
// errors have no field for that. It is safe for concurrent use. The methods of a nil
// Meter do nothing.
type Meter struct {
	outer              *Meter
	requests, attempts atomic.Int64
}

// NewMeter returns a Meter that also adds its counts to outer, which may be nil.
// Middleware that counts puts a new Meter over the Meter of the request.
func NewMeter(outer *Meter) *Meter { return &Meter{outer: outer} }

// Add counts requests and their attempts: the first ones and the retries. Drivers call
// it for every request that ended, whatever the result.
func (m *Meter) Add(requests, attempts int) {
	for ; m != nil; m = m.outer {
		m.requests.Add(int64(requests))
		m.attempts.Add(int64(attempts))
	}
}

// Requests returns the number of requests.
func (m *Meter) Requests() int { return int(m.requests.Load()) }

// Attempts returns the number of attempts of these requests.
func (m *Meter) Attempts() int { return int(m.attempts.Load()) }

// UnsupportedWrite returns the error of a driver that does not know the kind of a
// write or of its condition. Nothing was written then.
func UnsupportedWrite(w Write) *Error {
	return &Error{Kind: ErrUnsupported, Err: fmt.Errorf("the driver does not support %s with %s", w.Kind, w.Condition.Kind)}
}

// GetEach implements [Driver].GetMany by calls of d.Get, at most parallel at once.
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

// WriteEach implements [Driver].WriteMany by calls of d.Write, at most parallel at
// once.
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
