package kv

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The errors of a store, for errors.Is. A store returns an *[Error] or a
// *[BatchError] that matches one or two of them. Context errors match
// context.Canceled or context.DeadlineExceeded. If the write may have been applied,
// they match ErrIndeterminate as well.
var (
	// ErrNotFound: the key is absent or its entry has expired.
	ErrNotFound = errors.New("not found")

	// ErrConditionFailed: IfNotExists or IfVersion did not hold. Nothing was written.
	ErrConditionFailed = errors.New("condition failed")

	// ErrInvalidKey: a key or prefix breaks the rules of [ValidateKey], or the driver cannot
	// hold the key: see [Info].ReservedKey.
	ErrInvalidKey = errors.New("invalid key")

	// ErrValueTooLarge: a value is longer than the store's limit, which is
	// [MaxValueLen] or the [MaxValue] of the store.
	ErrValueTooLarge = errors.New("value too large")

	// ErrInvalidOption: an option, limit, parameter or URL is out of its range.
	ErrInvalidOption = errors.New("invalid option")

	// ErrInvalidCursor: a cursor is damaged, or belongs to another prefix.
	ErrInvalidCursor = errors.New("invalid cursor")

	// ErrInvalidVersion: a version is malformed, or belongs to another key or provider.
	ErrInvalidVersion = errors.New("invalid version")

	// ErrInvalidValue: the codec of a typed view cannot encode or decode a value.
	ErrInvalidValue = errors.New("invalid value")

	// ErrUnsupported: the store's driver, or a middleware, has no such operation.
	// Nothing was read or written.
	ErrUnsupported = errors.New("unsupported")

	// ErrNotProvisioned: the table, database or collection does not exist, or it is
	// empty and nothing says which layout its records will have.
	ErrNotProvisioned = errors.New("not provisioned")

	// ErrIncompatible: the stored data is not skykv's, or has another format or shard
	// count.
	ErrIncompatible = errors.New("incompatible")

	// ErrPermission: the service refused the credentials or the action.
	ErrPermission = errors.New("permission denied")

	// ErrThrottled: the service throttled the request and all its retries.
	ErrThrottled = errors.New("throttled")

	// ErrUnavailable: the service could not be reached or failed.
	ErrUnavailable = errors.New("unavailable")

	// ErrIndeterminate: a write was sent, and it is unknown whether it was or will be
	// applied. The error matches its cause as well.
	ErrIndeterminate = errors.New("indeterminate")

	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store closed")
)

// Error describes the failure of one operation. Neither its message nor the messages
// of the errors that it wraps hold a value or a secret.
type Error struct {
	Op       string // the operation, such as "put"; the store sets it
	Provider string // the driver's name; the store sets it
	Key      string // the key or prefix, if there is one; the store sets it

	// Keys are the keys whose conditions failed, when an AtomicWrite returns
	// ErrConditionFailed.
	Keys []string

	// Kind is the sentinel that the error matches, or nil if none describes it.
	Kind error

	// MayHaveApplied: a write was sent, and it is unknown whether it was or will be
	// applied. The error then matches [ErrIndeterminate] as well.
	MayHaveApplied bool

	// Err is the cause: the SDK's own error, or a description.
	Err error
}

// Error names the operation, the key, the provider, the kind and the cause.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("kv:")
	if e.Op != "" {
		b.WriteString(" " + e.Op)
	}
	if e.Key != "" {
		b.WriteString(" " + quote(e.Key))
	}
	if e.Provider != "" {
		b.WriteString(" on " + e.Provider)
	}
	if b.Len() > len("kv:") {
		b.WriteByte(':')
	}
	sep := " "
	if e.MayHaveApplied {
		b.WriteString(" it is unknown whether the write was applied")
		sep = ": "
	}
	if e.Kind != nil {
		b.WriteString(sep + e.Kind.Error())
		sep = ": "
	}
	if e.Err != nil {
		b.WriteString(sep + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the sentinels that the error matches, and its cause.
func (e *Error) Unwrap() []error {
	errs := make([]error, 0, 3)
	if e.MayHaveApplied {
		errs = append(errs, ErrIndeterminate)
	}
	if e.Kind != nil {
		errs = append(errs, e.Kind)
	}
	if e.Err != nil {
		errs = append(errs, e.Err)
	}
	return errs
}

// BatchError reports the keys of a batch that failed, each with its error. The other
// keys succeeded. errors.Is looks at all of these errors.
type BatchError struct {
	Failed map[string]error
}

// Error returns the error of the lowest key, and the number of the others.
func (e *BatchError) Error() string {
	keys := e.keys()
	if len(keys) == 0 {
		return "kv: no key of the batch failed"
	}
	first := e.Failed[keys[0]]
	if len(keys) == 1 {
		return first.Error()
	}
	return fmt.Sprintf("%v (and %d more keys of the batch failed)", first, len(keys)-1)
}

// Unwrap returns the errors in ascending order of their keys.
func (e *BatchError) Unwrap() []error {
	errs := make([]error, 0, len(e.Failed))
	for _, key := range e.keys() {
		errs = append(errs, e.Failed[key])
	}
	return errs
}

func (e *BatchError) keys() []string {
	return slices.Sorted(maps.Keys(e.Failed))
}

// asError returns e as an error, which is nil if e is nil.
func asError(e *Error) error {
	if e == nil {
		return nil
	}
	return e
}

// fail completes an error for the caller. It copies a driver's *Error, because a
// driver may return one value many times.
func (s *Store) fail(op, key string, err error) error {
	e := Error{Err: err}
	if own, ok := err.(*Error); ok {
		e = *own
	}
	e.Op, e.Provider = op, s.info.Name
	if key != "" {
		e.Key = key
	}
	return &e
}
