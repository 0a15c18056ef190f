package lease

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/skykv/skykv/kv"
)

// record is stored under the name of a lease. It is never deleted.
type record struct {
	Format int    `json:"format"`
	Token  int64  `json:"token"`            // the last holder's token
	Holder string `json:"holder,omitempty"` // a random text for each acquisition; empty after a release

	// TTL is the holder's TTL, in milliseconds.
	TTL int64 `json:"ttlMs,omitempty"`

	// Value is the holder's value. See [Leases.Campaign].
	Value []byte `json:"value,omitempty"`

	// Done is the start of the last interval whose job is done, in milliseconds since the
	// Unix epoch. See [Leases.Once].
	Done int64 `json:"doneMs,omitempty"`
}

const format = 1

func (r record) ttl() time.Duration { return time.Duration(r.TTL) * time.Millisecond }

func (r record) encode() []byte {
	r.Format = format
	value, err := json.Marshal(r)
	if err != nil {
		panic(err) // cannot happen: there are only numbers and texts
	}
	return value
}

// decode reads the result of encode. Its errors do not contain messages of the JSON decoder,
// because these quote values.
func decode(value []byte) (record, error) {
	var r record
	err := json.Unmarshal(value, &r)
	switch {
	case err != nil:
		return record{}, errors.New("the value is not a record of a lease; want a record that package lease wrote")
	case r.Format != format:
		return record{}, errors.New("the record of the lease has another format; want format 1")
	case r.Token < 1, r.Done < 0, r.Holder != "" && (r.TTL < MinTTL.Milliseconds() || r.TTL > MaxTTL.Milliseconds()):
		return record{}, errors.New("the record of the lease is damaged; want a record that package lease wrote")
	}
	return r, nil
}

// read returns the record under a name, and the version of its entry. If there is no entry,
// both are zero.
func (s *Leases) read(ctx context.Context, op, name string) (record, kv.Version, error) {
	entry, err := s.store.Get(ctx, name)
	switch {
	case errors.Is(err, kv.ErrNotFound):
		return record{}, kv.Version{}, nil
	case err != nil:
		return record{}, kv.Version{}, err
	}
	r, err := decode(entry.Value)
	if err != nil {
		return record{}, kv.Version{}, s.fail(op, name, kv.ErrIncompatible, err)
	}
	return r, entry.Version, nil
}

// fail returns an error of this package, in the form of the store's errors.
func (s *Leases) fail(op, name string, kind, err error) error {
	return &kv.Error{Op: op, Key: name, Provider: s.store.Info().Name, Kind: kind, Err: err}
}
