package transfer

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"time"

	"github.com/skykv/skykv/kv"
)

// Difference is a difference of two stores in one key.
type Difference struct {
	Key  string `json:"key"`
	Kind string `json:"kind"` // one of the following constants
}

// The kinds of differences.
const (
	Missing    = "missing"    // in the first store only
	Extra      = "extra"      // in the second store only
	Value      = "value"      // the values differ
	Expiry     = "expiry"     // the values are equal, the expiries are not
	Unreadable = "unreadable" // the entry could not be read from one of the stores
)

// Compare compares the entries of two stores whose keys begin with prefix. It calls the
// function differ for each difference, in the order of the keys, and the function progress
// with the number of keys read so far. An entry that is in one store only is not a difference if
// it has expired. Compare returns the number of keys that it read.
func Compare(ctx context.Context, first, second *kv.Store, prefix string, differ func(Difference) error, progress func(int64)) (keys int64, err error) {
	nextA, stopA := iter.Pull2(first.Scan(ctx, prefix))
	defer stopA()
	nextB, stopB := iter.Pull2(second.Scan(ctx, prefix))
	defer stopB()
	a, b := pull(nextA), pull(nextB)
	for ; a.ok || b.ok; keys++ {
		if err := errors.Join(a.end, b.end); err != nil {
			return keys, err
		}
		progress(keys)
		var d Difference
		switch {
		case !b.ok || a.ok && a.Key < b.Key:
			d = Difference{a.Key, Missing}
			if a.bad {
				d.Kind = Unreadable
			} else if a.gone() {
				d.Kind = ""
			}
			a = pull(nextA)
		case !a.ok || b.Key < a.Key:
			d = Difference{b.Key, Extra}
			if b.bad {
				d.Kind = Unreadable
			} else if b.gone() {
				d.Kind = ""
			}
			b = pull(nextB)
		default:
			d.Key = a.Key
			switch {
			case a.bad || b.bad:
				d.Kind = Unreadable
			case !bytes.Equal(a.Value, b.Value):
				d.Kind = Value
			case !a.ExpiresAt.Equal(b.ExpiresAt):
				d.Kind = Expiry
			}
			a, b = pull(nextA), pull(nextB)
		}
		if d.Kind != "" {
			if err := differ(d); err != nil {
				return keys, err
			}
		}
	}
	return keys, errors.Join(a.end, b.end)
}

// side is the next entry of one store.
type side struct {
	kv.Entry
	ok  bool  // there is an entry, or the scan ended with an error
	bad bool  // the entry cannot be read
	end error // why the scan ended early
}

func pull(next func() (kv.Entry, error, bool)) side {
	entry, err, ok := next()
	s := side{Entry: entry, ok: ok, bad: err != nil}
	if err != nil && entry.Key == "" {
		s.end = err
	}
	return s
}

// gone reports whether the entry has expired by now. The other store may no longer have an
// expired entry.
func (s side) gone() bool {
	return !s.ExpiresAt.IsZero() && s.ExpiresAt.UnixMilli() <= time.Now().UnixMilli()
}
