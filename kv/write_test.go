package kv_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// scripted returns prepared results for the writes of one call, one after another,
// like a service that loses responses and has other writers.
type scripted struct {
	kv.Driver
	t       *testing.T
	answers []answer
	asked   []kv.WriteRequest
}

type answer struct {
	out     kv.Outcome
	own     bool // the record that was found is from this call
	attempt int  // the attempt that wrote the record
	err     error
}

func (d *scripted) Write(_ context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	if len(d.asked) == len(d.answers) {
		d.t.Fatalf("rule: a call sends no needless request; request %d was not expected", len(d.asked)+1)
	}
	a := d.answers[len(d.asked)]
	d.asked = append(d.asked, req)
	if a.own {
		a.out.Found.Token = kv.AttemptToken(req.Token, a.attempt)
	}
	return a.out, a.err
}

var now = time.Date(2026, 3, 1, 12, 0, 0, 123_456_789, time.UTC)

func scriptedStore(t *testing.T, answers ...answer) (*kv.Store, *scripted) {
	d := &scripted{t: t, answers: answers}
	store := memkv.New().With(kv.Clock(func() time.Time { return now }), kv.Wrap(kv.Level1, func(next kv.Driver) kv.Driver {
		d.Driver = next
		return d
	}))
	return store, d
}

// anyVersion returns a version of the key "k" that a scripted store accepts.
func anyVersion(t *testing.T, expires time.Time) kv.Version {
	t.Helper()
	store := memkv.New()
	version, err := store.Put(t.Context(), "k", nil, kv.ExpiresAt(expires))
	if err != nil {
		t.Fatal(err)
	}
	return version
}

var errReset = errors.New("connection reset")

