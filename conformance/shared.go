package conformance

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
)

const (
	// mostLate is the number of cases over their time limits at which the suite ends. Cases
	// of a shared store run one after another, so more slow cases would take too long.
	mostLate = 3

	// mostLeft is the greatest number of keys that the suite removes after a case. If there
	// are more, the suite ends with an error.
	mostLeft = 100_000
)

// sharedStore runs cases one after another in the store of a Config with Shared.
type sharedStore struct {
	config Config
	late   int
}

// openShared checks that the store is empty, because the suite deletes everything in it.
func openShared(ctx context.Context, config Config) (*sharedStore, error) {
	s := &sharedStore{config: config}
	return s, s.within(ctx, "looking into the shared store", func(ctx context.Context, store *kv.Store) error {
		for entry, err := range store.Scan(ctx, "", kv.Limit(1), kv.KeysOnly()) {
			if err != nil {
				return err
			}
			return fmt.Errorf("it is not empty, it has the key %q; want an empty store, because the suite deletes everything there", entry.Key)
		}
		return nil
	})
}

// The method try runs a case, and then removes all entries. If it returns an error, no
// further case can use the store, and the error says why.
func (s *sharedStore) try(ctx context.Context, c testCase) (Result, error) {
	// If a request were cancelled, the service could still carry it out after the entries
	// of the case are removed.
	ctx = context.WithoutCancel(ctx)
	result, end := c.try(ctx, s.config, nil)
	switch end {
	case leftBehind:
		return result, fmt.Errorf("conformance: the case %s does not end, and may still write to the shared store", c.Name)
	case late:
		if s.late++; s.late == mostLate {
			return result, fmt.Errorf("conformance: %d cases took longer than %v", s.late, s.config.caseTimeout())
		}
	}
	return result, s.within(ctx, "clearing the shared store", func(ctx context.Context, store *kv.Store) error {
		// By this clock nothing has expired, so the scan also finds the entries that expired
		// during the case.
		all := store.With(kv.Clock(func() time.Time { return time.UnixMilli(1) }))
		var keys []string
		for entry, err := range all.Scan(ctx, "", kv.KeysOnly()) {
			if err == nil && len(keys) == mostLeft {
				err = fmt.Errorf("a scan does not end: it has yielded %d keys", mostLeft)
			}
			if err != nil {
				return err
			}
			keys = append(keys, entry.Key)
		}
		return all.DeleteMany(ctx, keys)
	})
}

// The method within opens the store, calls f and closes the store. It waits no longer than the
// suite waits for a case. The text what describes f in errors.
func (s *sharedStore) within(ctx context.Context, what string, f func(ctx context.Context, store *kv.Store) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.config.caseTimeout())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		store, err := s.config.New(ctx)
		if err == nil {
			err = errors.Join(f(ctx, store), store.Close())
		}
		done <- err
	}()
	var err error
	select {
	case err = <-done:
	case <-time.After(s.config.caseTimeout() + s.config.patience()):
		err = fmt.Errorf("a call does not return within %v", s.config.caseTimeout())
	}
	if err != nil {
		return fmt.Errorf("conformance: %s: %w", what, err)
	}
	return nil
}

// runShared is Run for a Config with Shared.
func runShared(t *testing.T, config Config) {
	t.Helper()
	store, err := openShared(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range config.cases() {
		t.Run(c.Name, func(t *testing.T) {
			var result Result
			result, err = store.try(t.Context(), c)
			if failure := errors.Join(result.Err(), err); failure != nil {
				t.Error(failure)
			}
		})
		if err != nil {
			return
		}
	}
}

// checkShared is check for a Config with Shared.
func checkShared(ctx context.Context, config Config, cases []testCase) iter.Seq2[Result, error] {
	return func(yield func(Result, error) bool) {
		store, err := openShared(ctx, config)
		if err != nil {
			yield(Result{}, err)
			return
		}
		for _, c := range cases {
			if ctx.Err() != nil {
				break
			}
			result, err := store.try(ctx, c)
			if ctx.Err() != nil {
				break
			}
			if !yield(result, nil) {
				return
			}
			if err != nil {
				yield(Result{}, err)
				return
			}
		}
		if err := context.Cause(ctx); err != nil {
			yield(Result{}, err)
		}
	}
}
