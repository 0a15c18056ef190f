package kv

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The sentinels of a store's errors, for errors.Is. An *[Error] or a *[BatchError] of a
// store matches the sentinel that describes the failure, if there is one.
// An error that a context caused matches context.Canceled or context.DeadlineExceeded.
// Any error also matches ErrIndeterminate if a write may have been applied.
var (
	// ErrNotFound: the key is absent or its entry has expired.
	ErrNotFound = errors.New("not found")

	// ErrConditionFailed: the condition of a write did not hold. Nothing was written.
	ErrConditionFailed = errors.New("condition failed")

	// ErrInvalidKey: a key or prefix breaks the rules of [ValidateKey], or the driver cannot
	// hold the key: see [Info].MaxKeyLen and [Info].ReservedKey.
	ErrInvalidKey = errors.New("invalid key")

	// ErrValueTooLarge: a value is longer than the store's limit, which is
	// [MaxValueLen] or the [MaxValue] of the store, or the keys and values of an
	// AtomicWrite have more than [MaxAtomicBytes] in all.
	ErrValueTooLarge = errors.New("value too large")

	// ErrInvalidOption: an option, argument, parameter or URL is not valid.
	ErrInvalidOption = errors.New("invalid option")

	// ErrInvalidCursor: a cursor is damaged, or belongs to another prefix.
	ErrInvalidCursor = errors.New("invalid cursor")

	// ErrInvalidVersion: a version is malformed, or belongs to another key or provider.
	ErrInvalidVersion = errors.New("invalid version")

	// ErrInvalidValue: the codec of a typed view cannot encode or decode a value, or
	// Increment cannot add to the value.
	ErrInvalidValue = errors.New("invalid value")

	// ErrUnsupported: the store's driver, or a middleware, has no such operation.
	// Nothing was written.
	ErrUnsupported = errors.New("unsupported")

	// ErrNotProvisioned: the table, database, collection or folder does not exist, or it is
	// empty and nothing says which layout its records will have.
	ErrNotProvisioned = errors.New("not provisioned")

	// ErrIncompatible: skykv did not write the stored data, or the data is damaged, or it has
	// another format or another number of shards than the store expects.
	ErrIncompatible = errors.New("incompatible")

	// ErrPermission: the service refused the credentials or the action.
	ErrPermission = errors.New("permission denied")

	// ErrThrottled: the service throttled the request, and its retries if there were any.
	ErrThrottled = errors.New("throttled")

	// ErrUnavailable: the service could not be reached or failed, or others changed the
	// entry again and again during the call.
	ErrUnavailable = errors.New("unavailable")

	// ErrIndeterminate: a write was sent, and it is unknown whether it was or will be
	// applied. The error also matches its cause.
	ErrIndeterminate = errors.New("indeterminate")

	// ErrClosed: the store, its driver, or the client that the driver uses was closed.
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
	// applied. The error then also matches [ErrIndeterminate].
	MayHaveApplied bool

	// Err is the cause: the SDK's own error, or a description.
	Err error
}

// Error names the operation, the key, the provider, the kind and the cause, in one line.
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
	if b.Len() > len("kv:") && !strings.HasSuffix(e.Provider, ":") { // a namespace's Provider may end with a colon
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
		b.WriteString(sep + oneLine(e.Err.Error()))
	}
	return b.String()
}

// oneLine joins the lines of a message, because a line break would split a record of a
// log. It drops lines of dashes, with which some SDKs separate the parts of a message.
func oneLine(message string) string {
	if !strings.ContainsAny(message, "\r\n") {
		return message
	}
	joined := ""
	for line := range strings.FieldsFuncSeq(message, func(r rune) bool { return r == '\r' || r == '\n' }) {
		line = strings.TrimSpace(line)
		switch {
		case strings.Trim(line, "-") == "":
		case joined == "":
			joined = line
		case strings.HasSuffix(joined, ".") || strings.HasSuffix(joined, ":"):
			joined += " " + line
		default:
			joined += "; " + line
		}
	}
	return joined
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
// keys succeeded. errors.Is looks at the errors of all keys that failed.
type BatchError struct {
	Failed map[string]error
}

// Error returns the message of the lowest key's error, and the number of the other keys that
// failed.
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

// asError returns e as an error. If e is nil, the result is a nil error.
func asError(e *Error) error {
	if e == nil {
		return nil
	}
	return e
}

// fail completes an error for the caller. It copies a driver's *Error, because the
// driver may return the same error again.
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
