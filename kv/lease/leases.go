package lease

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/skykv/skykv/kv"
)

// The default TTL, and the bounds of [Options].
const (
	DefaultTTL = 15 * time.Second
	MinTTL     = time.Second
	MaxTTL     = 24 * time.Hour
	MinPoll    = 10 * time.Millisecond
)

// MaxValueLen is the greatest length of a value passed to Campaign, in bytes.
const MaxValueLen = 1024

var (
	// ErrHeld: another holder has the lease.
	ErrHeld = errors.New("the lease is held by another one")

	// ErrLost: the lease was not renewed in time, another holder has it, or its record was deleted.
	ErrLost = errors.New("the lease is lost")
)

// Options are the options of [New]. Programs that share leases may use different options.
type Options struct {
	// TTL is how long a lease lasts after its last renewal: MinTTL to MaxTTL, in whole
	// milliseconds. 0 means DefaultTTL. A renewal that takes longer than a sixth of the TTL
	// fails, so the TTL should be ten times as long as a slow request.
	TTL time.Duration

	// Poll is the longest pause between two reads of a lease by a program that waits for it:
	// MinPoll to half the TTL. 0 means a tenth of the TTL.
	Poll time.Duration
}

// Leases acquires leases whose records are in one store. It is safe for concurrent use.
type Leases struct {
	store     *kv.Store
	ttl, poll time.Duration
	clock     func() reading

	mu      sync.Mutex
	seen    map[string]sighting // the records of other holders, by the name of the lease
	maxSeen int                 // limits the length of seen; maxSeen, except in tests
}

// sighting is what is remembered of another holder's record.
type sighting struct {
	version kv.Version
	since   reading // the clocks after this version was first read
}

// maxSeen limits the number of records that a Leases remembers after its calls. If a record is
// forgotten and its holder is dead, the next call must wait a whole TTL again. A call that waits
// remembers its record by itself.
const maxSeen = 1024

// New returns a Leases whose records are in store. options may be nil. If an option is out of
// range, the error matches [kv.ErrInvalidOption]. Leases that are held when the store closes
// are lost.
func New(store *kv.Store, options *Options) (*Leases, error) {
	s := &Leases{store: store, ttl: DefaultTTL, clock: readClocks, seen: make(map[string]sighting), maxSeen: maxSeen}
	if options != nil {
		if options.TTL != 0 {
			s.ttl = options.TTL
		}
		s.poll = options.Poll
	}
	if s.poll == 0 {
		s.poll = s.ttl / 10
	}
	const op = "lease options"
	switch {
	case s.ttl < MinTTL || s.ttl > MaxTTL || s.ttl%time.Millisecond != 0:
		return nil, s.fail(op, "", kv.ErrInvalidOption, fmt.Errorf("the TTL is %s; want %s to %s in whole milliseconds", s.ttl, MinTTL, MaxTTL))
	case s.poll < MinPoll || s.poll > s.ttl/2:
		return nil, s.fail(op, "", kv.ErrInvalidOption, fmt.Errorf("the poll is %s; want %s to half the TTL, %s", s.poll, MinPoll, s.ttl/2))
	}
	return s, nil
}

// Acquire waits until it holds the lease of that name, or until ctx ends. The name is a key
// of the store. The end of ctx does not end a lease that was acquired.
//
// While the store is unavailable or throttled, or the outcome of a write is unknown, Acquire
// retries. Any other error of the store ends it. If ctx ends, the error matches the error of ctx,
// and also [ErrHeld] or the store's last error.
func (s *Leases) Acquire(ctx context.Context, name string) (*Lease, error) {
	return s.acquire(ctx, acquisition{op: "acquire", name: name, patience: untilAcquired})
}

// TryAcquire is Acquire without waiting. It returns ErrHeld if another holder has the lease,
// and the store's error if the store is unavailable. It takes the lease of a dead holder only
// if this Leases saw the lease a TTL ago: see the section Price of the package's documentation.
func (s *Leases) TryAcquire(ctx context.Context, name string) (*Lease, error) {
	return s.acquire(ctx, acquisition{op: "try to acquire", name: name})
}

// acquisition is one call that tries to acquire a lease.
type acquisition struct {
	op, name string
	patience patience
	value    []byte

	// interval is set by Once: the start of the interval, in milliseconds since the Unix epoch.
	// If the job of the interval is done, the lease is not acquired. 0 means no interval.
	interval int64

	holder string // names this acquisition in the record; acquire sets it
}

// patience is how long an acquisition waits for another holder.
type patience int

