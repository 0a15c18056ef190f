package reference

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/skykv/skykv/kv"
)

// Interleaving is a run of operations, one after another, on a few keys. There are two sides:
// skykv (ours) makes some of the operations, and a program of the Alien platform (theirs)
// makes the others.
type Interleaving struct {
	Ours   *kv.Store
	Theirs Store

	Seed       uint64
	Operations int
	Keys       int

	// Now is the clock of both sides. Pass, if set, is called before each operation and may
	// move the clock.
	Now  func() time.Time
	Pass func(rng *rand.Rand)
}

// model is the entry that a key should have. The sides may see different expiries.
type model struct {
	exists       bool
	value        string
	generation   int // how often an entry of this key was stored or deleted
	ours, theirs instant
}

// instant is an unknown instant within known bounds, because the sides read the clock during
// an operation. The zero instant means never.
type instant struct{ from, to time.Time }

// judged is how a side sees, or must see, an entry during an operation.
type judged int

const (
	live judged = iota
	gone
	either // the entry expires during the operation, or the operation does not read it
)

func (j judged) String() string { return [...]string{"live", "gone", "either"}[j] }

func (m *model) judge(expires instant, begun, ended time.Time) judged {
	switch {
	case !m.exists:
		return gone
	case expires == instant{} || ended.Before(expires.from):
		return live
	case !begun.Before(expires.to):
		return gone
	}
	return either
}

// interleaver is one run that is under way.
type interleaver struct {
	Interleaving
	rng        *rand.Rand
	models     []model
	versions   []seen[kv.Version]
	texts      []seen[string]
	violations []string
	history    []string
	counts     map[string]int
}

// seen is a version of a key that a side knows, and the generation of the entry with that version.
type seen[V any] struct {
	version    V
	generation int
	known      bool
}

// Run makes the operations. It returns the results that contradict the model, and how many
// operations there were, by kind and result. It stops early after five contradictions.
func (i Interleaving) Run(ctx context.Context) (violations []string, counts map[string]int, err error) {
	r := &interleaver{
		Interleaving: i, rng: rand.New(rand.NewPCG(i.Seed, 13)), counts: make(map[string]int),
		models: make([]model, i.Keys), versions: make([]seen[kv.Version], i.Keys), texts: make([]seen[string], i.Keys),
	}
	for n := range i.Operations {
		if i.Pass != nil {
			i.Pass(r.rng)
		}
		if err := r.step(ctx, n); err != nil {
			return r.violations, r.counts, fmt.Errorf("operation %d: %w; before it: %s", n, err, strings.Join(r.history, "; "))
		}
		if len(r.violations) >= 5 {
			break
		}
	}
	return r.violations, r.counts, nil
}

// ttl returns a random TTL of 0.3 to 3 s, or none.
func (r *interleaver) ttl() time.Duration {
	if r.rng.IntN(6) == 0 {
		return 0
	}
	return 300*time.Millisecond + time.Duration(r.rng.Int64N(int64(2700*time.Millisecond)))
}

func expiry(ttl time.Duration) []kv.PutOption {
	if ttl == 0 {
		return nil
	}
	return []kv.PutOption{kv.TTL(ttl)}
}

// who is the side that makes an operation.
type who int

const (
	them who = iota
	us
)

// result is the result of an operation. If it stored or deleted an entry, a new generation
// begins.
type result struct {
	what    string
	side    who
	took    judged
	stored  bool
	deleted bool
	value   string
}

