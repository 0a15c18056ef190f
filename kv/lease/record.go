package lease

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/skykv/skykv/kv"
)

// record is what is stored under the name of a lease, for ever.
type record struct {
	Format int    `json:"format"`
	Token  int64  `json:"token"`            // of the last holder
	Holder string `json:"holder,omitempty"` // a random text for each acquisition; empty when the lease was released

	// TTL is the holder's, in milliseconds.
	TTL int64 `json:"ttlMs,omitempty"`

	// Value is what the holder says about itself. See [Leases.Campaign].
	Value []byte `json:"value,omitempty"`

	// Done is the begin of the last interval whose job is done, in milliseconds since the
	// Unix epoch. See [Leases.Once].
	Done int64 `json:"doneMs,omitempty"`
}

const format = 1

func (r record) ttl() time.Duration { return time.Duration(r.TTL) * time.Millisecond }

func (r record) encode() []byte {
	r.Format = format
	value, err := json.Marshal(r)
	if err != nil {
		panic(err) // numbers and texts alone
	}
	return value
}

// decode reads what encode returned. Messages of the JSON decoder are left out, since they
// quote values.
func decode(value []byte) (record, error) {
	var r record
	err := json.Unmarshal(value, &r)
	switch {
	case err != nil:
		return record{}, errors.New("the value is no record of a lease; want what package lease wrote")
	case r.Format != format:
		return record{}, errors.New("the record of the lease is of another format; want format 1")
	case r.Token < 1, r.Done < 0, r.Holder != "" && (r.TTL < MinTTL.Milliseconds() || r.TTL > MaxTTL.Milliseconds()):
		return record{}, errors.New("the record of the lease is damaged; want what package lease wrote")
	}
	return r, nil
}

// read returns the record under a name, and the version of its entry. Without an entry it
// returns zero values.
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

// fail is an error of this package, in the form of the store's errors.
func (s *Leases) fail(op, name string, kind, err error) error {
	return &kv.Error{Op: op, Key: name, Provider: s.store.Info().Name, Kind: kind, Err: err}
}
