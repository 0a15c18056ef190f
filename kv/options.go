package kv

import (
	"errors"
	"fmt"
	"time"
)

// PutOption is an option of Put: an [ExpiryOption] or a [ConditionOption]. Without an
// ExpiryOption the entry does not expire. Without a ConditionOption the Put is
// unconditional.
type PutOption interface{ putOption() }

// TouchOption is an option of Touch: an [ExpiryOption] or [IfVersion].
type TouchOption interface{ touchOption() }

// DeleteOption is an option of Delete: [IfVersion].
type DeleteOption interface{ deleteOption() }

// IncrementOption is an option of Increment: an [ExpiryOption] or [TTLIfNew].
type IncrementOption interface{ incrementOption() }

// ExpiryOption says when an entry expires: [TTL] or [ExpiresAt].
type ExpiryOption interface {
	PutOption
	TouchOption
	IncrementOption
}

// ConditionOption is the condition of a write: [IfNotExists] or [IfVersion].
type ConditionOption interface {
	PutOption
	conditionOption()
}

// VersionOption is [IfVersion].
type VersionOption interface {
	ConditionOption
	TouchOption
	DeleteOption
}

// ScanOption is an option of Scan: [Limit], [From], [After], [Before] or [KeysOnly].
type ScanOption interface{ scanOption() }

// PageOption is an option of ScanPage: [From], [After], [Before] or [KeysOnly]. It is
// also a ScanOption.
type PageOption interface {
	ScanOption
	pageOption()
}

// RangeOption is an option of Count: [From], [After] or [Before]. It is also a
// PageOption.
type RangeOption interface {
	PageOption
	rangeOption()
}

// TTL makes the entry expire d from now, rounded up to the millisecond. The call returns
// ErrInvalidOption if d is less than a millisecond, or if [ExpiresAt] would refuse the
// instant. For example, TTL(30) is an error, because it means 30 nanoseconds.
func TTL(d time.Duration) ExpiryOption { return ttlOption(d) }

// TTLIfNew is like [TTL], but only for an entry that Increment creates. An existing entry
// keeps its expiry, so a counter of a time window expires when the window ends.
func TTLIfNew(d time.Duration) IncrementOption { return ttlIfNewOption(d) }

// ExpiresAt makes the entry expire at t, rounded up to the millisecond. t must be later than
// the store's clock and the Unix epoch, and not later than [MaxExpiry]. Otherwise the call
// returns ErrInvalidOption. The zero time means no expiry, as in the ExpiresAt of an Entry
// that does not expire.
func ExpiresAt(t time.Time) ExpiryOption { return expiresAtOption(t) }

// IfNotExists makes a write succeed only if the key is absent or its entry has expired.
// Otherwise the write returns ErrConditionFailed.
func IfNotExists() ConditionOption { return ifNotExistsOption{} }

// IfVersion makes a write succeed only if the entry is still in the state that v names:
// not replaced, touched, deleted, re-created or expired. Otherwise the write returns
// ErrConditionFailed. If v is not a version of this key on this provider, the write
// returns ErrInvalidVersion.
func IfVersion(v Version) VersionOption { return ifVersionOption{v} }

// Limit ends the scan after n entries. If n is not positive, the scan yields
// ErrInvalidOption.
func Limit(n int) ScanOption { return limitOption(n) }

// After starts the scan after key, which need not exist or have the scan's prefix. If the
// cursor of ScanPage is after key, the scan starts after the cursor. An empty key means no
// bound. If key is not legal, Scan yields ErrInvalidKey, and ScanPage and Count return it.
func After(key string) RangeOption { return afterOption{key} }

// From starts the scan at key, which need not exist or have the scan's prefix. With
// several of From, After and a cursor, the scan starts at the highest of these positions.
// An empty key means no bound. If key is not legal, Scan yields ErrInvalidKey, and ScanPage
// and Count return it.
func From(key string) RangeOption { return fromOption{key} }

// Before ends the scan before key, which need not exist or have the scan's prefix. An
// empty key means no bound. If key is not legal, Scan yields ErrInvalidKey, and ScanPage and
// Count return it.
func Before(key string) RangeOption { return beforeOption{key} }

// KeysOnly leaves the Value of the entries nil, and sets everything else. Values are
// not transferred if the service can leave them out.
func KeysOnly() PageOption { return keysOnlyOption{} }

type (
	ttlOption         time.Duration
	ttlIfNewOption    time.Duration
	expiresAtOption   time.Time
	ifNotExistsOption struct{}
	ifVersionOption   struct{ version Version }
	limitOption       int
	afterOption       struct{ key string }
	fromOption        struct{ key string }
	beforeOption      struct{ key string }
	keysOnlyOption    struct{}
)

