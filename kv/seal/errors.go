package seal

import (
	"errors"
	"fmt"

	"github.com/skykv/skykv/kv"
)

// Why a value cannot be opened. The store's errors match kv.ErrIncompatible as well.
var (
	// ErrNotSealed: the value was not sealed, or by a later version of this package.
	ErrNotSealed = errors.New("the value is not sealed")

	// ErrNoKey: the value was sealed with a key whose name Keys does not have.
	ErrNoKey = errors.New("the value was sealed with a key that is not in the ring")

	// ErrWrongKey: the value was sealed with another key of the same name.
	ErrWrongKey = errors.New("the value was sealed with another key of the same name")

	// ErrTampered: the value was changed, or was sealed for another key of the store. An
	// AEAD other than Keys returns it for a wrong or missing key as well.
	ErrTampered = errors.New("the value was changed, or was sealed for another key of the store")
)

// refused is the error of an AEAD that does not open a value.
func refused(err error) error {
	switch e := asError(err); {
	case e.Kind != nil:
		return e
	case errors.Is(err, ErrNoKey), errors.Is(err, ErrWrongKey), errors.Is(err, ErrTampered):
		return &kv.Error{Kind: kv.ErrIncompatible, Err: err}
	}
	return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("%w: %w", ErrTampered, err)}
}

// asError returns an error of an AEAD with the Kind that it has, if it has one.
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
