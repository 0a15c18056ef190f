package firestorekv

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/skykv/skykv/kv"
)

// The rule: several writes are one Commit if their conditions hold. A read comes first for a
// touch without a version, and last after a condition that fails.
func TestAtomicRequests(t *testing.T) {
	t.Parallel()
	f := &fake{}
	s := newStore(t, f)
	ctx := t.Context()
	put := func(key string) kv.Version {
		v, err := s.Put(ctx, key, []byte("old"))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	a, b, c := put("g::a"), put("g::b"), put("g::c")
	for _, test := range []struct {
		name string
		ops  []kv.Op
		err  error
		want string
	}{
		{"puts and a delete", []kv.Op{kv.PutOp("g::a", nil, kv.IfVersion(a)), kv.PutOp("g::new", nil, kv.IfNotExists()), kv.DeleteOp("g::b", kv.IfVersion(b))}, nil, "1 Commit"},
		{"checks", []kv.Op{kv.PutOp("g::d", nil), kv.CheckOp("g::c", kv.IfVersion(c)), kv.CheckOp("g::none", kv.IfNotExists())}, nil, "1 Commit"},
		{"a touch under a version", []kv.Op{kv.TouchOp("g::c", kv.TTL(time.Hour), kv.IfVersion(c)), kv.PutOp("g::d", nil)}, nil, "1 Commit"},
		{"a touch of whatever is there", []kv.Op{kv.TouchOp("g::c", kv.TTL(time.Hour)), kv.PutOp("g::d", nil)}, nil, "1 BatchGetDocuments, 1 Commit"},
		{"a touch of nothing", []kv.Op{kv.TouchOp("g::none", kv.TTL(time.Hour)), kv.PutOp("g::d", nil)}, kv.ErrConditionFailed, "1 BatchGetDocuments"},
		{"a condition that fails", []kv.Op{kv.PutOp("g::c", nil, kv.IfVersion(c)), kv.PutOp("g::d", nil)}, kv.ErrConditionFailed, "1 BatchGetDocuments, 1 Commit"},
	} {
		f.reset()
		if _, err := s.AtomicWrite(ctx, test.ops...); !errors.Is(err, test.err) {
			t.Errorf("%s: %v; want %v", test.name, err, test.err)
		}
		if got := f.count(); got != test.want {
			t.Errorf("rule: several writes are one Commit if their conditions hold; %s takes %s, want %s", test.name, got, test.want)
		}
	}
	if e, err := s.Get(ctx, "g::c"); string(e.Value) != "old" || e.ExpiresAt.IsZero() || err != nil {
		t.Errorf("rule: a touch sets the expiry and leaves the value; got %q until %s, %v", e.Value, e.ExpiresAt, err)
	}
}

// The rule: a check changes nothing, not even the version of the entry.
func TestChecksChangeNothing(t *testing.T) {
	t.Parallel()
	s := newStore(t, &fake{})
	v, err := s.Put(t.Context(), "g::a", []byte("old"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.AtomicWrite(t.Context(), kv.CheckOp("g::a", kv.IfVersion(v)), kv.PutOp("g::b", nil)); err != nil {
		t.Fatal(err)
	}
	if e, err := s.Get(t.Context(), "g::a"); e.Version != v || string(e.Value) != "old" || err != nil {
		t.Errorf("rule: a check leaves the entry as it is; got %+v, %v", e, err)
	}
}

// TestAtomicWritesUnderLoss has atomic writes whose requests are refused, or whose
// responses are lost.
func TestAtomicWritesUnderLoss(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		refuse  codes.Code // of the first attempts, which are not carried out
		lose    codes.Code // of the first attempts, which are carried out
		times   int
		applied bool
		want    error
	}{
		{"contention that passes", codes.Aborted, codes.OK, 3, true, nil},
		{"contention without end", codes.Aborted, codes.OK, 100, false, kv.ErrThrottled},
		{"an outage that passes", codes.Unavailable, codes.OK, 3, true, nil},
		{"a lost response", codes.OK, codes.Unavailable, 1, true, nil},
		{"all responses lost", codes.OK, codes.Unavailable, 100, true, nil}, // the tokens show that the writes were applied
		{"an argument that the service refuses", codes.InvalidArgument, codes.OK, 100, false, errAny},
	} {
		f := &fake{}
		s := newStore(t, f)
		fault := func(code codes.Code) func(context.Context, string, int) error {
			return func(_ context.Context, method string, n int) error {
				if method == "Commit" && n < c.times && code != codes.OK {
					return status.Error(code, "told to")
				}
				return nil
			}
		}
		f.refuse, f.lose = fault(c.refuse), fault(c.lose)
		f.reset()
		versions, err := s.AtomicWrite(t.Context(), kv.PutOp("g::a", []byte("new"), kv.IfNotExists()), kv.PutOp("g::b", []byte("new")))
		f.refuse, f.lose = nil, nil
		var failed *kv.Error
		switch {
		case c.want == nil && err != nil, c.want == kv.ErrThrottled && !errors.Is(err, kv.ErrThrottled), c.want != nil && err == nil, errors.Is(err, kv.ErrConditionFailed):
			t.Errorf("rule: after %s the error is %v; got %v", c.name, c.want, err)
		case errors.As(err, &failed) && failed.MayHaveApplied:
			t.Errorf("rule: a refused write was not applied; after %s the error is %v", c.name, err)
		}
		for i, key := range []string{"g::a", "g::b"} {
			e, err := s.Get(t.Context(), key)
			if applied := err == nil; applied != c.applied || applied && e.Version != versions[i] {
				t.Errorf("rule: all of it is applied or nothing; after %s %s has %s, %v", c.name, key, fmt.Sprint(e), err)
			}
		}
	}
}

var errAny = errors.New("any error")
