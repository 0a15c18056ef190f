package idempotency

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/skykv/skykv/kv"
)

// records reads and writes the stored requests and their responses.
type records struct{ store *kv.Store }

// tries is the greatest number of times that records attempts a write. Each attempt already
// includes the retries of the SDK.
const tries = 3

// claim is the right to carry out the request with a key.
type claim struct {
	key     string
	record  record
	version kv.Version
}

// errUnsettled says that the record of the key changed during every attempt.
var errUnsettled = errors.New("the record of the key changes all the time")

// claim claims a key for the time ttl. If another request has the key, claimed is nil, and other
// is the record of that request.
func (s records) claim(ctx context.Context, key, fingerprint string, ttl time.Duration) (claimed *claim, other record, err error) {
	own := record{Holder: rand.Text(), Fingerprint: fingerprint}
	for range tries {
		version, err := s.store.Put(ctx, key, own.encode(), kv.IfNotExists(), kv.TTL(ttl))
		if err == nil {
			return &claim{key, own, version}, record{}, nil
		}
		if !errors.Is(err, kv.ErrConditionFailed) && !errors.Is(err, kv.ErrIndeterminate) {
			return nil, record{}, err
		}
		found, version, unread := s.load(ctx, key)
		switch {
		case errors.Is(unread, kv.ErrNotFound): // the other record has just expired, or the put was not applied
		case unread != nil:
			return nil, record{}, unread
		case found.Holder == own.Holder:
			return &claim{key, own, version}, record{}, nil
		default:
			return nil, found, nil
		}
	}
	return nil, record{}, errUnsettled
}

// complete stores the response to a claimed request for the time ttl. After an error, the response
// may or may not have been stored.
func (s records) complete(ctx context.Context, c *claim, response record, ttl time.Duration) error {
	response.Holder, response.Fingerprint = c.record.Holder, c.record.Fingerprint
	value := response.encode()
	if len(value) > s.store.Info().MaxValueLen {
		response.TooLong, response.headers, response.body = true, headers{}, nil
		value = response.encode()
	}
	var condition kv.ConditionOption = kv.IfVersion(c.version)
	var err error
	for range tries {
		if _, err = s.store.Put(ctx, c.key, value, condition, kv.TTL(ttl)); err == nil {
			return nil
		}
		found, version, unread := s.load(ctx, c.key)
		switch {
		case errors.Is(unread, kv.ErrNotFound): // the claim has expired, and nobody else has the key
			condition = kv.IfNotExists()
		case unread != nil:
		case found.Holder != c.record.Holder:
			return err
		case found.done(): // an earlier put was applied after all
			return nil
		default:
			condition = kv.IfVersion(version)
		}
	}
	return err
}

// release removes a claim. If that fails, the claim expires later.
func (s records) release(ctx context.Context, c *claim) error {
	return s.store.Delete(ctx, c.key, kv.IfVersion(c.version))
}

func (s records) load(ctx context.Context, key string) (record, kv.Version, error) {
	entry, err := s.store.Get(ctx, key)
	if err != nil {
		return record{}, kv.Version{}, err
	}
	r, err := decode(entry.Value)
	if err != nil {
		return record{}, kv.Version{}, &kv.Error{Op: "get", Provider: s.store.Info().Name, Key: key, Kind: kv.ErrIncompatible, Err: err}
	}
	return r, entry.Version, nil
}
