package kv

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"reflect"
)

// Codec turns values of type T into bytes and back.
type Codec[T any] struct {
	Marshal   func(T) ([]byte, error)
	Unmarshal func([]byte) (T, error)
}

// Typed is a view of a [Store] whose values are of type T. Its methods have the rules
// and errors of the Store's methods. They also return [ErrInvalidValue] if a value
// cannot be encoded or decoded. Errors do not contain the codec's message, because
// the message may quote values.
type Typed[T any] struct {
	store *Store
	codec Codec[T]
}

// NewTyped returns a view of store that encodes values with codec.
func NewTyped[T any](store *Store, codec Codec[T]) *Typed[T] {
	if codec.Marshal == nil || codec.Unmarshal == nil {
		panic("kv: NewTyped: the codec must have Marshal and Unmarshal")
	}
	return &Typed[T]{store, codec}
}

// JSON returns a view of store that stores values of type T as JSON.
func JSON[T any](store *Store) *Typed[T] {
	return NewTyped(store, Codec[T]{
		Marshal: func(value T) ([]byte, error) { return json.Marshal(value) },
		Unmarshal: func(raw []byte) (value T, err error) {
			err = json.Unmarshal(raw, &value)
			return value, err
		},
	})
}

// Store returns the store of the view, for methods that the view does not have.
func (v *Typed[T]) Store() *Store { return v.store }

// Get is [Store.Get].
func (v *Typed[T]) Get(ctx context.Context, key string) (EntryOf[T], error) {
	e, err := v.store.Get(ctx, key)
	if err != nil {
		return EntryOf[T]{}, err
	}
	return v.decode("get", e, true)
}

// Put is [Store.Put].
func (v *Typed[T]) Put(ctx context.Context, key string, value T, opts ...PutOption) (Version, error) {
	raw, err := v.encode("put", key, value)
	if err != nil {
		return Version{}, err
	}
	return v.store.Put(ctx, key, raw, opts...)
}

// Touch is [Store.Touch].
func (v *Typed[T]) Touch(ctx context.Context, key string, opts ...TouchOption) (Version, error) {
	return v.store.Touch(ctx, key, opts...)
}

// Update is [Store.Update]. If a value cannot be decoded or encoded, Update returns
// ErrInvalidValue and changes nothing.
func (v *Typed[T]) Update(ctx context.Context, key string, change func(old EntryOf[T], exists bool) (ChangeOf[T], error)) (EntryOf[T], error) {
	const op = "update"
	var latest T // the value that the last call of change returned
	var left bool
	raw := func(old Entry, exists bool) (Change, error) {
		typed := EntryOf[T]{Key: old.Key}
		if exists {
			var err error
			if typed, err = v.decode(op, old, true); err != nil {
				return Change{}, err
			}
		}
		changed, err := change(typed, exists)
		if err != nil {
			return Change{}, err
		}
		to := Change{TTL: changed.TTL, ExpiresAt: changed.ExpiresAt, Persist: changed.Persist, Leave: changed.Leave, Delete: changed.Delete}
		if latest, left = changed.Value, changed.Leave; !changed.Leave && !changed.Delete {
			to.Value, err = v.encode(op, old.Key, changed.Value)
		}
		return to, err
	}
	if change == nil {
		raw = nil
	}
	e, err := v.store.Update(ctx, key, raw)
	if err != nil || e.Version.IsZero() {
		return EntryOf[T]{Key: e.Key}, err
	}
	if left { // change may have modified the value that it received
		return v.decode(op, e, true)
	}
	return EntryOf[T]{Key: e.Key, Value: latest, Version: e.Version, ExpiresAt: e.ExpiresAt}, nil
}

// GetAndDelete is [Store.GetAndDelete]. If the value cannot be decoded, GetAndDelete
// still deletes the entry, and returns ErrInvalidValue.
func (v *Typed[T]) GetAndDelete(ctx context.Context, key string) (EntryOf[T], error) {
	e, err := v.store.GetAndDelete(ctx, key)
	if err != nil {
		return EntryOf[T]{}, err
	}
	return v.decode("get and delete", e, true)
}

// PutOp is the function [PutOp] for a value of type T. If the value cannot be encoded,
// AtomicWrite returns ErrInvalidValue.
func (v *Typed[T]) PutOp(key string, value T, opts ...PutOption) Op {
	raw, err := v.codec.Marshal(value)
	op := PutOp(key, raw, opts...)
	if err != nil {
		op.err = fmt.Errorf("the value of type %T cannot be encoded", value)
	}
	return op
}

// AtomicWrite is [Store.AtomicWrite].
func (v *Typed[T]) AtomicWrite(ctx context.Context, ops ...Op) ([]Version, error) {
	return v.store.AtomicWrite(ctx, ops...)
}

// Delete is [Store.Delete].
func (v *Typed[T]) Delete(ctx context.Context, key string, opts ...DeleteOption) error {
	return v.store.Delete(ctx, key, opts...)
}