func TestOutcomesOfWrites(t *testing.T) {
	t.Parallel()
	live := kv.Record{Key: "k", Token: "other", Version: "v1"}
	gone := kv.Record{Key: "k", Token: "other", Version: "v1", Expires: now.UnixMilli()}
	version := anyVersion(t, time.Time{})
	done := answer{out: kv.Outcome{Done: true, Version: "v9"}}
	found := func(rec kv.Record, mayHaveApplied bool) answer {
		return answer{out: kv.Outcome{Exists: true, Found: rec, MayHaveApplied: mayHaveApplied}}
	}
	own := answer{own: true, out: kv.Outcome{Exists: true, Found: kv.Record{Key: "k", Version: "v9"}, MayHaveApplied: true}}
	vanished := func(mayHaveApplied bool) answer { return answer{out: kv.Outcome{MayHaveApplied: mayHaveApplied}} }
	put := func(opts ...kv.PutOption) func(context.Context, *kv.Store) error {
		return func(ctx context.Context, s *kv.Store) error {
			_, err := s.Put(ctx, "k", []byte("v"), opts...)
			return err
		}
	}
	del := func(opts ...kv.DeleteOption) func(context.Context, *kv.Store) error {
		return func(ctx context.Context, s *kv.Store) error { return s.Delete(ctx, "k", opts...) }
	}

	for _, c := range []struct {
		name    string
		rule    string
		call    func(context.Context, *kv.Store) error
		answers []answer
		is, not []error
	}{
		{"create", "a put-if-absent that was applied is stored", put(kv.IfNotExists()), []answer{done}, nil, nil},
		{"create-live", "a put-if-absent of a live key fails", put(kv.IfNotExists()), []answer{found(live, false)},
			[]error{kv.ErrConditionFailed}, []error{kv.ErrIndeterminate}},
		{"create-own", "a retry that finds the call's own write is a success", put(kv.IfNotExists()), []answer{own}, nil, nil},
		{"create-live-retried", "a condition that fails after an attempt that may have been applied is indeterminate", put(kv.IfNotExists()), []answer{found(live, true)},
			[]error{kv.ErrIndeterminate}, []error{kv.ErrConditionFailed}},
		{"create-expired", "an expired entry is replaced", put(kv.IfNotExists()), []answer{found(gone, false), done}, nil, nil},
		{"create-expired-lost", "of several writers one wins", put(kv.IfNotExists()), []answer{found(gone, false), found(live, false)},
			[]error{kv.ErrConditionFailed}, []error{kv.ErrIndeterminate}},
		{"create-expired-own", "a replacement whose response was lost is a success", put(kv.IfNotExists()), []answer{found(gone, false), own}, nil, nil},
		{"create-expired-retried", "after an earlier request of unknown result the call is indeterminate", put(kv.IfNotExists()), []answer{found(gone, true), found(live, false)},
			[]error{kv.ErrIndeterminate}, []error{kv.ErrConditionFailed}},
		{"create-vanished", "an entry that vanished before it was read is absent", put(kv.IfNotExists()), []answer{vanished(false), done}, nil, nil},
		{"create-vanished-retried-error", "after an earlier request of unknown result an error is indeterminate", put(kv.IfNotExists()), []answer{vanished(true), {err: &kv.Error{Kind: kv.ErrThrottled}}},
			[]error{kv.ErrIndeterminate, kv.ErrThrottled}, nil},
		{"cas", "a compare-and-swap that was applied is stored", put(kv.IfVersion(version)), []answer{done}, nil, nil},
		{"cas-own", "a retry that finds the call's own write is a success", put(kv.IfVersion(version)), []answer{own}, nil, nil},
		{"cas-stale", "a stale version fails", put(kv.IfVersion(version)), []answer{found(live, false)}, []error{kv.ErrConditionFailed}, []error{kv.ErrIndeterminate}},
		{"cas-absent", "a version of a deleted entry fails", put(kv.IfVersion(version)), []answer{vanished(false)}, []error{kv.ErrConditionFailed}, []error{kv.ErrIndeterminate}},
		{"cas-retried", "a compare-and-swap is repeated only by the SDK, never by the store", put(kv.IfVersion(version)), []answer{found(live, true)},
			[]error{kv.ErrIndeterminate}, []error{kv.ErrConditionFailed}},
		{"put-refused", "after an error without MayHaveApplied nothing was written", put(), []answer{{err: &kv.Error{Kind: kv.ErrPermission, Err: errReset}}},
			[]error{kv.ErrPermission, errReset}, []error{kv.ErrIndeterminate}},
		{"put-unknown", "an error with MayHaveApplied matches its cause as well", put(), []answer{{err: &kv.Error{Kind: kv.ErrUnavailable, MayHaveApplied: true, Err: errReset}}},
			[]error{kv.ErrIndeterminate, kv.ErrUnavailable, errReset}, nil},
		{"put-plain", "after a driver's plain error the write may have been applied", put(), []answer{{err: context.DeadlineExceeded}},
			[]error{kv.ErrIndeterminate, context.DeadlineExceeded}, nil},
		{"delete", "a delete that was applied is no error", del(), []answer{done}, nil, nil},
		{"delete-version", "a delete of that version is no error", del(kv.IfVersion(version)), []answer{done}, nil, nil},
		{"delete-stale", "a stale version fails", del(kv.IfVersion(version)), []answer{found(live, false)}, []error{kv.ErrConditionFailed}, []error{kv.ErrIndeterminate}},
		{"delete-retried", "a conditional delete leaves no trace, so after a lost attempt it is indeterminate", del(kv.IfVersion(version)), []answer{vanished(true)},
			[]error{kv.ErrIndeterminate}, []error{kv.ErrConditionFailed}},
		{"delete-plain", "after a driver's plain error the delete may have been applied", del(), []answer{{err: errReset}}, []error{kv.ErrIndeterminate, errReset}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			store, d := scriptedStore(t, c.answers...)
			err := c.call(t.Context(), store)
			if (err == nil) != (c.is == nil) {
				t.Fatalf("rule: %s; got error %v", c.rule, err)
			}
			for _, want := range c.is {
				if !errors.Is(err, want) {
					t.Errorf("rule: %s; error %q does not match %q", c.rule, err, want)
				}
			}
			for _, unwanted := range c.not {
				if errors.Is(err, unwanted) {
					t.Errorf("rule: %s; error %q matches %q", c.rule, err, unwanted)
				}
			}
			if len(d.asked) != len(c.answers) {
				t.Errorf("rule: %s; %d requests were made, want %d", c.rule, len(d.asked), len(c.answers))
			}
			for _, req := range d.asked {
				if req.Now != now.UnixMilli() {
					t.Errorf("rule: a call judges by the clock reading at its start; a request carries %d, want %d", req.Now, now.UnixMilli())
				}
			}
		})
	}
}

