package seal

import (
	"errors"
	"fmt"

	"github.com/skykv/skykv/kv"
)

// The reasons why a value cannot be opened. The store's errors also match kv.ErrIncompatible.
var (
	// ErrNotSealed: the value does not begin as sealed values do. It was not sealed, or was
	// sealed by a later version of this package, or its beginning was changed or cut.
	ErrNotSealed = errors.New("the value is not sealed")

	// ErrNoKey: the value was sealed with a key whose name Keys does not have.
	ErrNoKey = errors.New("the value was sealed with a key that is not in the ring")

	// ErrWrongKey: the value was sealed with another key of the same name.
	ErrWrongKey = errors.New("the value was sealed with another key of the same name")

	// ErrTampered: the value was changed, or was sealed for another key of the store. With
	// an AEAD other than Keys, it may also mean that the AEAD's key is wrong or missing.
	ErrTampered = errors.New("the value was changed, or was sealed for another key of the store")
)

// refused returns the store's error for an error of Decrypt.
func refused(err error) error {
	switch e := asError(err); {
	case e.Kind != nil:
		return e
	case errors.Is(err, ErrNoKey), errors.Is(err, ErrWrongKey), errors.Is(err, ErrTampered):
		return &kv.Error{Kind: kv.ErrIncompatible, Err: err}
	}
	return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("%w: %w", ErrTampered, err)}
}

// asError returns a *kv.Error that wraps an error of an AEAD. If that error itself wraps a
// *kv.Error, the result has the same Kind.
func asError(err error) *kv.Error {
	e := &kv.Error{Err: err}
	if own, ok := errors.AsType[*kv.Error](err); ok {
		e.Kind = own.Kind
	}
	return e
}

func invalid(format string, args ...any) error {
	return &kv.Error{Op: "seal", Kind: kv.ErrInvalidOption, Err: fmt.Errorf(format, args...)}
}