// Exists is [Store.Exists]. It does not decode the value.
func (v *Typed[T]) Exists(ctx context.Context, key string) (bool, error) {
	return v.store.Exists(ctx, key)
}

// Scan is [Store.Scan]. If the value of an entry cannot be decoded, Scan yields
// its Key with an error that matches ErrInvalidValue, and the loop may go on.
func (v *Typed[T]) Scan(ctx context.Context, prefix string, opts ...ScanOption) iter.Seq2[EntryOf[T], error] {
	return func(yield func(EntryOf[T], error) bool) {
		withValue := scansValues(opts)
		for e, err := range v.store.Scan(ctx, prefix, opts...) {
			entry := EntryOf[T]{Key: e.Key}
			if err == nil {
				entry, err = v.decode("scan", e, withValue)
			}
			if !yield(entry, err) {
				return
			}
		}
	}
}

// ScanPage is [Store.ScanPage]. At an entry whose value cannot be decoded, the page
// ends with an error that matches ErrInvalidValue, and Next is the position after
// that entry.
func (v *Typed[T]) ScanPage(ctx context.Context, prefix string, limit int, cursor string, opts ...PageOption) (PageOf[T], error) {
	withValue := scansValues(opts)
	raw, err := v.store.ScanPage(ctx, prefix, limit, cursor, opts...)
	page := PageOf[T]{Entries: make([]EntryOf[T], 0, len(raw.Entries)), Next: raw.Next}
	for _, e := range raw.Entries {
		entry, err := v.decode("scan", e, withValue)
		if err != nil {
			page.Next = cursorAfter(prefix, e.Key)
			return page, err
		}
		page.Entries = append(page.Entries, entry)
	}
	return page, err
}

// Count is [Store.Count]. It does not decode values.
func (v *Typed[T]) Count(ctx context.Context, prefix string, opts ...RangeOption) (int, error) {
	return v.store.Count(ctx, prefix, opts...)
}

// GetMany is [Store.GetMany]. The *[BatchError] includes keys whose values cannot
// be decoded.
func (v *Typed[T]) GetMany(ctx context.Context, keys []string) (map[string]EntryOf[T], error) {
	raw, err := v.store.GetMany(ctx, keys)
	entries := make(map[string]EntryOf[T], len(raw))
	failed := make(map[string]error)
	for key, e := range raw {
		entry, err := v.decode("get many", e, true)
		if err != nil {
			failed[key] = err
			continue
		}
		entries[key] = entry
	}
	if len(failed) == 0 {
		return entries, err
	}
	if batch, ok := err.(*BatchError); ok {
		for key, err := range batch.Failed {
			failed[key] = err
		}
	}
	return entries, batchError(failed)
}

// PutMany is [Store.PutMany]. If one value cannot be encoded, PutMany returns
// ErrInvalidValue and writes nothing.
func (v *Typed[T]) PutMany(ctx context.Context, items []ItemOf[T]) (map[string]Version, error) {
	raw := make([]Item, len(items))
	for i, item := range items {
		value, err := v.encode("put many", item.Key, item.Value)
		if err != nil {
			return map[string]Version{}, err
		}
		raw[i] = Item{Key: item.Key, Value: value, TTL: item.TTL, ExpiresAt: item.ExpiresAt, IfNotExists: item.IfNotExists, IfVersion: item.IfVersion}
	}
	return v.store.PutMany(ctx, raw)
}

// DeleteMany is [Store.DeleteMany].
func (v *Typed[T]) DeleteMany(ctx context.Context, keys []string) error {
	return v.store.DeleteMany(ctx, keys)
}

// DeletePrefix is [Store.DeletePrefix]. It does not decode values.
func (v *Typed[T]) DeletePrefix(ctx context.Context, prefix string) (int, error) {
	return v.store.DeletePrefix(ctx, prefix)
}

func scansValues[O any](opts []O) bool {
	for _, opt := range opts {
		if _, ok := any(opt).(keysOnlyOption); ok {
			return false
		}
	}
	return true
}

func (v *Typed[T]) encode(op, key string, value T) ([]byte, error) {
	raw, err := v.codec.Marshal(value)
	if err != nil {
		return nil, v.store.fail(op, key, &Error{Kind: ErrInvalidValue, Err: fmt.Errorf("the value of type %T cannot be encoded", value)})
	}
	return raw, nil
}

func (v *Typed[T]) decode(op string, e Entry, withValue bool) (EntryOf[T], error) {
	entry := EntryOf[T]{Key: e.Key, Version: e.Version, ExpiresAt: e.ExpiresAt}
	if !withValue {
		return entry, nil
	}
	value, err := v.codec.Unmarshal(e.Value)
	if err != nil {
		return EntryOf[T]{Key: e.Key}, v.store.fail(op, e.Key, &Error{Kind: ErrInvalidValue, Err: fmt.Errorf("the value of %d bytes cannot be decoded as %v", len(e.Value), reflect.TypeFor[T]())})
	}
	entry.Value = value
	return entry, nil
}
