package localkv_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
)

// If the file has at least as many expired rows as the range has rows, a count reads the rows of
// the range. Otherwise it reads only the indexes and the expired rows. Both ways must return the
// same number.
func TestCountBothWays(t *testing.T) {
	t.Parallel()
	store, _ := newStore(t)
	past := store.With(kv.Clock(func() time.Time { return time.Now().Add(-time.Minute) }))
	for _, part := range []struct {
		prefix        string
		live, expired int
	}{{"a:", 5, 2}, {"b:", 300, 3}, {"c:", 0, 40}} {
		for n := range part.live + part.expired {
			s, ttl := store, kv.TTL(time.Hour)
			if n >= part.live {
				s, ttl = past, kv.TTL(time.Second)
			}
			if _, err := s.Put(t.Context(), fmt.Sprintf("%s%03d", part.prefix, n), nil, ttl); err != nil {
				t.Fatal(err)
			}
		}
	}
	for prefix, want := range map[string]int{"": 305, "a:": 5, "b:": 300, "c:": 0, "a:00": 5, "d": 0} {
		if n, err := store.Count(t.Context(), prefix); n != want || err != nil {
			t.Errorf("rule: a count leaves out expired rows; Count(%q) = %d, %v, want %d", prefix, n, err, want)
		}
	}
}

// closing is a context that has ended, but whose first call of Err still returns nil. So a
// count with this context begins, and is then interrupted.
type closing struct {
	context.Context
	looks int
}

func (c *closing) Done() <-chan struct{} {
	done := make(chan struct{})
	close(done)
	return done
}

func (c *closing) Err() error {
	if c.looks++; c.looks == 1 {
		return nil
	}
	return context.Canceled
}

func TestCountIsInterrupted(t *testing.T) {
	t.Parallel()
	store, _ := newStore(t)
	if _, err := store.Put(t.Context(), "key", nil); err != nil {
		t.Fatal(err)
	}
	for range 10 { // each count uses the connection of the count before, because they do not overlap
		n, err := store.Info().Count(&closing{Context: t.Context()}, kv.ScanRequest{From: "-", To: "~", Now: 1})
		if n != 0 || !errors.Is(err, context.Canceled) || errors.Is(err, kv.ErrUnavailable) {
			t.Fatalf("rule: a count ends with its context and returns the context's error; got %d, %v", n, err)
		}
	}
	n, err := store.Count(t.Context(), "")
	if n != 1 || err != nil {
		t.Errorf("rule: a connection works after an interrupted count; got %d, %v", n, err)
	}
	if _, err := store.Put(t.Context(), "other", nil); err != nil {
		t.Fatal(err)
	}
	if n, err := store.Count(t.Context(), ""); n != 2 || err != nil {
		t.Errorf("rule: an interrupted count leaves no transaction open, and a later one sees later writes; got %d, %v", n, err)
	}
}
