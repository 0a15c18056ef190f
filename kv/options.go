package kv

import (
	"errors"
	"fmt"
	"time"
)

// PutOption is an option of Put: [TTL] or [ExpiresAt], and [IfNotExists] or
// [IfVersion]. Without the former an entry does not expire, without the latter
// the Put is unconditional.
type PutOption interface{ putOption() }

// DeleteOption is an option of Delete: [IfVersion]. It is a PutOption as well.
type DeleteOption interface {
	PutOption
	deleteOption()
}

// ScanOption is an option of Scan: [Limit], [After] or [KeysOnly].
type ScanOption interface{ scanOption() }

// PageOption is an option of ScanPage: [After] or [KeysOnly]. It is a ScanOption as
// well.
type PageOption interface {
	ScanOption
	pageOption()
}

// TTL lets the entry expire d from now, rounded up to the millisecond. Unless d
// is positive and the instant one that [ExpiresAt] takes, Put returns
// ErrInvalidOption.
func TTL(d time.Duration) PutOption { return ttlOption(d) }

// ExpiresAt lets the entry expire at t, rounded up to the millisecond. Unless t
// is later than the store's clock and the Unix epoch, and at most [MaxExpiry],
// Put returns ErrInvalidOption. The zero time, an Entry's ExpiresAt when it does
// not expire, stands for no expiry.
func ExpiresAt(t time.Time) PutOption { return expiresAtOption(t) }

// IfNotExists lets Put succeed only if the key is absent or expired. Otherwise
// it returns ErrConditionFailed.
func IfNotExists() PutOption { return ifNotExistsOption{} }

// IfVersion lets Put or Delete succeed only if the entry is still in the state
// that v names: not replaced, deleted, re-created or expired. Otherwise they
// return ErrConditionFailed, or ErrInvalidVersion when v is not a version of
// this key on this provider.
func IfVersion(v Version) DeleteOption { return ifVersionOption{v} }

// Limit ends the scan after n entries. Unless n is positive, the scan yields
// ErrInvalidOption.
func Limit(n int) ScanOption { return limitOption(n) }

// After starts the scan after key, which need not exist nor have the scan's
// prefix. ScanPage starts after the cursor when that is later. The scan yields
// ErrInvalidKey unless key is legal or empty, which stands for the start.
func After(key string) PageOption { return afterOption{key} }

// KeysOnly leaves the Value of the entries nil, and fills everything else. Values
// are not transferred where the service can avoid it.
func KeysOnly() PageOption { return keysOnlyOption{} }

type (
	ttlOption         time.Duration
	expiresAtOption   time.Time
	ifNotExistsOption struct{}
	ifVersionOption   struct{ version Version }
	limitOption       int
	afterOption       struct{ key string }
	keysOnlyOption    struct{}
)

func (ttlOption) putOption()          {}
func (expiresAtOption) putOption()    {}
func (ifNotExistsOption) putOption()  {}
func (ifVersionOption) putOption()    {}
func (ifVersionOption) deleteOption() {}
func (limitOption) scanOption()       {}
func (afterOption) scanOption()       {}
func (afterOption) pageOption()       {}
func (keysOnlyOption) scanOption()    {}
func (keysOnlyOption) pageOption()    {}

// writePlan is what the options of one Put or Delete amount to.
type writePlan struct {
	expires int64
	cond    Condition
	now     int64
}

func (s *Store) planPut(key string, now time.Time, opts []PutOption) (plan writePlan, err *Error) {
	plan.now = now.UnixMilli()
	var expiring, conditional bool
	var version Version
	var ttl time.Duration
	var at time.Time
	for _, opt := range opts {
		var twice bool
		switch opt := opt.(type) {
		case ttlOption:
			twice, expiring = expiring, true
			if ttl = time.Duration(opt); ttl <= 0 {
				return plan, &Error{Kind: ErrInvalidOption, Err: fmt.Errorf("the TTL is %s; it must be positive", ttl)}
			}
		case expiresAtOption:
			twice, expiring = expiring, true
			at = time.Time(opt)
		case ifNotExistsOption:
			twice, conditional = conditional, true
			plan.cond.Kind = CondAbsent
		case ifVersionOption:
			twice, conditional = conditional, true
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
	// An entry that expired since it was read is the likelier news than the
	// expiry in the past that a compare-and-swap then hands on.
	if expired(version.expires, plan.now) {
		return plan, errExpiredVersion()
	}
	switch {
	case ttl != 0:
		plan.expires, err = checkTTL(ttl, now)
	case !at.IsZero():
		plan.expires, err = checkInstant(at, plan.now)
	}
	return plan, err
}

func (s *Store) planDelete(key string, now time.Time, opts []DeleteOption) (plan writePlan, err *Error) {
	plan.now = now.UnixMilli()
	for _, opt := range opts {
		opt, ok := opt.(ifVersionOption)
		switch {
		case !ok:
			return plan, errNilOption()
		case plan.cond.Kind != CondNone:
			return plan, &Error{Kind: ErrInvalidOption, Err: errors.New("there must be at most one IfVersion")}
		}
		if err := s.checkVersion(opt.version, key); err != nil {
			return plan, err
		}
		if expired(opt.version.expires, plan.now) {
			return plan, errExpiredVersion()
		}
		plan.cond = Condition{Kind: CondVersion, Version: opt.version.native}
	}
	return plan, nil
}

func errNilOption() *Error {
	return &Error{Kind: ErrInvalidOption, Err: errors.New("an option is nil")}
}

func errExpiredVersion() *Error {
	return &Error{Kind: ErrConditionFailed, Err: errors.New("the entry of that version has expired")}
}

// scanPlan is what the options of one scan amount to.
type scanPlan struct {
	limit     int // 0: none
	after     string
	withValue bool
}

func planScan[O any](most int, opts []O) (plan scanPlan, err *Error) {
	plan.withValue = true
	for _, opt := range opts {
		switch opt := any(opt).(type) {
		case limitOption:
			if plan.limit = int(opt); plan.limit < 1 {
				return plan, errLimit(plan.limit)
			}
		case afterOption:
			plan.after = opt.key
			if opt.key != "" {
				if err := checkKey(opt.key, most); err != nil {
					return plan, err
				}
			}
		case keysOnlyOption:
			plan.withValue = false
		default:
			return plan, errNilOption()
		}
	}
	return plan, nil
}

func errLimit(n int) *Error {
	return &Error{Kind: ErrInvalidOption, Err: fmt.Errorf("the limit is %d; it must be at least 1", n)}
}