func (r *interleaver) step(ctx context.Context, n int) error {
	k := r.rng.IntN(r.Keys)
	m := &r.models[k]
	key, value, ttl := name(k), fmt.Sprint("value ", n), r.ttl()
	kind := r.rng.IntN(kinds)
	if kind == kinds-1 {
		return r.scan(ctx)
	}
	begun := r.Now()
	var out result
	var err error
	if kind < kinds/2 {
		out, err = r.theirTurn(ctx, kind, k, key, value, ttl)
	} else {
		out, err = r.ourTurn(ctx, kind-kinds/2, k, key, value, ttl)
	}
	ended := r.Now()
	if err != nil {
		return fmt.Errorf("%s of %s: %w", out.what, key, err)
	}
	if out.what == "" { // the side has no version yet
		return nil
	}
	expires := m.theirs
	if out.side == us {
		expires = m.ours
	}
	if want := m.judge(expires, begun, ended); out.took != either && want != either && out.took != want {
		r.violate("%s of %s, from %s to %s, saw it as %s; want %s, because there is an entry: %v, which expires between %s and %s; before that: %s", out.what, key,
			begun.Format(clock), ended.Format(clock), out.took, want, m.exists, expires.from.Format(clock), expires.to.Format(clock), strings.Join(r.history, "; "))
	}
	r.note("%s of %s saw it as %s", out.what, key, out.took)
	r.counts[fmt.Sprintf("%s, %s", out.what, out.took)]++
	switch {
	case out.deleted:
		*m = model{generation: m.generation + 1}
	case out.stored:
		*m = model{exists: true, value: out.value, generation: m.generation + 1}
		if ttl != 0 {
			from, to := begun.Add(ttl), ended.Add(ttl)
			if out.side == them {
				from, to = r.Theirs.Expires(begun, ttl), r.Theirs.Expires(ended, ttl)
			}
			m.ours = instant{roundUp(from), roundUp(to)}
			if out.side == us {
				from, to = m.ours.from, m.ours.to
			}
			m.theirs = instant{r.Theirs.Sees(from), r.Theirs.Sees(to)}
		}
		if out.side == us {
			r.versions[k].generation = m.generation
		}
	}
	return nil
}

// kinds is the number of kinds of operations. The Alien platform's side makes the first half,
// and skykv's side the second half. The last kind is an exception: a scan by each side.
const kinds = 18

const clock = "15:04:05.000000"

func name(k int) string { return fmt.Sprintf("key:%d", k) }

func roundUp(at time.Time) time.Time {
	return at.Add(time.Millisecond - 1).Truncate(time.Millisecond)
}

func tookFor(isLive bool) judged {
	if isLive {
		return live
	}
	return gone
}

func (r *interleaver) theirTurn(ctx context.Context, kind, k int, key, value string, ttl time.Duration) (out result, err error) {
	m := &r.models[k]
	out = result{side: them, took: either, value: value}
	switch kind {
	case 0, 1:
		out.what = "their get"
		got, version, found, err := r.Theirs.Get(ctx, key)
		out.took = tookFor(found)
		if found {
			r.texts[k] = seen[string]{version, m.generation, true}
			r.wantValue(key, out.what, string(got), m)
		}
		return out, err
	case 2:
		out.what, out.stored = "their put", true
		return out, r.Theirs.Put(ctx, key, []byte(value), ttl)
	case 3, 4:
		out.what = "their put-if-absent"
		out.stored, err = r.Theirs.PutIfAbsent(ctx, key, []byte(value), ttl)
		out.took = tookFor(!out.stored)
		return out, err
	case 5, 6:
		known := r.texts[k]
		if !known.known {
			return result{}, nil
		}
		out.what = "their compare-and-swap"
		out.stored, err = r.Theirs.CompareAndSwap(ctx, key, known.version, []byte(value), ttl)
		out.took = tookFor(out.stored)
		return r.ofOld(out, key, known.generation, m, out.stored), err
	}
	out.what, out.deleted = "their deletion", true
	return out, r.Theirs.Delete(ctx, key)
}

