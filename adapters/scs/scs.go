package scs

import (
	"context"
	"errors"
	"time"

	"github.com/skykv/skykv/kv"
)

// Store is an scs.CtxStore and an scs.IterableCtxStore. It is safe for concurrent use.
type Store struct{ store *kv.Store }

// New returns a Store that keeps sessions in a store, which must hold nothing else.
func New(store *kv.Store) *Store { return &Store{store} }

// FindCtx returns the data of a session. If there is no such session, or it has ended, found is
// false and there is no error. The same holds for a token that is not a legal key, which scs cannot
// have made.
func (s *Store) FindCtx(ctx context.Context, token string) (data []byte, found bool, err error) {
	entry, err := s.store.Get(ctx, token)
	switch {
	case errors.Is(err, kv.ErrNotFound), errors.Is(err, kv.ErrInvalidKey):
		return nil, false, nil
	case err != nil:
		return nil, false, err
	}
	return entry.Value, true, nil
}

// CommitCtx stores the data of a session until expiry. If expiry has passed by the store's clock,
// it deletes the session.
func (s *Store) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	if !expiry.IsZero() { // for the store, the zero time would mean that the entry never expires
		_, err := s.store.Put(ctx, token, data, kv.ExpiresAt(expiry))
		if !errors.Is(err, kv.ErrInvalidOption) || expiry.After(kv.MaxExpiry) {
			return err
		}
	}
	return s.DeleteCtx(ctx, token)
}

// DeleteCtx deletes a session. It is not an error if there is no such session.
func (s *Store) DeleteCtx(ctx context.Context, token string) error {
	err := s.store.Delete(ctx, token)
	if errors.Is(err, kv.ErrInvalidKey) {
		return nil // no session has such a token
	}
	return err
}

// AllCtx returns the data of all sessions that have not ended, by token. It returns an error if
// the store has an entry that skykv did not write.
func (s *Store) AllCtx(ctx context.Context) (map[string][]byte, error) {
	all := make(map[string][]byte)
	for entry, err := range s.store.Scan(ctx, "") {
		if err != nil {
			return nil, err
		}
		all[entry.Key] = entry.Value
	}
	return all, nil
}

// Find is FindCtx without a context. The session manager of scs calls FindCtx.
func (s *Store) Find(token string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), token)
}

// Commit is CommitCtx without a context.
func (s *Store) Commit(token string, data []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), token, data, expiry)
}

// Delete is DeleteCtx without a context.
func (s *Store) Delete(token string) error { return s.DeleteCtx(context.Background(), token) }

// All is AllCtx without a context.
func (s *Store) All() (map[string][]byte, error) { return s.AllCtx(context.Background()) }
