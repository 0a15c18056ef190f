package conformance

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/skykv/skykv/kv"
)

// atomicRule returns a case for stores with AtomicWrite. On any other store the case checks
// that AtomicWrite returns ErrUnsupported.
func atomicRule(name, words string, run func(t *trial)) testCase {
	c := rule(name, words+" A store without MaxAtomicWrites returns ErrUnsupported instead.", nil)
	_, c.file, _, _ = runtime.Caller(1)
	c.run = func(t *trial) {
		if t.hasAtomicWrite() {
			run(t)
		}
	}
	return c
}

// hasAtomicWrite reports whether the store has AtomicWrite. If not, it checks that AtomicWrite
// returns ErrUnsupported. The store must be empty.
func (t *trial) hasAtomicWrite() bool {
	if t.Info().MaxAtomicWrites > 0 {
		return true
	}
	t.lacks = lacksAtomic
	t.wantRefused("AtomicWrite", kv.ErrUnsupported, func() error {
		_, err := t.AtomicWrite(t.ctx, kv.PutOp("g::a", nil), kv.PutOp("g::b", nil))
		return err
	})
	t.wantContent()
	return false
}

// atomic makes an AtomicWrite that must succeed.
func (t *trial) atomic(ops ...kv.Op) []kv.Version {
	versions, err := t.AtomicWrite(t.ctx, ops...)
	if err != nil {
		t.Fatalf("AtomicWrite: %v", err)
	}
	if len(versions) != len(ops) {
		t.Fatalf("AtomicWrite returns %d versions for %d operations", len(versions), len(ops))
	}
	return versions
}

// wantConditions checks that err is ErrConditionFailed and names exactly these keys, in any
// order. The caller must pass keys in order.
func (t *trial) wantConditions(err error, keys ...string) {
	t.wantError("AtomicWrite", err, kv.ErrConditionFailed)
	if e, ok := errors.AsType[*kv.Error](err); ok && !slices.Equal(slices.Sorted(slices.Values(e.Keys)), keys) {
		t.Errorf("the error %v names the keys %q; want %q", err, e.Keys, keys)
	}
}

// atomicIf makes an AtomicWrite of "key" and "key::a". If holds is true, the AtomicWrite must
// succeed. Otherwise it must fail because of the condition on "key", and write nothing. The
// argument was describes the situation of "key" before the call.
func (t *trial) atomicIf(holds bool, was situation, ops ...kv.Op) (versions []kv.Version, held bool) {
	if holds {
		return t.atomic(ops...), true
	}
	_, err := t.AtomicWrite(t.ctx, ops...)
	t.wantConditions(err, "key")
	t.wantUnchanged(was)
	t.wantAbsent("key::a")
	return nil, false
}

