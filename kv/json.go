package kv

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"reflect"
	"time"
)

// JSONStore is a view of a [Store] whose values are JSON of type T: the same
// verbs with the same rules and errors, and ErrInvalidJSON where a value is not
// JSON of type T or cannot be made so.
type JSONStore[T any] struct{ store *Store }

// JSONEntry is an [Entry] with its value decoded.
type JSONEntry[T any] struct {
	Key       string
	Value     T
	Version   Version
	ExpiresAt time.Time
}

// JSONItem is an [Item] with a value to be encoded.
type JSONItem[T any] struct {
	Key       string
	Value     T
	TTL       time.Duration
	ExpiresAt time.Time
}

// JSONPage is a [Page] of decoded entries.
type JSONPage[T any] struct {
	Entries []JSONEntry[T]
	Next    string
}

// JSON returns a view of store whose values are JSON of type T.
func JSON[T any](store *Store) *JSONStore[T] {
	return &JSONStore[T]{store}
}

// Store returns the store that the view is of, for Delete, DeleteMany,
// DeletePrefix, Exists and all that does not look at values.
func (j *JSONStore[T]) Store() *Store { return j.store }

// Get is [Store.Get].
func (j *JSONStore[T]) Get(ctx context.Context, key string) (JSONEntry[T], error) {
	e, err := j.store.Get(ctx, key)
	if err != nil {
		return JSONEntry[T]{}, err
	}
	return j.decode("get", e, true)
}

// Put is [Store.Put].
func (j *JSONStore[T]) Put(ctx context.Context, key string, value T, opts ...PutOption) (Version, error) {
	raw, err := j.encode("put", key, value)
	if err != nil {
		return Version{}, err
	}
	return j.store.Put(ctx, key, raw, opts...)
}

// Delete is [Store.Delete].
func (j *JSONStore[T]) Delete(ctx context.Context, key string, opts ...DeleteOption) error {
	return j.store.Delete(ctx, key, opts...)
}

// Exists is [Store.Exists]. The value may be anything.
func (j *JSONStore[T]) Exists(ctx context.Context, key string) (bool, error) {
	return j.store.Exists(ctx, key)
}

// Scan is [Store.Scan]. An entry whose value is not JSON of type T comes with an
// error that matches ErrInvalidJSON, and the loop may go on.
func (j *JSONStore[T]) Scan(ctx context.Context, prefix string, opts ...ScanOption) iter.Seq2[JSONEntry[T], error] {
	return func(yield func(JSONEntry[T], error) bool) {
		withValue := scansValues(opts)
		for e, err := range j.store.Scan(ctx, prefix, opts...) {
			entry := JSONEntry[T]{Key: e.Key}
			if err == nil {
				entry, err = j.decode("scan", e, withValue)
			}
			if !yield(entry, err) {
				return
			}
		}
	}
}

// ScanPage is [Store.ScanPage]. At an entry whose value is not JSON of type T it
// stops with an error that matches ErrInvalidJSON, and Next behind that entry.
func (j *JSONStore[T]) ScanPage(ctx context.Context, prefix string, limit int, cursor string, opts ...PageOption) (JSONPage[T], error) {
	withValue := scansValues(opts)
	raw, err := j.store.ScanPage(ctx, prefix, limit, cursor, opts...)
	page := JSONPage[T]{Entries: make([]JSONEntry[T], 0, len(raw.Entries)), Next: raw.Next}
	for _, e := range raw.Entries {
		entry, err := j.decode("scan", e, withValue)
		if err != nil {
			page.Next = cursorAfter(prefix, e.Key)
			return page, err
		}
		page.Entries = append(page.Entries, entry)
	}
	return page, err
}

// GetMany is [Store.GetMany]. Keys whose value is not JSON of type T are in the
// *[BatchError].
func (j *JSONStore[T]) GetMany(ctx context.Context, keys []string) (map[string]JSONEntry[T], error) {
	raw, err := j.store.GetMany(ctx, keys)
	entries := make(map[string]JSONEntry[T], len(raw))
	failed := make(map[string]error)
	for key, e := range raw {
		entry, err := j.decode("get many", e, true)
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
	return entries, &BatchError{Failed: failed}
}

// PutMany is [Store.PutMany]. One value that cannot be encoded refuses the whole
// batch.
func (j *JSONStore[T]) PutMany(ctx context.Context, items []JSONItem[T]) error {
	raw := make([]Item, len(items))
	for i, item := range items {
		value, err := j.encode("put many", item.Key, item.Value)
		if err != nil {
			return err
		}
		raw[i] = Item{Key: item.Key, Value: value, TTL: item.TTL, ExpiresAt: item.ExpiresAt}
	}
	return j.store.PutMany(ctx, raw)
}

// DeleteMany is [Store.DeleteMany].
func (j *JSONStore[T]) DeleteMany(ctx context.Context, keys []string) error {
	return j.store.DeleteMany(ctx, keys)
}

// DeletePrefix is [Store.DeletePrefix]. The values may be anything.
func (j *JSONStore[T]) DeletePrefix(ctx context.Context, prefix string) (int, error) {
	return j.store.DeletePrefix(ctx, prefix)
}

func scansValues[O any](opts []O) bool {
	for _, opt := range opts {
		if _, ok := any(opt).(KeysOnlyOption); ok {
			return false
		}
	}
	return true
}

// encode and decode leave out what encoding/json says: its errors quote values.

func (j *JSONStore[T]) encode(op, key string, value T) ([]byte, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, j.store.fail(op, key, &Error{Kind: ErrInvalidJSON, Err: fmt.Errorf("the value of type %T cannot be encoded", value)})
	}
	return raw, nil
}

func (j *JSONStore[T]) decode(op string, e Entry, withValue bool) (JSONEntry[T], error) {
	entry := JSONEntry[T]{Key: e.Key, Version: e.Version, ExpiresAt: e.ExpiresAt}
	if !withValue {
		return entry, nil
	}
	if err := json.Unmarshal(e.Value, &entry.Value); err != nil {
		return JSONEntry[T]{Key: e.Key}, j.store.fail(op, e.Key, &Error{Kind: ErrInvalidJSON, Err: fmt.Errorf("the value of %d bytes is not JSON of type %v", len(e.Value), reflect.TypeFor[T]())})
	}
	return entry, nil
}
