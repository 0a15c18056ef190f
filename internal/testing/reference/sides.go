package reference

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
)

// Open opens a table or collection that nothing else uses, for skykv (ours) and for the
// programs of the Alien platform (theirs). now is the clock of these programs.
type Open func(t *testing.T, now func() time.Time) (ours *kv.Store, theirs Store)

// keys returns the valid keys of the test vectors of package internal/alien.
func keys(t *testing.T) iter.Seq[string] {
	text, err := os.ReadFile("../../internal/alien/testdata/buckets.tsv") // relative to a provider's folder
	if err != nil {
		t.Fatal(err)
	}
	return func(yield func(string) bool) {
		for line := range strings.Lines(string(text)) {
			key, _, _ := strings.Cut(line, "\t")
			if kv.ValidateKey(key) == nil && !yield(key) {
				return
			}
		}
	}
}

// SeeEachOther checks that skykv and the programs of the Alien platform read each other's
// writes, and that skykv accepts the versions of entries that these programs stored.
func SeeEachOther(t *testing.T, open Open) {
	ctx := t.Context()
	ours, theirs := open(t, time.Now)
	for key := range keys(t) {
		if _, err := ours.Put(ctx, key, []byte("ours")); err != nil {
			t.Fatal(err)
		}
		if value, _, found, err := theirs.Get(ctx, key); err != nil || !found || string(value) != "ours" {
			t.Errorf("their get of our %.20q: %q, %v, %v", key, value, found, err)
		}
		before := time.Now()
		if err := theirs.Put(ctx, key, []byte("theirs"), time.Hour); err != nil {
			t.Fatal(err)
		}
		e, err := ours.Get(ctx, key)
		from, to := theirs.Expires(before, time.Hour), roundUp(theirs.Expires(time.Now(), time.Hour))
		if err != nil || string(e.Value) != "theirs" || e.ExpiresAt.Before(from) || e.ExpiresAt.After(to) {
			t.Errorf("our get of their %.20q: %q until %s, %v; want an instant from %s to %s", key, e.Value, e.ExpiresAt, err, from, to)
		}
		for _, opt := range []kv.TouchOption{kv.TTL(time.Minute), kv.ExpiresAt(time.Time{})} {
			if e.Version, err = ours.Touch(ctx, key, opt, kv.IfVersion(e.Version)); err != nil {
				t.Errorf("our touch of their %.20q: %v", key, err)
			}
			if value, _, found, err := theirs.Get(ctx, key); err != nil || !found || string(value) != "theirs" {
				t.Errorf("their get of %.20q, which we touched: %q, %v, %v", key, value, found, err)
			}
		}
		if e, err := ours.Get(ctx, key); err != nil || !e.ExpiresAt.IsZero() {
			t.Errorf("our get of %.20q, whose expiry our touch removed: until %s, %v", key, e.ExpiresAt, err)
		}
	}
	n, err := ours.Increment(ctx, "counter", 41)
	if err != nil || n != 41 {
		t.Fatalf("Increment = %d, %v", n, err)
	}
	if err := theirs.Put(ctx, "counter", []byte("7"), 0); err != nil {
		t.Fatal(err)
	}
	if n, err := ours.Increment(ctx, "counter", 1); err != nil || n != 8 {
		t.Errorf("Increment of their number = %d, %v; want 8", n, err)
	}
}

// RemovePredecessors checks an Increment whose response is lost. If skykv then writes again,
// the result of the Increment is still known. If a program of the Alien platform writes, it
// removes the tokens of all earlier writes, so the result is ErrIndeterminate.
func RemovePredecessors(t *testing.T, open Open) {
	ctx := t.Context()
	ours, theirs := open(t, time.Now)
	if _, err := ours.Increment(ctx, "n", 1); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		between func() error
		kind    error
	}{
		"ours":   {func() error { _, err := ours.Increment(ctx, "n", 1); return err }, nil},
		"theirs": {func() error { return theirs.Put(ctx, "n", []byte("5"), 0) }, kv.ErrIndeterminate},
	} {
		lossy := ours.With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver {
			return &losing{Driver: d, after: test.between}
		}))
		if _, err := lossy.Increment(ctx, "n", 1); !errors.Is(err, test.kind) {
			t.Errorf("an Increment whose response is lost, followed by a write of %s: %v; want %v", name, err, test.kind)
		}
	}
}