func TestTakeoverReplacesTheVersionFound(t *testing.T) {
	t.Parallel()
	gone := kv.Record{Key: "k", Token: "other", Version: "v1", Expires: now.UnixMilli() - 1}
	store, d := scriptedStore(t, answer{out: kv.Outcome{Exists: true, Found: gone}}, answer{out: kv.Outcome{Done: true, Version: "v2"}})
	if _, err := store.Put(t.Context(), "k", nil, kv.IfNotExists()); err != nil {
		t.Fatal(err)
	}
	want := []kv.Condition{{Kind: kv.CondAbsent}, {Kind: kv.CondVersion, Version: "v1"}}
	for i, req := range d.asked {
		if req.Condition != want[i] {
			t.Errorf("rule: an expired entry is replaced only in the state in which it was found; request %d has %+v, want %+v", i, req.Condition, want[i])
		}
	}
}

// nameless is a driver that never reports a version.
type nameless struct{ kv.Driver }

func (d nameless) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	found, err := d.Driver.Get(ctx, req)
	found.Version = ""
	return found, err
}

func (d nameless) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	if req.Condition.Kind == kv.CondAbsent {
		req.Now = 0 // no record is expired for the driver, so the store must check the expiry
	}
	out, err := d.Driver.Write(ctx, req)
	out.Version, out.Found.Version = "", ""
	return out, err
}