func (r *interleaver) ourTurn(ctx context.Context, kind, k int, key, value string, ttl time.Duration) (out result, err error) {
	m := &r.models[k]
	out = result{side: us, took: either, value: value}
	done := func(v kv.Version, err error) (bool, error) {
		switch {
		case err == nil:
			if !v.IsZero() {
				r.versions[k] = seen[kv.Version]{v, m.generation, true}
			}
			return true, nil
		case errors.Is(err, kv.ErrIndeterminate) || !errors.Is(err, kv.ErrNotFound) && !errors.Is(err, kv.ErrConditionFailed):
			return false, err
		}
		return false, nil
	}
	switch kind {
	case 0:
		out.what = "our get"
		e, err := r.Ours.Get(ctx, key)
		found, err := done(e.Version, err)
		out.took = tookFor(found)
		if found {
			r.wantValue(key, out.what, string(e.Value), m)
			r.wantExpiry(key, e.ExpiresAt, m)
		}
		return out, err
	case 1:
		out.what = "our put"
		out.stored, err = done(r.Ours.Put(ctx, key, []byte(value), expiry(ttl)...))
		return out, err
	case 2:
		out.what = "our put-if-absent"
		out.stored, err = done(r.Ours.Put(ctx, key, []byte(value), append(expiry(ttl), kv.IfNotExists())...))
		out.took = tookFor(!out.stored)
		return out, err
	case 3, 4:
		known := r.versions[k]
		if !known.known {
			return result{}, nil
		}
		out.what = "our compare-and-swap"
		out.stored, err = done(r.Ours.Put(ctx, key, []byte(value), append(expiry(ttl), kv.IfVersion(known.version))...))
		out.took = tookFor(out.stored)
		return r.ofOld(out, key, known.generation, m, out.stored), err
	case 5:
		known := r.versions[k]
		if !known.known {
			return result{}, nil
		}
		out.what = "our deletion of a version"
		out.deleted, err = done(kv.Version{}, r.Ours.Delete(ctx, key, kv.IfVersion(known.version)))
		out.took = tookFor(out.deleted)
		return r.ofOld(out, key, known.generation, m, out.deleted), err
	case 6:
		out.what, out.value = "our touch", m.value
		opt := kv.TouchOption(kv.TTL(ttl))
		if ttl == 0 {
			opt = kv.ExpiresAt(time.Time{})
		}
		out.stored, err = done(r.Ours.Touch(ctx, key, opt))
		out.took = tookFor(out.stored)
		return out, err
	}
	out.what, out.deleted = "our deletion", true
	return out, r.Ours.Delete(ctx, key)
}

// ofOld checks the result of an operation whose condition is that the entry has a certain
// version. If that version is of an earlier generation, the operation must not have been
// carried out.
func (r *interleaver) ofOld(out result, key string, generation int, m *model, carriedOut bool) result {
	if generation == m.generation {
		return out
	}
	out.what += " of an old version"
	out.took = either
	if carriedOut {
		r.violate("%s of %s was carried out; the version is of generation %d, the entry of %d; before that: %s", out.what, key, generation, m.generation, strings.Join(r.history, "; "))
	}
	return out
}

// wantExpiry checks the expiry that our read returned. If the expiry is right, wantExpiry
// records it in the model, which may have known only bounds of the expiry.
func (r *interleaver) wantExpiry(key string, is time.Time, m *model) {
	if is.IsZero() != (m.ours == instant{}) || !is.IsZero() && (is.Before(m.ours.from) || is.After(m.ours.to)) {
		r.violate("our get of %s returns the expiry %s; want %s to %s", key, is.Format(clock), m.ours.from.Format(clock), m.ours.to.Format(clock))
		return
	}
	if !is.IsZero() {
		m.ours = instant{is, is}
	}
}

// scan compares the scans of both sides with the model.
func (r *interleaver) scan(ctx context.Context) error {
	begun := r.Now()
	theirs, err := r.Theirs.Scan(ctx, "key:")
	if err != nil {
		return fmt.Errorf("their scan: %w", err)
	}
	var ours []string
	for e, err := range r.Ours.Scan(ctx, "key:", kv.KeysOnly()) {
		if err != nil {
			return fmt.Errorf("our scan: %w", err)
		}
		ours = append(ours, e.Key)
	}
	ended := r.Now()
	for k := range r.models {
		m, key := &r.models[k], name(k)
		for _, side := range []struct {
			name    string
			keys    []string
			expires instant
		}{{"their", theirs, m.theirs}, {"our", ours, m.ours}} {
			want := m.judge(side.expires, begun, ended)
			if got := slices.Contains(side.keys, key); want != either && got != (want == live) {
				r.violate("%s scan lists %s: %v; want %v", side.name, key, got, want == live)
			}
		}
	}
	r.counts["scans"]++
	return nil
}

func (r *interleaver) wantValue(key, what, value string, m *model) {
	if value != m.value {
		r.violate("%s of %s returns %q; want %q", what, key, value, m.value)
	}
}

func (r *interleaver) note(format string, args ...any) {
	if len(r.history) == 12 {
		r.history = r.history[1:]
	}
	r.history = append(r.history, fmt.Sprintf(format, args...))
}

func (r *interleaver) violate(format string, args ...any) {
	r.violations = append(r.violations, fmt.Sprintf(format, args...))
}