// losing is a driver that loses the response to its first write. It carries out the write, calls
// the function after, and then returns an error.
type losing struct {
	kv.Driver
	once  sync.Once
	after func() error
}

func (d *losing) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	out, err := d.Driver.Write(ctx, req)
	d.once.Do(func() {
		if err == nil {
			err = d.after()
		}
		out, err = kv.Outcome{}, errors.Join(err, &kv.Error{Kind: kv.ErrUnavailable, MayHaveApplied: true, Err: errors.New("lost")})
	})
	return out, err
}

// interleaving returns a run of operations by skykv and by the Alien platform on a few keys.
// If the environment variable SKYKV_INTERLEAVE is set, it is the number of operations, and the run
// uses the real clock. Otherwise the run uses a test clock, which moves in random steps.
func interleaving(t *testing.T, open Open, seed uint64) Interleaving {
	run := Interleaving{Seed: seed, Operations: 1200, Keys: 4, Now: time.Now}
	if text := os.Getenv("SKYKV_INTERLEAVE"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("SKYKV_INTERLEAVE is %q; want a number", text)
		}
		run.Operations, run.Keys = n, 8
	} else {
		at := time.Now().Add(time.Hour) // the service's own clock is earlier, so the service removes nothing
		run.Now = func() time.Time { return at }
		run.Pass = func(rng *rand.Rand) { at = at.Add(time.Duration(rng.Int64N(int64(150 * time.Millisecond)))) }
	}
	run.Ours, run.Theirs = open(t, run.Now)
	run.Ours = run.Ours.With(kv.Clock(run.Now))
	return run
}

// Interleave checks that the operations of skykv and of the Alien platform on the same keys
// have the results that a model predicts.
func Interleave(t *testing.T, open Open) {
	run := interleaving(t, open, 1)
	violations, counts, err := run.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, violation := range violations {
		t.Errorf("rule: each side uses its own expiry, and a version belongs to one entry: %s", violation)
	}
	t.Logf("%d operations: %v", run.Operations, counts)
	for _, what := range []string{
		"their put-if-absent, gone", "their put-if-absent, live", "our put-if-absent, gone", "our put-if-absent, live", "their compare-and-swap, live",
		"our compare-and-swap, live", "their compare-and-swap of an old version, either", "our compare-and-swap of an old version, either", "our touch, live", "our touch, gone",
	} {
		if counts[what] < 3 {
			t.Errorf("the run has %d of %q; want at least 3", counts[what], what)
		}
	}
}

// FindBugs checks that Interleave finds bugs of a driver. The function misplaced returns a store
// for the table of a run. The bug of that store is that it uses the shards of skykv's own
// layout.
func FindBugs(t *testing.T, open Open, misplaced func(t *testing.T, run Interleaving) *kv.Store) {
	for name, bug := range map[string]func(req *kv.WriteRequest, found *kv.Found){
		"a put with a version ignores it": func(req *kv.WriteRequest, _ *kv.Found) {
			if req != nil && req.Kind == kv.KindPut && req.Condition.Kind == kv.CondVersion {
				req.Condition = kv.Condition{}
			}
		},
		"an expiry is rounded to the second": func(_ *kv.WriteRequest, found *kv.Found) {
			if found != nil {
				found.Expires = (found.Expires + 999) / 1000 * 1000
			}
		},
		"an expiry is rounded down": func(req *kv.WriteRequest, _ *kv.Found) {
			if req != nil {
				req.Expires = req.Expires / 1000 * 1000
			}
		},
		"a key is in skykv's own shard": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := interleaving(t, open, 2)
			if bug == nil {
				run.Ours = misplaced(t, run).With(kv.Clock(run.Now))
			} else {
				run.Ours = run.Ours.With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return &buggy{d, bug} }))
			}
			violations, _, err := run.Run(t.Context())
			if err == nil && len(violations) == 0 {
				t.Error("rule: the interleaving test finds this bug; it found nothing")
			}
		})
	}
}

// buggy is a driver whose requests and results the function bug may change.
type buggy struct {
	kv.Driver
	bug func(req *kv.WriteRequest, found *kv.Found)
}

func (d *buggy) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	found, err := d.Driver.Get(ctx, req)
	d.bug(nil, &found)
	return found, err
}

func (d *buggy) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	d.bug(&req, nil)
	out, err := d.Driver.Write(ctx, req)
	found := kv.Found{Record: out.Found, Exists: out.Exists}
	d.bug(nil, &found)
	out.Found = found.Record
	return out, err
}
