package scs

import (
	"context"
	"errors"
	"time"

	"github.com/skykv/skykv/kv"
)

// Store is a CtxStore and an IterableCtxStore of scs. It is safe for concurrent use.
type Store struct{ store *kv.Store }

// New returns the sessions in a store that holds nothing else.
func New(store *kv.Store) *Store { return &Store{store} }

// FindCtx returns the data of a session. A token that is no key was not made by scs, and is not
// found. So is one whose session has ended. Any other failure is an error.
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

// CommitCtx stores the data of a session until expiry. An expiry that has passed, by the store's
// clock, deletes the session.
func (s *Store) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	if !expiry.IsZero() { // to the store, the zero time is no expiry
		_, err := s.store.Put(ctx, token, data, kv.ExpiresAt(expiry))
		if !errors.Is(err, kv.ErrInvalidOption) || expiry.After(kv.MaxExpiry) {
			return err
		}
	}
	return s.DeleteCtx(ctx, token)
}

// DeleteCtx deletes a session. One that does not exist is no error.
func (s *Store) DeleteCtx(ctx context.Context, token string) error {
	err := s.store.Delete(ctx, token)
	if errors.Is(err, kv.ErrInvalidKey) {
		return nil // no session has such a token
	}
	return err
}

// AllCtx returns the data of all sessions that have not ended, by token. An entry that skykv did
// not write is an error.
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

// Find is FindCtx without a context. The manager of scs calls FindCtx.
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
