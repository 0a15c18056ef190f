package kv_test

import (
	"errors"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
)

// fuzzedCalls is the number of kinds of calls in FuzzNamespace.
const fuzzedCalls = 22

// fuzzed is the result of a call in FuzzNamespace.
type fuzzed struct {
	err  error
	keys []string // keys, values and expiries of entries, or cursors
	n    int
}

func (r *fuzzed) entry(entry kv.Entry) {
	r.keys = append(r.keys, entry.Key, string(entry.Value), entry.ExpiresAt.UTC().String())
}

// errorKeys returns the keys that an error names.
func errorKeys(err error) []string {
	if e, ok := errors.AsType[*kv.Error](err); ok {
		return append([]string{e.Key}, e.Keys...)
	}
	return nil
}

// membersOf returns three keys of one group, usually the group of key, for one AtomicWrite
// in the namespace. It returns only key if such an AtomicWrite would be refused, because a
// key is too long or because the keys, as they are stored with the namespace's prefix, are
// in several groups.
func membersOf(ns kv.Info, key, other string) []string {
	group := kv.Group(key)
	members := []string{group + "::a", group + "::a" + other, group + "::z" + other}
	for _, member := range members {
		if len(member) > ns.MaxKeyLen || kv.Group(ns.Namespace+member) != kv.Group(ns.Namespace+members[0]) {
			return []string{key}
		}
	}
	return members
}

// fuzzWrites makes one of the calls of kind 10 and higher of FuzzNamespace.
func fuzzWrites(t *testing.T, s *kv.Store, kind, value byte, key, other string, members []string) (r fuzzed) {
	ctx, group := t.Context(), kv.Group(key)
	// current returns a condition that holds now: IfVersion for an entry, or IfNotExists if
	// there is none.
	current := func(key string) kv.ConditionOption {
		if entry, err := s.Get(ctx, key); err == nil {
			return kv.IfVersion(entry.Version)
		}
		return kv.IfNotExists()
	}
	atomicWrite := func(op func(i int, key string) kv.Op) {
		var ops []kv.Op
		for i, key := range members {
			ops = append(ops, op(i, key))
		}
		versions, err := s.AtomicWrite(ctx, ops...)
		for _, version := range versions {
			if !version.IsZero() {
				r.n++
			}
		}
		r.err = err
	}
	switch kind {
	case 10:
		atomicWrite(func(_ int, key string) kv.Op { return kv.PutOp(key, []byte{value}, kv.TTL(time.Second)) })
	case 11:
		atomicWrite(func(_ int, key string) kv.Op { return kv.PutOp(key, []byte{value}, kv.IfNotExists()) })
	case 12:
		atomicWrite(func(i int, key string) kv.Op {
			switch i {
			case 0:
				return kv.PutOp(key, []byte{value}, current(key))
			case 1:
				return kv.DeleteOp(key)
			}
			return kv.CheckOp(key, current(key))
		})
	case 13:
		atomicWrite(func(i int, key string) kv.Op {
			if i == 1 {
				return kv.CheckOp(key, kv.IfNotExists())
			}
			return kv.TouchOp(key, kv.TTL(time.Duration(1+value)*time.Second))
		})
	case 14: // usually keys of several groups, or the same key twice
		_, r.err = s.AtomicWrite(ctx, kv.PutOp(key, []byte{value}), kv.PutOp("-"+other, []byte{value}))
	case 15:
		_, r.err = s.Touch(ctx, key, kv.TTL(time.Duration(1+value)*time.Second))
	case 16:
		var entry kv.Entry
		entry, r.err = s.Update(ctx, key, func(old kv.Entry, exists bool) (kv.Change, error) {
			r.keys = nil // the function may be called several times
			r.entry(old)
			switch {
			case !exists:
				return kv.Change{Value: []byte("0"), TTL: time.Minute}, nil
			case len(old.Value) > 2:
				return kv.Change{Delete: true}, nil
			case value%3 == 0:
				return kv.Change{Leave: true}, nil
			}
			return kv.Change{Value: append(old.Value, value)}, nil
		})
		r.entry(entry)
	case 17:
		var n int64
		n, r.err = s.Increment(ctx, key, int64(value)-100, kv.TTLIfNew(time.Second))
		r.n = int(n)
	case 18:
		var entry kv.Entry
		entry, r.err = s.GetAndDelete(ctx, key)
		r.entry(entry)
	case 19:
		r.keys = scanned(t, s.Scan(ctx, "", kv.From(min(key, other)), kv.Before(max(key, other))))
	case 20:
		var page kv.Page
		page, r.err = s.ScanPage(ctx, group, 3, "", kv.From(key), kv.Before(key+other))
		for _, entry := range page.Entries {
			r.entry(entry)
		}
	case 21:
		if value < 128 { // or else DeletePrefix would make the namespace empty too often
			r.keys = scanned(t, s.Scan(ctx, group+"::", kv.KeysOnly()))
			return r
		}
		if s.Info().Namespace != "" {
			r.n, r.err = s.DeletePrefix(ctx, "")
			return r
		}
		keys := scanned(t, s.Scan(ctx, "")) // only a namespace accepts DeletePrefix of ""
		r.n, r.err = len(keys), s.DeleteMany(ctx, keys)
	}
	return r
}
