package kv

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
)

// Namespace returns a view of store whose keys all begin with prefix, which the
// view's users do not see: key "a" of the namespace "tenant-7:" is key
// "tenant-7:a" of the store. Scans, cursors, batches and DeletePrefix stay within.
// The empty prefix gives the store itself.
//
// Keys and prefixes of the view may be shorter by the length of prefix: see
// [Store.Info]. Its versions are of use to views of the same namespace alone, to
// others they are ErrInvalidVersion. The view closes together with store. The
// Provider of its errors is the store's, a slash and prefix; what services
// themselves say in errors holds the keys as they are stored.
//
// It returns ErrInvalidKey for a prefix that is not legal, or so long that no key
// fits behind it.
func Namespace(store *Store, prefix string) (*Store, error) {
	const op = "namespace"
	if prefix == "" {
		return store, nil
	}
	if err := checkPrefix(prefix, store.info.MaxKeyLen); err != nil {
		return nil, store.fail(op, prefix, err)
	}
	if len(prefix) == store.info.MaxKeyLen {
		return nil, store.fail(op, prefix, &Error{Kind: ErrInvalidKey, Err: fmt.Errorf(
			"the prefix has %d bytes, which leaves none for keys; allowed are at most %d", len(prefix), store.info.MaxKeyLen-1)})
	}
	return store.With(Wrap(func(d Driver) Driver {
		return newNamespace(d, store.info, prefix)
	})), nil
}

// namespace is a driver that puts prefix in front of every key on the way in, and
// takes it off on the way out.
type namespace struct {
	driver Driver
	prefix string
	info   Info
}

// maxNameLen keeps the names of drivers within what a version's text can hold.
const maxNameLen = 255

func newNamespace(d Driver, info Info, prefix string) *namespace {
	// The slash is in no prefix, so that nested namespaces have names of their own.
	name := info.Name + "/" + prefix
	if len(name) > maxNameLen {
		name = fmt.Sprintf("%.64s/%.64s~%016x", info.Name, prefix, hash(info.Name, prefix))
	}
	info.Name = name
	info.MaxKeyLen -= len(prefix)
	return &namespace{driver: d, prefix: prefix, info: info}
}

func (n *namespace) Info() Info { return n.info }

func (n *namespace) Get(ctx context.Context, key string, withValue bool) (Record, bool, error) {
	rec, ok, err := n.driver.Get(ctx, n.prefix+key, withValue)
	return n.strip(rec), ok, n.stripError(err)
}

func (n *namespace) Put(ctx context.Context, rec Record, cond Condition) (Outcome, error) {
	rec.Key = n.prefix + rec.Key
	out, err := n.driver.Put(ctx, rec, cond)
	out.Found = n.strip(out.Found)
	return out, n.stripError(err)
}

func (n *namespace) Delete(ctx context.Context, key string, cond Condition) (Outcome, error) {
	out, err := n.driver.Delete(ctx, n.prefix+key, cond)
	out.Found = n.strip(out.Found)
	return out, n.stripError(err)
}

func (n *namespace) Scan(ctx context.Context, r Range) iter.Seq2[Record, error] {
	r.From, r.To = n.prefix+r.From, n.prefix+r.To
	return func(yield func(Record, error) bool) {
		for rec, err := range n.driver.Scan(ctx, r) {
			if !yield(n.strip(rec), n.stripError(err)) {
				return
			}
		}
	}
}

func (n *namespace) GetMany(ctx context.Context, keys []string) ([]Record, error) {
	stored := make([]string, len(keys))
	for i, key := range keys {
		stored[i] = n.prefix + key
	}
	recs, err := n.driver.GetMany(ctx, stored)
	for i := range recs { // ours: drivers give away the slices that they return
		recs[i] = n.strip(recs[i])
	}
	return recs, n.stripError(err)
}

func (n *namespace) WriteMany(ctx context.Context, writes []Write) error {
	stored := make([]Write, len(writes))
	for i, w := range writes {
		w.Key = n.prefix + w.Key
		stored[i] = w
	}
	return n.stripError(n.driver.WriteMany(ctx, stored))
}

func (n *namespace) Close() error { return n.driver.Close() }

func (n *namespace) strip(rec Record) Record {
	rec.Key = strings.TrimPrefix(rec.Key, n.prefix)
	return rec
}

// stripError strips the keys that a driver's errors name. A value that the
// driver may return again is left as it is.
func (n *namespace) stripError(err error) error {
	if batch, ok := errors.AsType[*BatchError](err); ok {
		failed := make(map[string]error, len(batch.Failed))
		for key, err := range batch.Failed {
			failed[strings.TrimPrefix(key, n.prefix)] = n.stripError(err)
		}
		return &BatchError{Failed: failed}
	}
	if own, ok := err.(*Error); ok && own.Key != "" {
		e := *own
		e.Key = strings.TrimPrefix(e.Key, n.prefix)
		return &e
	}
	return err
}