func (ttlOption) putOption()               {}
func (ttlOption) touchOption()             {}
func (ttlOption) incrementOption()         {}
func (ttlIfNewOption) incrementOption()    {}
func (expiresAtOption) putOption()         {}
func (expiresAtOption) touchOption()       {}
func (expiresAtOption) incrementOption()   {}
func (ifNotExistsOption) putOption()       {}
func (ifNotExistsOption) conditionOption() {}
func (ifVersionOption) putOption()         {}
func (ifVersionOption) conditionOption()   {}
func (ifVersionOption) touchOption()       {}
func (ifVersionOption) deleteOption()      {}
func (limitOption) scanOption()            {}
func (afterOption) scanOption()            {}
func (afterOption) pageOption()            {}
func (afterOption) rangeOption()           {}
func (fromOption) scanOption()             {}
func (fromOption) pageOption()             {}
func (fromOption) rangeOption()            {}
func (beforeOption) scanOption()           {}
func (beforeOption) pageOption()           {}
func (beforeOption) rangeOption()          {}
func (keysOnlyOption) scanOption()         {}
func (keysOnlyOption) pageOption()         {}

// writePlan is the result of the options of one write.
type writePlan struct {
	expires  int64
	expiring bool // there is an expiry option
	cond     Condition
	now      int64
}

// planWrite reads the options of a put, a touch, a deletion or a check. The type O
// decides which options are allowed.
func planWrite[O any](s *Store, key string, now time.Time, opts []O) (plan writePlan, err *Error) {
	plan.now = now.UnixMilli()
	var version Version
	var ttl time.Duration
	var at time.Time
	for _, opt := range opts {
		var twice bool
		switch opt := any(opt).(type) {
		case ttlOption:
			twice, plan.expiring = plan.expiring, true
			if ttl = time.Duration(opt); ttl == 0 {
				return plan, errTTL(ttl)
			}
		case expiresAtOption:
			twice, plan.expiring = plan.expiring, true
			at = time.Time(opt)
		case ifNotExistsOption:
			twice = plan.cond.Kind != CondNone
			plan.cond.Kind = CondAbsent
		case ifVersionOption:
			twice = plan.cond.Kind != CondNone
			version = opt.version
			if err := s.checkVersion(version, key); err != nil {
				return plan, err
			}
			plan.cond = Condition{Kind: CondVersion, Version: version.native}
		default:
			return plan, errNilOption()
		}
		if twice {
			return plan, &Error{Kind: ErrInvalidOption, Err: errors.New("there must be at most one of TTL and ExpiresAt, and one of IfNotExists and IfVersion")}
		}
	}
	// An old version is reported before an invalid expiry. A caller may pass on the version
	// and the expiry of an entry that has expired. The error must then be about the version.
	if plan.cond.Kind == CondVersion && (expired(version.expires, plan.now) || version.replaced()) {
		return plan, errOldVersion()
	}
	plan.expires, err = expiry(ttl, at, now)
	return plan, err
}

// touch completes the plan of a touch. It returns an error if there is no expiry option.
// Without IfVersion, a touch needs an entry that has not expired.
func (p *writePlan) touch() *Error {
	if !p.expiring {
		return &Error{Kind: ErrInvalidOption, Err: errors.New("the touch has no expiry; want TTL or ExpiresAt")}
	}
	if p.cond.Kind == CondNone {
		p.cond.Kind = CondLive
	}
	return nil
}

// expiry returns the expiry in milliseconds: the argument at, or now+ttl, or 0 if at and ttl
// are both zero. It returns an error if both are set, or if the result cannot be an expiry.
func expiry(ttl time.Duration, at, now time.Time) (int64, *Error) {
	switch {
	case ttl != 0 && !at.IsZero():
		return 0, &Error{Kind: ErrInvalidOption, Err: errors.New("there must be at most one of TTL and ExpiresAt")}
	case ttl != 0:
		return checkTTL(ttl, now)
	case !at.IsZero():
		return checkInstant(at, now.UnixMilli())
	}
	return 0, nil
}

func errNilOption() *Error {
	return &Error{Kind: ErrInvalidOption, Err: errors.New("an option is nil")}
}

func errOldVersion() *Error {
	return &Error{Kind: ErrConditionFailed, Err: errors.New("the entry of that version has expired or was replaced")}
}

// scanPlan is the result of the options of one scan.
type scanPlan struct {
	limit               int // 0: none
	from, after, before string
	withValue           bool
}

func planScan[O any](most int, opts []O) (plan scanPlan, err *Error) {
	plan.withValue = true
	for _, opt := range opts {
		var key string
		switch opt := any(opt).(type) {
		case limitOption:
			if plan.limit = int(opt); plan.limit < 1 {
				return plan, errLimit(plan.limit)
			}
		case fromOption:
			key, plan.from = opt.key, opt.key
		case afterOption:
			key, plan.after = opt.key, opt.key
		case beforeOption:
			key, plan.before = opt.key, opt.key
		case keysOnlyOption:
			plan.withValue = false
		default:
			return plan, errNilOption()
		}
		if key != "" {
			if err := checkKey(key, most); err != nil {
				return plan, err
			}
		}
	}
	return plan, nil
}

func errLimit(n int) *Error {
	return &Error{Kind: ErrInvalidOption, Err: fmt.Errorf("the limit is %d; it must be at least 1", n)}
}