const (
	notAtAll     patience = iota
	untilRenewed          // until the other holder has renewed its lease
	untilAcquired
)

// maxUnsure is how often an acquisition reads the record again without a pause because the
// outcome of its write is unknown.
const maxUnsure = 3

func (s *Leases) acquire(ctx context.Context, a acquisition) (*Lease, error) {
	if len(a.value) > MaxValueLen {
		return nil, s.fail(a.op, a.name, kv.ErrValueTooLarge, fmt.Errorf("the value has %d bytes; want at most %d", len(a.value), MaxValueLen))
	}
	a.holder = rand.Text()
	var first kv.Version
	var last sighting
	for unsure := 0; ; {
		l, other, err := s.attempt(ctx, a, &last)
		pause := s.pause()
		switch {
		case err == nil:
			return l, nil
		case ctx.Err() != nil:
		case errors.Is(err, ErrHeld):
			if first.IsZero() {
				first = other.version
			}
			if a.patience == notAtAll || a.patience == untilRenewed && first != other.version {
				return nil, err
			}
			pause = min(pause, other.left)
		case errors.Is(err, kv.ErrConditionFailed): // another holder was faster: read the record again
			continue
		case errors.Is(err, kv.ErrIndeterminate) && unsure < maxUnsure:
			unsure++
			continue
		case a.patience != untilAcquired || !passing(err):
			return nil, err
		}
		if ended := sleep(ctx, pause); ended != nil {
			return nil, s.fail(a.op, a.name, nil, fmt.Errorf("%w: %w", ended, err))
		}
	}
}

// The type other describes the lease of another holder.
type other struct {
	version kv.Version
	left    time.Duration // the lease is free after this time, unless its record changes
}

// attempt reads the record of a lease once, and takes the lease if it is free. If another
// holder has the lease, the error matches ErrHeld. If the job of the interval is done, the error
// is errDone. See the method see for last.
func (s *Leases) attempt(ctx context.Context, a acquisition, last *sighting) (*Lease, other, error) {
	found, version, err := s.read(ctx, a.op, a.name)
	if err != nil {
		return nil, other{}, err
	}
	if a.interval != 0 && found.Done >= a.interval {
		return nil, other{}, errDone
	}
	own := found.Holder == a.holder // an earlier attempt took the lease, but the response was lost
	if found.Holder != "" && !own {
		if left := found.ttl() - s.see(a.name, version, last); left > 0 {
			return nil, other{version, left}, s.fail(a.op, a.name, ErrHeld, nil)
		}
	}
	next := record{Token: found.Token, Holder: a.holder, TTL: s.ttl.Milliseconds(), Value: a.value, Done: found.Done}
	if !own {
		next.Token++
	}
	var condition kv.ConditionOption = kv.IfVersion(version)
	if version.IsZero() {
		condition = kv.IfNotExists()
	}
	sent := s.clock()
	stored, err := s.store.Put(ctx, a.name, next.encode(), condition)
	if err != nil {
		return nil, other{}, err
	}
	if atMost(sent, s.clock()) >= belief(s.ttl) {
		return nil, other{}, s.fail(a.op, a.name, kv.ErrUnavailable, errors.New("the response took longer than the lease lasts"))
	}
	return s.hold(a.name, next, stored, sent), other{}, nil
}

// The method see stores the version of another holder's record, which was just read. It returns a
// lower bound on how long the record has had that version. Each renewal changes the version. last is
// what the call that has read the record remembers of it; it is zero before the first read.
func (s *Leases) see(name string, version kv.Version, last *sighting) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	known, ok := s.seen[name]
	switch {
	case last.version == version:
	case ok && known.version == version:
		*last = known
	default:
		*last = sighting{version, now}
	}
	if !ok && len(s.seen) >= s.maxSeen {
		for any := range s.seen {
			delete(s.seen, any)
			break
		}
	}
	s.seen[name] = *last
	return atLeast(last.since, now)
}

// pause returns the pause before the next read by a program that waits. The pause is random,
// so that many programs do not read at the same time.
func (s *Leases) pause() time.Duration { return s.poll/2 + mathrand.N(s.poll/2) }

// sleep returns nil after a pause, or the error of ctx if ctx ends earlier.
func sleep(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// The function passing reports whether a later attempt may succeed after this error of the store.
func passing(err error) bool {
	for _, kind := range []error{kv.ErrUnavailable, kv.ErrThrottled, kv.ErrIndeterminate, context.DeadlineExceeded} {
		if errors.Is(err, kind) {
			return !errors.Is(err, kv.ErrClosed)
		}
	}
	return false
}