func TestNoVersionIsNoCondition(t *testing.T) {
	t.Parallel()
	store := memkv.New().With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return nameless{d} }))
	written, err := store.Put(t.Context(), "k", []byte("old"), kv.TTL(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	read, err := store.Get(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	for how, version := range map[string]kv.Version{"Put": written, "Get": read.Version} {
		if _, err := store.Put(t.Context(), "k", []byte("new"), kv.IfVersion(version)); !errors.Is(err, kv.ErrInvalidVersion) {
			t.Errorf("rule: a version that names no state is ErrInvalidVersion, and not a Put without a condition; with the version of %s it returned %v", how, err)
		}
		if err := store.Delete(t.Context(), "k", kv.IfVersion(version)); !errors.Is(err, kv.ErrInvalidVersion) {
			t.Errorf("rule: a version that names no state is ErrInvalidVersion, and not a Delete without a condition; with the version of %s it returned %v", how, err)
		}
	}
	if entry, err := store.Get(t.Context(), "k"); err != nil || string(entry.Value) != "old" {
		t.Errorf("rule: a refused write changes nothing; Get returns %q, %v", entry.Value, err)
	}
	later := store.With(kv.Clock(func() time.Time { return time.Now().Add(2 * time.Hour) }))
	if _, err := later.Put(t.Context(), "k", []byte("new"), kv.IfNotExists()); err == nil || errors.Is(err, kv.ErrIndeterminate) {
		t.Errorf("rule: an expired entry is replaced only in the state in which it was found, and not at all without a version; Put returned %v", err)
	}
	if entry, err := store.Get(t.Context(), "k"); err != nil || string(entry.Value) != "old" {
		t.Errorf("rule: after an error that is not ErrIndeterminate nothing was written; Get returns %q, %v", entry.Value, err)
	}
}

// If a Put calls the driver several times, each call has a new token, because any of the
// requests may arrive late.
func TestEachRoundHasItsToken(t *testing.T) {
	t.Parallel()
	gone := answer{out: kv.Outcome{Exists: true, Found: kv.Record{Key: "k", Token: "other", Version: "v1", Expires: now.UnixMilli() - 1}}}
	none := answer{}
	store, d := scriptedStore(t, gone, none, gone, answer{out: kv.Outcome{Done: true, Version: "v2"}})
	if _, err := store.Put(t.Context(), "k", nil, kv.IfNotExists()); err != nil {
		t.Fatal(err)
	}
	var tokens []string
	for i, req := range d.asked {
		tokens = append(tokens, req.Token)
		if i > 0 && (slices.Contains(tokens[:i], req.Token) || kv.AttemptToken(tokens[0], i<<12) != req.Token) {
			t.Errorf("rule: each round has its own token of the same write; the tokens are %q", tokens)
		}
	}
	// The store recognises the write of any attempt.
	lost := answer{out: kv.Outcome{Exists: true, Found: kv.Record{Key: "k", Version: "v7"}, MayHaveApplied: true}, own: true, attempt: 2}
	store, _ = scriptedStore(t, none, lost)
	version, err := store.Put(t.Context(), "k", nil, kv.IfNotExists())
	if err != nil || version.IsZero() {
		t.Errorf("rule: the write of an earlier attempt is recognised; got %v, %v", version, err)
	}
}

func TestPutGivesUpOnADriverThatNeverSettles(t *testing.T) {
	t.Parallel()
	store, _ := scriptedStore(t, make([]answer, 100)...)
	_, err := store.Put(t.Context(), "k", nil, kv.IfNotExists())
	if !errors.Is(err, kv.ErrUnavailable) || errors.Is(err, kv.ErrIndeterminate) {
		t.Errorf("rule: a put whose record changes before every attempt ends as unavailable, with nothing written; got %v", err)
	}
}

func TestExpiredVersionIsRefusedWithoutIO(t *testing.T) {
	t.Parallel()
	soon := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	version := anyVersion(t, soon)
	store, d := scriptedStore(t)
	store = store.With(kv.Clock(func() time.Time { return soon }))
	// A compare-and-swap passes on the version and the expiry that it read. Both are now
	// refused, and the error must be about the version.
	_, err := store.Put(t.Context(), "k", nil, kv.IfVersion(version), kv.ExpiresAt(soon))
	if !errors.Is(err, kv.ErrConditionFailed) {
		t.Errorf("rule: a version whose expiry has passed is ErrConditionFailed; Put returned %v", err)
	}
	if err := store.Delete(t.Context(), "k", kv.IfVersion(version)); !errors.Is(err, kv.ErrConditionFailed) {
		t.Errorf("rule: a version whose expiry has passed is ErrConditionFailed; Delete returned %v", err)
	}
	if len(d.asked) != 0 {
		t.Errorf("rule: an old version needs no request; %d were made", len(d.asked))
	}
}

func TestBothConditionsAreRefused(t *testing.T) {
	t.Parallel()
	version := anyVersion(t, time.Time{})
	for _, opts := range [][]kv.PutOption{
		{kv.IfNotExists(), kv.IfVersion(version)},
		{kv.IfVersion(version), kv.IfNotExists()},
		{kv.IfVersion(version), kv.IfVersion(version)},
	} {
		store, _ := scriptedStore(t)
		if _, err := store.Put(t.Context(), "k", nil, opts...); !errors.Is(err, kv.ErrInvalidOption) {
			t.Errorf("rule: a put has at most one condition; got %v", err)
		}
	}
	store, _ := scriptedStore(t)
	if err := store.Delete(t.Context(), "k", kv.IfVersion(version), kv.IfVersion(version)); !errors.Is(err, kv.ErrInvalidOption) {
		t.Errorf("rule: a delete has at most one condition; got %v", err)
	}
}
