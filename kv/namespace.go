package kv

import (
	"context"
	"fmt"
	"iter"
	"strings"
)

// Namespace returns a view of the part of the store whose keys begin with prefix. The
// users of the view do not see the prefix: key "a" of the namespace "tenant-7:" is key
// "tenant-7:a" of the store. Scans, cursors, batches and DeletePrefix do not leave the
// namespace. For the empty prefix, Namespace returns the store itself.
//
// The view's limit for keys and prefixes is lower by the length of prefix: see
// [Store.Info]. The view's versions are valid in views of the same namespace; in any
// other store they cause ErrInvalidVersion. The view closes together with the store. It
// needs no cleanup, so a program may make one for each request. In the view's errors,
// Provider is the store's Provider, a slash and prefix, shortened if that is too long.
// The service's own messages contain the keys as they are stored.
//
// The [Group] of a key, and so its shard, depend on the key as it is stored, with
// prefix. If prefix contains "::" after its first byte, the whole namespace is in one
// shard. [Info].ReservedKey also applies to the key as it is stored.
//
// Namespace returns ErrInvalidKey if prefix is not legal, or so long that no key fits
// after it.
func (s *Store) Namespace(prefix string) (*Store, error) {
	const op = "namespace"
	if prefix == "" {
		return s, nil
	}
	if err := checkPrefix(prefix, s.info.MaxKeyLen); err != nil {
		return nil, s.fail(op, prefix, err)
	}
	if len(prefix) == s.info.MaxKeyLen {
		return nil, s.fail(op, prefix, &Error{Kind: ErrInvalidKey, Err: fmt.Errorf(
			"the prefix has %d bytes, which leaves none for keys; it must have at most %d", len(prefix), s.info.MaxKeyLen-1)})
	}
	view := *s
	view.updates = new(updates)
	// The view has nothing of its own to close: it shares the link of the store's driver.
	view.driver = newNamespace(s.driver, prefix)
	view.readInfo()
	return &view, nil
}

// namespace is a driver that adds prefix to every key in a request, and removes it
// from every key in a result.
type namespace struct {
	driver Driver
	prefix string
	info   Info
}

// maxNameLen limits the names of drivers, so that they fit into the text of a
// version.
const maxNameLen = 255

func newNamespace(d Driver, prefix string) *namespace {
	info := describe(d)
	// No prefix contains a slash, so names show where each prefix ends: "a:" within "a:"
	// and the namespace "a:a:" have different names.
	name := info.Name + "/" + prefix
	if len(name) > maxNameLen {
		name = fmt.Sprintf("%.64s/%.64s~%016x", info.Name, prefix, hash(info.Name, prefix))
	}
	stored := info
	info.Name = name
	info.Namespace += prefix
	info.MaxKeyLen -= len(prefix)
	if stored.Shard != nil {
		info.Shard = func(key string) int { return stored.Shard(prefix + key) }
	}
	if stored.ShardOfPrefix != nil {
		info.ShardOfPrefix = func(of string) (int, bool) { return stored.ShardOfPrefix(prefix + of) }
	}
	if stored.ReservedKey != nil {
		info.ReservedKey = func(key string) bool { return stored.ReservedKey(prefix + key) }
	}
	n := &namespace{driver: d, prefix: prefix, info: info}
	if stored.Count != nil {
		n.info.Count = func(ctx context.Context, req ScanRequest) (int, error) {
			count, err := stored.Count(ctx, n.within(req))
			return count, n.stripError(err)
		}
	}
	return n
}

func (n *namespace) Info() Info { return n.info }

func (n *namespace) Get(ctx context.Context, req GetRequest) (Found, error) {
	req.Key = n.prefix + req.Key
	found, err := n.driver.Get(ctx, req)
	found.Record = n.strip(found.Record)
	return found, n.stripError(err)
}

func (n *namespace) GetMany(ctx context.Context, req GetManyRequest) iter.Seq2[Found, error] {
	stored := make([]string, len(req.Keys))
	for i, key := range req.Keys {
		stored[i] = n.prefix + key
	}
	req.Keys = stored
	return func(yield func(Found, error) bool) {
		for found, err := range n.driver.GetMany(ctx, req) {
			found.Record = n.strip(found.Record)
			if !yield(found, n.stripError(err)) {
				return
			}
		}
	}
}

func (n *namespace) Scan(ctx context.Context, req ScanRequest) iter.Seq2[Record, error] {
	req = n.within(req)
	return func(yield func(Record, error) bool) {
		for rec, err := range n.driver.Scan(ctx, req) {
			if rec.Key != "" && (rec.Key < req.From || rec.Key > req.To) {
				// Without this check, a key outside the namespace could look like a key within it.
				yield(Record{}, errDisorder())
				return
			}
			if !yield(n.strip(rec), n.stripError(err)) {
				return
			}
		}
	}
}

// The method within returns req with the prefix added to its bounds.
func (n *namespace) within(req ScanRequest) ScanRequest {
	req.From, req.To = n.prefix+req.From, n.prefix+req.To
	return req
}

func (n *namespace) Write(ctx context.Context, req WriteRequest) (Outcome, error) {
	req.Key = n.prefix + req.Key
	out, err := n.driver.Write(ctx, req)
	out.Found = n.strip(out.Found)
	return out, n.stripError(err)
}

func (n *namespace) WriteMany(ctx context.Context, req WriteManyRequest) []WriteResult {
	results := n.driver.WriteMany(ctx, n.stored(req))
	for i := range results { // drivers do not keep the results, so this method may change them
		results[i].Found = n.strip(results[i].Found)
		results[i].Err = n.stripError(results[i].Err)
	}
	return results
}

func (n *namespace) WriteAtomic(ctx context.Context, req WriteManyRequest) (AtomicOutcome, error) {
	out, err := n.driver.WriteAtomic(ctx, n.stored(req))
	for _, found := range out.Found {
		if found != nil {
			found.Record = n.strip(found.Record)
		}
	}
	return out, n.stripError(err)
}

// The method stored returns req with the prefix added to its keys.
func (n *namespace) stored(req WriteManyRequest) WriteManyRequest {
	writes := make([]Write, len(req.Writes))
	for i, w := range req.Writes {
		w.Key = n.prefix + w.Key
		writes[i] = w
	}
	req.Writes = writes
	return req
}

func (n *namespace) Close() error { return n.driver.Close() }

func (n *namespace) strip(rec Record) Record {
	rec.Key = strings.TrimPrefix(rec.Key, n.prefix)
	return rec
}

// stripError removes the prefix from the Key of a driver's error. It changes a copy,
// because the driver may return the same error again.
func (n *namespace) stripError(err error) error {
	if own, ok := err.(*Error); ok && own.Key != "" {
		e := *own
		e.Key = strings.TrimPrefix(e.Key, n.prefix)
		return &e
	}
	return err
}