func atomicCases() []testCase {
	var cases []testCase
	for _, s := range states {
		cases = append(cases,
			atomicRule("atomic/if-version/"+s.name,
				"AtomicWrite with IfVersion for one of its keys writes all of them only if that entry is still in the state that the version names. Otherwise it returns ErrConditionFailed with the key and changes nothing. Here the key "+s.words+".",
				func(t *trial) {
					v, was := t.prepare(s)
					versions, held := t.atomicIf(s.current, was, kv.PutOp("key::a", []byte("a")), kv.PutOp("key", []byte("new"), kv.IfVersion(v)))
					if !held {
						return
					}
					t.wantLive("key", want{"new", versions[1], time.Time{}})
					t.wantLive("key::a", want{"a", versions[0], time.Time{}})
				}),
			atomicRule("atomic/if-not-exists/"+s.name,
				"AtomicWrite with IfNotExists for one of its keys writes all of them only if that key is absent or expired. Otherwise it returns ErrConditionFailed with the key and changes nothing. Here the key "+s.words+".",
				func(t *trial) {
					_, was := t.prepare(s)
					versions, held := t.atomicIf(!s.live, was, kv.PutOp("key", []byte("new"), kv.IfNotExists(), kv.TTL(time.Hour)), kv.PutOp("key::a", []byte("a")))
					if !held {
						return
					}
					t.wantLive("key", want{"new", versions[0], t.clock.now().Add(time.Hour)})
					t.wantLive("key::a", want{"a", versions[1], time.Time{}})
				}),
			atomicRule("atomic/touch/"+s.name,
				"A TouchOp sets the expiry and keeps the value. If there is no entry, it fails like a condition that does not hold. Here the key "+s.words+".",
				func(t *trial) {
					_, was := t.prepare(s)
					versions, held := t.atomicIf(s.live, was, kv.TouchOp("key", kv.TTL(time.Hour)), kv.PutOp("key::a", []byte("a")))
					if !held {
						return
					}
					t.wantLive("key", want{string(was.entry.Value), versions[0], t.clock.now().Add(time.Hour)})
					t.wantValue("key::a", "a")
				}),
			atomicRule("atomic/delete/"+s.name,
				"A DeleteOp without a condition deletes the entry if there is one. Here the key "+s.words+".",
				func(t *trial) {
					t.prepare(s)
					versions := t.atomic(kv.DeleteOp("key"), kv.PutOp("key::a", []byte("a")))
					t.wantGone("key")
					t.wantContent("key::a")
					if !versions[0].IsZero() || versions[1].IsZero() {
						t.Errorf("the versions are %q; want none for the DeleteOp, and one for the PutOp", versions)
					}
					t.put("key", "new", kv.IfNotExists())
				}),
			atomicRule("atomic/check-version/"+s.name,
				"If an AtomicWrite has a CheckOp with IfVersion, it succeeds only if the entry is still in the state that the version names. The entry keeps its value and expiry. Here the key "+s.words+".",
				func(t *trial) {
					v, was := t.prepare(s)
					_, held := t.atomicIf(s.current, was, kv.CheckOp("key", kv.IfVersion(v)), kv.PutOp("key::a", []byte("a")))
					if !held {
						return
					}
					t.wantEntry("Get", t.get("key"), "key", want{string(was.entry.Value), kv.Version{}, was.entry.ExpiresAt})
					t.wantValue("key::a", "a")
				}),
			atomicRule("atomic/check-absent/"+s.name,
				"If an AtomicWrite has a CheckOp with IfNotExists, it succeeds only if the key is absent or expired, and the key remains so. Here the key "+s.words+".",
				func(t *trial) {
					_, was := t.prepare(s)
					_, held := t.atomicIf(!s.live, was, kv.CheckOp("key", kv.IfNotExists()), kv.PutOp("key::a", []byte("a")))
					if !held {
						return
					}
					t.wantGone("key")
					t.wantValue("key::a", "a")
				}))
	}
	return append(cases,
		atomicRule("atomic/all-conditions",
			"The error has the keys of all conditions that failed.",
			func(t *trial) {
				old := t.put("g::version", "old")
				t.put("g::version", "new")
				t.put("g::exists", "old")
				_, err := t.AtomicWrite(t.ctx, kv.PutOp("g::fine", nil), kv.PutOp("g::exists", nil, kv.IfNotExists()), kv.DeleteOp("g::version", kv.IfVersion(old)), kv.TouchOp("g::touch", kv.TTL(time.Hour)))
				t.wantConditions(err, "g::exists", "g::touch", "g::version")
				t.wantContent("g::exists", "g::version")
			}),
		atomicRule("atomic/kinds",
			"An AtomicWrite may put, touch, delete and check, each with its own condition and expiry.",
			func(t *trial) {
				put, del, check := t.put("g::put", "old"), t.put("g::delete", "old"), t.put("g::check", "old")
				t.put("g::touch", "old")
				versions := t.atomic(
					kv.PutOp("g::put", []byte("new"), kv.IfVersion(put), kv.TTL(time.Minute)), kv.PutOp("g::new", nil, kv.IfNotExists()),
					kv.TouchOp("g::touch", kv.TTL(time.Hour)), kv.DeleteOp("g::delete", kv.IfVersion(del)), kv.CheckOp("g::check", kv.IfVersion(check)), kv.CheckOp("g::absent", kv.IfNotExists()))
				now := t.clock.now()
				t.wantLive("g::put", want{"new", versions[0], now.Add(time.Minute)})
				t.wantLive("g::new", want{"", versions[1], time.Time{}})
				t.wantLive("g::touch", want{"old", versions[2], now.Add(time.Hour)})
				t.wantContent("g::check", "g::new", "g::put", "g::touch")
				t.put("g::put", "next", kv.IfVersion(versions[0]))
				t.touch("g::touch", kv.TTL(time.Second), kv.IfVersion(versions[2]))
			}),
		atomicRule("atomic/most",
			"One AtomicWrite takes as many operations as Info says, with the longest keys and values.",
			func(t *trial) {
				n := min(t.Info().MaxAtomicWrites, kv.MaxAtomicWrites)
				group := "g::" + strings.Repeat("k", t.maxKeyLen()-len("g::")-4)
				var ops []kv.Op
				value := make([]byte, t.maxValueLen())
				for i := range n {
					value[0] = byte(i)
					ops = append(ops, kv.PutOp(fmt.Sprintf("%s%04d", group, i), slices.Clone(value), kv.IfNotExists()))
				}
				t.atomic(ops...)
				entries := t.scan("g::")
				if len(entries) != n {
					t.Fatalf("there are %d entries; want %d", len(entries), n)
				}
				for i, e := range entries {
					if len(e.Value) != len(value) || e.Value[0] != byte(i) {
						t.Fatalf("entry %d has a value of %d bytes that starts with %d", i, len(e.Value), e.Value[0])
					}
				}
				_, err := t.AtomicWrite(t.ctx, ops...)
				if e, ok := errors.AsType[*kv.Error](err); !ok || !errors.Is(err, kv.ErrConditionFailed) || len(e.Keys) != n {
					t.Errorf("AtomicWrite with IfNotExists of keys that exist: %v; want the names of all %d keys", err, n)
				}
				ops = append(ops, kv.PutOp("g::more", nil))
				t.wantRefused("AtomicWrite of one operation too many", kv.ErrInvalidOption, func() error { _, err := t.AtomicWrite(t.ctx, ops...); return err })
			}),
		atomicRule("atomic/one",
			"An AtomicWrite of one operation does what that operation does alone.",
			func(t *trial) {
				v := t.atomic(kv.PutOp("key", []byte("value"), kv.IfNotExists()))[0]
				t.wantLive("key", want{"value", v, time.Time{}})
				t.atomic(kv.DeleteOp("key", kv.IfVersion(v)))
				t.wantGone("key")
			}),
		atomicRule("atomic/refused",
			"AtomicWrite needs at least one operation. It refuses two operations on one key, keys of two groups, and every argument that the single operation refuses, all before any I/O.",
			func(t *trial) {
				v := t.put("g::a", "old")
				for _, c := range []struct {
					name string
					ops  []kv.Op
					want error
				}{
					{"nothing", nil, kv.ErrInvalidOption},
					{"an empty operation", []kv.Op{{}}, kv.ErrInvalidOption},
					{"one key twice", []kv.Op{kv.PutOp("g::b", nil), kv.DeleteOp("g::b")}, kv.ErrInvalidOption},
					{"two groups", []kv.Op{kv.PutOp("g::b", nil), kv.PutOp("h::b", nil)}, kv.ErrInvalidOption},
					{"two keys without a group", []kv.Op{kv.PutOp("b", nil), kv.PutOp("c", nil)}, kv.ErrInvalidOption},
					{"an illegal key", []kv.Op{kv.PutOp("g::b", nil), kv.PutOp("g::b c", nil)}, kv.ErrInvalidKey},
					{"too large a value", []kv.Op{kv.PutOp("g::b", make([]byte, t.maxValueLen()+1))}, kv.ErrValueTooLarge},
					{"a version of another key", []kv.Op{kv.PutOp("g::b", nil, kv.IfVersion(v))}, kv.ErrInvalidVersion},
					{"two conditions", []kv.Op{kv.PutOp("g::a", nil, kv.IfVersion(v), kv.IfNotExists())}, kv.ErrInvalidOption},
					{"a touch without an expiry", []kv.Op{kv.TouchOp("g::a")}, kv.ErrInvalidOption},
					{"a TTL without a unit", []kv.Op{kv.PutOp("g::b", nil, kv.TTL(30))}, kv.ErrInvalidOption},
					{"a check without a condition", []kv.Op{kv.CheckOp("g::b", nil)}, kv.ErrInvalidOption},
				} {
					t.wantRefused("AtomicWrite of "+c.name, c.want, func() error { _, err := t.AtomicWrite(t.ctx, c.ops...); return err })
				}
				t.wantContent("g::a")
			}),
		atomicRule("atomic/in-namespace",
			"In a namespace an AtomicWrite writes the keys of the namespace, and its errors name them without the namespace's prefix.",
			func(t *trial) {
				t.put("n:g::a", "old")
				whole := t.inNamespace("n:")
				_, err := t.AtomicWrite(t.ctx, kv.PutOp("g::a", nil, kv.IfNotExists()), kv.PutOp("g::b", nil))
				t.wantConditions(err, "g::a")
				t.atomic(kv.PutOp("g::b", []byte("new")), kv.DeleteOp("g::a"))
				t.wantContent("g::b")
				t.store = whole
				t.wantContent("n:g::b")
			}),
		atomicRule("atomic/groups-in-namespace",
			"Keys that are in one group of a namespace, but in two groups once the namespace's prefix is added, are refused before any I/O, on every provider.",
			func(t *trial) {
				t.inNamespace("n")
				stored := t.Info().Namespace
				if kv.Group(stored+":") != kv.Group(stored+":::x") { // equal if the store of Config.New is itself a namespace within one group
					t.wantRefused("AtomicWrite", kv.ErrInvalidOption, func() error { _, err := t.AtomicWrite(t.ctx, kv.PutOp(":", nil), kv.PutOp(":::x", nil)); return err })
				}
				t.atomic(kv.PutOp(":::x", nil), kv.PutOp(":::y", nil))
				t.wantContent(":::x", ":::y")
			}),
		atomicRule("atomic/overlapping",
			"Concurrent AtomicWrites and Puts of the same keys all succeed. Afterwards the keys are as one AtomicWrite left them.",
			func(t *trial) {
				const callers, rounds = 6, 5
				keys := []string{"g::a", "g::b", "g::c"}
				for round := range rounds {
					for _, err := range atOnce(callers, func(i int) error {
						var ops []kv.Op
						for _, key := range keys {
							ops = append(ops, kv.PutOp(key, []byte{byte(i)}))
						}
						if _, err := t.Put(t.ctx, "g::other", []byte{byte(i)}); err != nil {
							return err
						}
						_, err := t.AtomicWrite(t.ctx, append(ops, kv.DeleteOp("g::other"))...)
						return err
					}) {
						if err != nil {
							t.Errorf("AtomicWrite or Put in round %d: %v; want none", round, err)
						}
					}
					entries := t.getMany(keys...)
					for _, key := range keys {
						if string(entries[key].Value) != string(entries[keys[0]].Value) {
							t.Errorf("after round %d the keys are as %v and %v left them; want one", round, entries[keys[0]].Value, entries[key].Value)
						}
					}
				}
			}),
		atomicRule("atomic/bank",
			"Transfers by several callers between the accounts of a group keep the sum.",
			func(t *trial) {
				const accounts, callers, each = 4, 6, 5
				account := func(i int) string { return fmt.Sprintf("bank::%d", i%accounts) }
				for i := range accounts {
					t.put(account(i), "\x64")
				}
				for _, err := range atOnce(callers, func(i int) error {
					for n := range each {
						if err := t.transfer(account(i), account(i+n%(accounts-1)+1)); err != nil {
							return err
						}
					}
					return nil
				}) {
					if err != nil {
						t.Fatalf("a transfer: %v", err)
					}
				}
				sum := 0
				for i := range accounts {
					sum += int(t.get(account(i)).Value[0])
				}
				if sum != accounts*100 {
					t.Errorf("the accounts have %d together; want %d", sum, accounts*100)
				}
			}),
	)
}

// transfer moves 1 from one account to another. It retries until its condition holds.
func (t *trial) transfer(from, to string) error {
	for {
		a, err := t.Get(t.ctx, from)
		if err != nil {
			return err
		}
		b, err := t.Get(t.ctx, to)
		if err != nil {
			return err
		}
		_, err = t.AtomicWrite(t.ctx,
			kv.PutOp(from, []byte{a.Value[0] - 1}, kv.IfVersion(a.Version)),
			kv.PutOp(to, []byte{b.Value[0] + 1}, kv.IfVersion(b.Version)))
		if !errors.Is(err, kv.ErrConditionFailed) {
			return err
		}
	}
}
