package conformance

import (
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/skykv/skykv/kv"
)

// Reasons why a store lacks a feature, according to its Info. The cases for that feature then
// check only what is documented for such a store, mostly that it refuses to use the feature.
const (
	lacksAtomic = "it has no MaxAtomicWrites"
	lacksGrace  = "it has NoGrace: the service removes entries as soon as they expire"
	lacksKeys   = "it has a ReservedKey: the service cannot store such keys"
)

// The names of the drivers of this module that have no hour of grace, and of those that
// reserve keys. They use the layouts of other programs. No other driver may lack these
// features.
var (
	graceless = []string{"dynamodb-alien"}
	reserving = []string{"firestore-alien"}
)

// reservable matches the keys that a driver may reserve, which are the reserved IDs of
// Firestore:
// https://firebase.google.com/docs/firestore/quotas#collections_documents_and_fields
var reservable = regexp.MustCompile(`^(\.|\.\.|__.*__)$`)

// checkLacks returns an error if the driver lacks a feature that it must have.
func checkLacks(info kv.Info) error {
	name, _, _ := strings.Cut(info.Name, "/") // without the namespace
	if info.ReservedKey != nil && !slices.Contains(reserving, name) {
		return fmt.Errorf("Info().ReservedKey of %q is set; that is for the layouts of other programs which providers of skykv's own module know: %s", info.Name, strings.Join(reserving, ", "))
	}
	for _, key := range reservedOf(info) {
		if !reservable.MatchString(info.Namespace + key) {
			return fmt.Errorf("Info().ReservedKey of %q says that it cannot hold %q; it may say so of ., .. and __x__ alone", info.Name, info.Namespace+key)
		}
	}
	if info.NoGrace && !slices.Contains(graceless, name) {
		return fmt.Errorf("Info().NoGrace of %q is true; only drivers of skykv's own module for layouts of other programs may set it: %s", info.Name, strings.Join(graceless, ", "))
	}
	return nil
}

// legal returns those of the keys that the store can hold.
func legal(info kv.Info, keys []string) []string {
	return slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return info.ReservedKey != nil && info.ReservedKey(key) })
}

// reservedOf returns those of the suite's keys that the store cannot hold.
func reservedOf(info kv.Info) []string {
	keys := slices.Concat(family, colons(), addresses, groups(), numbered("key:", 60), strings.Split(kv.KeyAlphabet, ""), []string{"key", "__", "___", "____", "__id7__", "__x", "x__", "_x_"})
	held := legal(info, keys)
	return slices.DeleteFunc(keys, func(key string) bool { return slices.Contains(held, key) })
}

// wantReservedRefused checks that every operation refuses the keys that the store reserves. It
// returns the other keys.
func (t *trial) wantReservedRefused(keys ...string) (others []string) {
	others = legal(t.Info(), keys)
	for _, key := range keys {
		if slices.Contains(others, key) {
			continue
		}
		t.lacks = lacksKeys
		t.wantKeyRefused(key)
		if t.Info().MaxAtomicWrites > 0 {
			t.wantRefused("AtomicWrite of "+short(key), kv.ErrInvalidKey, func() error { _, err := t.AtomicWrite(t.ctx, kv.PutOp(key, nil)); return err })
		}
		t.wantKeys("Scan of "+short(key), t.scan(key, kv.From(key)), nil)
	}
	if t.lacks != "" {
		t.wantContent()
	}
	return others
}

// graceRule returns a case for stores that keep entries for an hour after their expiry. On
// a store with NoGrace the case instead checks an entry that has expired by the service's
// clock: reads must return it unchanged, or find it absent.
func graceRule(name, words string, run func(t *trial)) testCase {
	c := rule(name, words+" With NoGrace an entry that has expired by the service's clock may be absent, and nothing else may differ.", nil)
	_, c.file, _, _ = runtime.Caller(1)
	c.run = func(t *trial) {
		if !t.Info().NoGrace {
			run(t)
			return
		}
		t.lacks = lacksGrace
		t.wantEntryOrNone()
	}
	return c
}

// wantEntryOrNone stores an entry with a slow clock: it is live by the trial's clock, but
// expired by the real time. Get and Scan must return it unchanged or find it absent.
func (t *trial) wantEntryOrNone() {
	right := t.clock.now()
	t.clock.set(time.Now().Truncate(time.Millisecond).Add(-58 * time.Minute))
	at := t.clock.now().Add(time.Minute)
	v := t.put("key", "value", kv.TTL(time.Minute))
	if is := t.situation(); is.exists {
		t.wantEntry("Get", is.entry, "key", want{"value", v, at})
	}
	for _, e := range t.scan("") {
		t.wantEntry("Scan", e, "key", want{"value", v, at})
	}
	if _, err := t.Put(t.ctx, "key", []byte("new"), kv.IfNotExists(), kv.TTL(time.Minute)); err != nil {
		t.wantError("Put with IfNotExists", err, kv.ErrConditionFailed)
	}
	t.clock.set(right)
	t.wantGone("key")
	v = t.put("key", "new", kv.IfNotExists(), kv.TTL(time.Hour))
	t.wantLive("key", want{"new", v, t.clock.now().Add(time.Hour)})
}
