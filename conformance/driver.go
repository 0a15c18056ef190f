package conformance

import (
	"context"
	"crypto/rand"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/skykv/skykv/kv"
)

// driverCases check rules of kv.Driver that middleware relies on. A caller of a store
// usually does not notice if they are broken.
func driverCases() []testCase {
	return slices.Concat(driverBatchCases(), driverTouchCases(), driverAtomicCases(), predecessorCases())
}

func driverBatchCases() []testCase {
	return []testCase{
		rule("driver/get-many/every-key-once",
			"A driver's GetMany yields every requested key once, with its record or without one.",
			func(t *trial) {
				live, deleted := numbered("live:", 70), numbered("deleted:", 30)
				t.fillKeys(slices.Concat(live, deleted)...)
				if err := t.DeleteMany(t.ctx, deleted); err != nil {
					t.Fatalf("DeleteMany: %v", err)
				}
				keys := slices.Concat(live[:30], numbered("absent:", 30), live[30:], deleted)
				d := t.underlying()
				for _, withValue := range []bool{true, false} {
					seen := make(map[string]int)
					for found, err := range d.GetMany(t.ctx, kv.GetManyRequest{Keys: keys, WithValue: withValue}) {
						if err != nil {
							t.Fatalf("the driver's GetMany: %v, with the key %q", err, found.Key)
						}
						seen[found.Key]++
						there := slices.Contains(live, found.Key)
						if found.Exists != there {
							t.Errorf("the driver's GetMany says that %q has a record: %v; want %v", found.Key, found.Exists, there)
						}
						if there && withValue && string(found.Value) != found.Key {
							t.Errorf("the driver's GetMany yields %q with the value %s; want its key", found.Key, short(string(found.Value)))
						}
						if there && (found.Token == "" || found.Version == "") {
							t.Errorf("the driver's GetMany yields %q with the token %q and the version %q", found.Key, found.Token, found.Version)
						}
					}
					for _, key := range keys {
						if seen[key] != 1 {
							t.Errorf("the driver's GetMany yields %q %d times; want once", key, seen[key])
						}
						delete(seen, key)
					}
					for key := range seen {
						t.Errorf("the driver's GetMany yields %q, which is not a key of the request", key)
					}
				}
			}),
		rule("driver/get-many/loop-uses-driver",
			"The body of a loop over a driver's GetMany may use the driver, and may end the loop.",
			func(t *trial) {
				keys := numbered("key:", 40)
				t.fillKeys(keys...)
				d := t.underlying()
				for range 3 {
					n := 0
					for found, err := range d.GetMany(t.ctx, kv.GetManyRequest{Keys: keys, WithValue: true}) {
						if err != nil {
							t.Fatalf("the driver's GetMany: %v, after %d keys", err, n)
						}
						t.put(found.Key, "new")
						t.wantValue(found.Key, "new")
						t.getMany(keys[:3]...)
						if n++; n == 5 {
							break
						}
					}
					if n != 5 {
						t.Errorf("the driver's GetMany yields %d keys; want 5 before the loop ends", n)
					}
				}
				t.wantContent(keys...)
			}),
		rule("driver/write-many/results",
			"A driver's WriteMany returns a result for each write, in the order of the writes, with the version of the stored record.",
			func(t *trial) {
				t.fillKeys(numbered("key:", 60)...)
				var writes []kv.Write
				for i := range 40 {
					key := fmt.Sprintf("key:%04d", i*37%60) // not in the order of the keys
					writes = append(writes, putting(key, "new", kv.Condition{}))
					if i%3 == 1 {
						writes[i] = deleting(key, kv.Condition{})
					}
				}
				writes = append(writes, deleting("absent", kv.Condition{}), putting("a", "new", kv.Condition{}))
				d := t.underlying()
				for i, r := range t.writeMany(d, writes) {
					switch key := writes[i].Key; {
					case r.Err != nil || !r.Done:
						t.Errorf("%s of %q: Done is %v, the error %v; want Done", writes[i].Kind, key, r.Done, r.Err)
					case writes[i].Kind == kv.KindDelete:
						t.wantAbsent(key)
					default:
						t.wantValue(key, "new")
						if found := t.found(d, key); r.Version == "" || r.Version != found.Version {
							t.Errorf("the result of the put of %q has the version %q; the record has %q", key, r.Version, found.Version)
						}
					}
				}
			}),
		rule("driver/write-many/conditions",
			"A driver's WriteMany carries out each write if its own condition holds, and otherwise returns the record that made the condition fail.",
			func(t *trial) {
				d := t.underlying()
				t.fillKeys("a", "b", "c", "d", "e", "f")
				stale := make(map[string]kv.Condition)
				for _, key := range []string{"a", "b", "c", "d", "e", "f"} {
					stale[key] = t.stateOf(d, key)
				}
				t.fillKeys("a", "b", "c", "d")
				absent := kv.Condition{Kind: kv.CondAbsent}
				t.delete("f")
				writes := []kv.Write{
					putting("new", "new", absent),
					putting("a", "new", stale["a"]),
					deleting("b", stale["b"]),
					putting("c", "new", absent),
					putting("d", "new", kv.Condition{}),
					deleting("e", stale["e"]),
					putting("f", "new", stale["f"]),
				}
				results := t.writeMany(d, writes)
				for i, r := range results {
					key := writes[i].Key
					done := slices.Contains([]string{"new", "d", "e"}, key)
					if r.Err != nil || r.Done != done {
						t.Errorf("%s of %q under %s: Done is %v, the error %v; want Done %v", writes[i].Kind, key, writes[i].Condition.Kind, r.Done, r.Err, done)
						continue
					}
					if done {
						continue
					}
					found := t.found(d, key)
					if r.Exists != found.Exists || r.Exists && (r.Found.Key != key || r.Found.Version != found.Version || r.Found.Token != found.Token) {
						t.Errorf("%s of %q under %s: the result has Exists %v and the record %q of version %q; want %v and %q of version %q",
							writes[i].Kind, key, writes[i].Condition.Kind, r.Exists, r.Found.Key, r.Found.Version, found.Exists, key, found.Version)
					}
				}
				for key, value := range map[string]string{"a": "a", "b": "b", "c": "c", "d": "new", "new": "new"} {
					t.wantValue(key, value)
				}
				t.wantContent("a", "b", "c", "d", "new")
			}),
		rule("driver/unsupported",
			"If a driver does not know the kind of a write or of its condition, or if that kind is not legal there, the driver returns ErrUnsupported and writes nothing.",
			func(t *trial) {
				v := t.put("key", "old", kv.TTL(time.Hour))
				w := want{value: "old", version: v, expiresAt: t.clock.now().Add(time.Hour)}
				d := t.underlying()
				const unknownWrite, unknownCondition = kv.WriteKind(200), kv.ConditionKind(200)
				current := t.stateOf(d, "key")
				for _, c := range []struct {
					kind kv.WriteKind
					cond kv.Condition
				}{
					{0, kv.Condition{}},
					{unknownWrite, kv.Condition{}},
					{unknownWrite, current},
					{kv.KindPut, kv.Condition{Kind: unknownCondition}},
					{kv.KindDelete, kv.Condition{Kind: unknownCondition}},
					{kv.KindCheck, kv.Condition{}}, // only WriteAtomic may check
					{kv.KindCheck, current},
					{kv.KindTouch, kv.Condition{}}, // a touch needs a condition that requires a record
					{kv.KindTouch, kv.Condition{Kind: kv.CondAbsent}},
				} {
					for _, key := range []string{"key", "other"} {
						write := putting(key, "new", c.cond)
						write.Kind = c.kind
						_, err := d.Write(t.ctx, kv.WriteRequest{Write: write, Now: t.clock.now().UnixMilli()})
						t.wantError(fmt.Sprintf("the driver's Write of %s under %s", c.kind, c.cond.Kind), err, kv.ErrUnsupported)
						results := t.writeMany(d, []kv.Write{write})
						t.wantError(fmt.Sprintf("the driver's WriteMany of %s under %s", c.kind, c.cond.Kind), results[0].Err, kv.ErrUnsupported)
					}
				}
				t.wantLive("key", w)
				t.wantContent("key")
			}),
	}
}

// stateOf returns a condition that holds until the record under key changes.
func (t *trial) stateOf(d kv.Driver, key string) kv.Condition {
	return kv.Condition{Kind: kv.CondVersion, Version: t.found(d, key).Version}
}

func driverTouchCases() []testCase {
	return []testCase{
		rule("driver/touch/version",
			"A driver's touch under CondVersion sets Expires, Token and Predecessors, keeps the value, and returns the new version. If the record has another version, or is gone, the touch changes nothing and returns what it found.",
			func(t *trial) {
				d := t.underlying()
				t.put("key", "old", kv.TTL(time.Hour))
				stale := t.stateOf(d, "key")
				w := touching("key", t.clock.now().Add(time.Minute).UnixMilli(), stale)
				t.wantTouched(d, w, "old")
				was := t.found(d, "key")
				for _, key := range []string{"key", "absent"} {
					out, err := d.Write(t.ctx, kv.WriteRequest{Write: touching(key, 0, stale), Now: t.clock.now().UnixMilli()})
					if err != nil || out.Done || out.Exists != (key == "key") {
						t.Errorf("the driver's touch of %q under another version: %+v, %v; want a failed condition, and whether there is a record", key, out, err)
					}
					if out.Exists && (out.Found.Version != was.Version || out.Found.Token != was.Token) {
						t.Errorf("the driver's touch under another version found the version %q; want %q", out.Found.Version, was.Version)
					}
				}
				t.wantRecord("Get", t.found(d, "key").Record, was.Record)
				t.wantContent("key")
			}),
		rule("driver/touch/live",
			"A driver's touch under CondLive of a record that is not expired is either carried out or reported as failed with the record. Without a live record it changes nothing and is reported as failed.",
			func(t *trial) {
				d := t.underlying()
				now := t.clock.now().UnixMilli()
				live := kv.Condition{Kind: kv.CondLive}
				t.put("key", "old", kv.TTL(time.Second))
				was := t.found(d, "key")
				for _, c := range []struct {
					what   string
					key    string
					now    int64
					exists bool
				}{
					{"a record that expires at that instant", "key", was.Expires, true},
					{"a record that has expired", "key", was.Expires + 1000, true},
					{"no record", "absent", now, false},
				} {
					out, err := d.Write(t.ctx, kv.WriteRequest{Write: touching(c.key, now+time.Hour.Milliseconds(), live), Now: c.now})
					if err != nil || out.Done || out.Exists != c.exists || c.exists && (out.Found.Version != was.Version || out.Found.Expires != was.Expires) {
						t.Errorf("the driver's touch of %s: %+v, %v; want a failed condition, and the record", c.what, out, err)
					}
				}
				t.wantRecord("Get", t.found(d, "key").Record, was.Record)
				w := touching("key", now+time.Hour.Milliseconds(), live)
				out, err := d.Write(t.ctx, kv.WriteRequest{Write: w, Now: was.Expires - 1})
				if err == nil && !out.Done && out.Exists && out.Found.Version == was.Version {
					w.Condition = kv.Condition{Kind: kv.CondVersion, Version: out.Found.Version} // a store would now retry the touch with the version that it found
					t.wantTouched(d, w, "old")
					return
				}
				if err != nil || !out.Done {
					t.Fatalf("the driver's touch of a live record: %+v, %v; want Done", out, err)
				}
				want := w.Record
				want.Value, want.Version = []byte("old"), out.Version
				t.wantRecord("Get", t.found(d, "key").Record, want)
			}),
		rule("driver/touch/batch",
			"A driver's WriteMany carries out touches together with puts and deletions.",
			func(t *trial) {
				d := t.underlying()
				t.fillKeys("a", "b", "c")
				stale := t.stateOf(d, "c")
				t.fillKeys("c")
				at := t.clock.now().Add(time.Hour).UnixMilli()
				writes := []kv.Write{touching("a", at, t.stateOf(d, "a")), deleting("b", kv.Condition{}), touching("c", at, stale), putting("d", "new", kv.Condition{})}
				results := t.writeMany(d, writes)
				for i, done := range []bool{true, true, false, true} {
					if results[i].Err != nil || results[i].Done != done {
						t.Errorf("%s of %q: Done is %v, the error %v; want Done %v", writes[i].Kind, writes[i].Key, results[i].Done, results[i].Err, done)
					}
				}
				want := writes[0].Record
				want.Value, want.Version = []byte("a"), results[0].Version
				t.wantRecord("Get", t.found(d, "a").Record, want)
				t.wantContent("a", "c", "d")
			}),
	}
}

// touching returns a touch like those that a store sends to its driver.
func touching(key string, expires int64, cond kv.Condition) kv.Write {
	return kv.Write{Kind: kv.KindTouch, Record: kv.Record{Key: key, Expires: expires, Token: newToken(), Predecessors: newToken()}, Condition: cond}
}

// wantTouched makes a touch whose condition holds, and checks the record afterwards.
func (t *trial) wantTouched(d kv.Driver, w kv.Write, value string) {
	out, err := d.Write(t.ctx, kv.WriteRequest{Write: w, Now: t.clock.now().UnixMilli()})
	if err != nil || !out.Done {
		t.Fatalf("the driver's touch under %s: %+v, %v; want Done", w.Condition.Kind, out, err)
	}
	if out.Version == w.Condition.Version {
		t.Errorf("the driver's touch did not change the version")
	}
	want := w.Record
	want.Value, want.Version = []byte(value), out.Version
	t.wantRecord("Get", t.found(d, w.Key).Record, want)
}

// wantRecord compares two records. It ignores the values if want has none. It always
// ignores the last four characters of the tokens, which may count attempts: see
// kv.AttemptToken.
func (t *trial) wantRecord(how string, is, want kv.Record) {
	if want.Value == nil {
		is.Value = nil
	}
	base := func(token string) string { return token[:min(len(token), kv.TokenLen-4)] }
	if is.Key != want.Key || string(is.Value) != string(want.Value) || is.Expires != want.Expires || base(is.Token) != base(want.Token) || is.Predecessors != want.Predecessors || is.Version != want.Version {
		t.Errorf("%s of %q: the record has the value %s, the expiry %d, the token %q, the predecessors %q and the version %q; want %s, %d, %q, %q and %q", how, want.Key,
			short(string(is.Value)), is.Expires, is.Token, is.Predecessors, is.Version, short(string(want.Value)), want.Expires, want.Token, want.Predecessors, want.Version)
	}
}

// driverAtomicRule returns a case for drivers that can write several keys at once. On any
// other driver the case checks that WriteAtomic returns ErrUnsupported and writes nothing.
func driverAtomicRule(name, words string, run func(t *trial, d kv.Driver)) testCase {
	c := rule(name, words+" A driver without MaxAtomicWrites returns ErrUnsupported and writes nothing.", nil)
	_, c.file, _, _ = runtime.Caller(1)
	c.run = func(t *trial) {
		d := t.underlying()
		if d.Info().MaxAtomicWrites > 0 {
			run(t, d)
			return
		}
		t.lacks = lacksAtomic
		_, err := d.WriteAtomic(t.ctx, kv.WriteManyRequest{Writes: []kv.Write{putting("g::a", "new", kv.Condition{}), putting("g::b", "new", kv.Condition{})}, Now: t.clock.now().UnixMilli()})
		t.wantError("the driver's WriteAtomic", err, kv.ErrUnsupported)
		t.wantContent()
	}
	return c
}

// writeAtomic calls the driver's WriteAtomic, which must not return an error.
func (t *trial) writeAtomic(d kv.Driver, writes []kv.Write) kv.AtomicOutcome {
	out, err := d.WriteAtomic(t.ctx, kv.WriteManyRequest{Writes: writes, Now: t.clock.now().UnixMilli()})
	if err != nil {
		t.Fatalf("the driver's WriteAtomic of %d writes: %v", len(writes), err)
	}
	return out
}

func driverAtomicCases() []testCase {
	return []testCase{
		driverAtomicRule("driver/write-atomic/kinds",
			"A driver's WriteAtomic takes every kind of write, each with its own condition, and reports the version of each record that a put or a touch stored, in the order of the writes.",
			func(t *trial, d kv.Driver) {
				t.fillKeys("g::check", "g::delete", "g::gone", "g::put", "g::touch")
				check := t.found(d, "g::check")
				writes := []kv.Write{
					touching("g::touch", t.clock.now().Add(time.Hour).UnixMilli(), t.stateOf(d, "g::touch")),
					putting("g::put", "new", t.stateOf(d, "g::put")),
					deleting("g::delete", t.stateOf(d, "g::delete")),
					{Kind: kv.KindCheck, Record: kv.Record{Key: "g::check", Token: newToken()}, Condition: t.stateOf(d, "g::check")},
					putting("g::absent", "new", kv.Condition{Kind: kv.CondAbsent}),
					putting("g::any", "new", kv.Condition{}),
					deleting("g::gone", kv.Condition{}),
					{Kind: kv.KindCheck, Record: kv.Record{Key: "g::never", Token: newToken()}, Condition: kv.Condition{Kind: kv.CondAbsent}},
				}
				out := t.writeAtomic(d, writes)
				if !out.Done || len(out.Versions) != len(writes) {
					t.Fatalf("the driver's WriteAtomic: Done is %v, with %d versions; want Done for %d writes, with a version for each", out.Done, len(out.Versions), len(writes))
				}
				values := []string{"g::touch", "new", "", "", "new", "new", "", ""}
				for i, w := range writes {
					if w.Kind != kv.KindPut && w.Kind != kv.KindTouch {
						continue
					}
					want := w.Record
					want.Value, want.Version = []byte(values[i]), out.Versions[i]
					t.wantRecord("Get", t.found(d, w.Key).Record, want)
				}
				if is := t.found(d, "g::check"); string(is.Value) != "g::check" || is.Expires != check.Expires {
					t.Errorf("after a check the value is %s and the expiry %d; want no change", short(string(is.Value)), is.Expires)
				}
				t.wantContent("g::absent", "g::any", "g::check", "g::put", "g::touch")
			}),
		driverAtomicRule("driver/write-atomic/conditions",
			"If any one condition fails, a driver's WriteAtomic writes nothing, and reports the records as they are.",
			func(t *trial, d kv.Driver) {
				for _, kind := range []string{"put under a version", "put of what exists", "deletion under a version", "touch under a version", "touch of nothing", "check of a version", "check of what exists"} {
					for at := range 3 {
						t.fillKeys("g::1", "g::2", "g::bad")
						stale := t.stateOf(d, "g::bad")
						t.put("g::bad", "bad", kv.TTL(time.Hour))
						t.delete("g::new")
						var bad kv.Write
						switch kind {
						case "put under a version":
							bad = putting("g::bad", "new", stale)
						case "put of what exists":
							bad = putting("g::bad", "new", kv.Condition{Kind: kv.CondAbsent})
						case "deletion under a version":
							bad = deleting("g::bad", stale)
						case "touch under a version":
							bad = touching("g::bad", 0, stale)
						case "touch of nothing":
							t.delete("g::bad")
							bad = touching("g::bad", 0, kv.Condition{Kind: kv.CondLive})
						case "check of a version":
							bad = kv.Write{Kind: kv.KindCheck, Record: kv.Record{Key: "g::bad", Token: newToken()}, Condition: stale}
						case "check of what exists":
							bad = kv.Write{Kind: kv.KindCheck, Record: kv.Record{Key: "g::bad", Token: newToken()}, Condition: kv.Condition{Kind: kv.CondAbsent}}
						}
						writes := []kv.Write{putting("g::new", "new", kv.Condition{}), deleting("g::1", kv.Condition{}), touching("g::2", 0, t.stateOf(d, "g::2"))}
						writes = slices.Insert(writes, at, bad)
						was := make([]kv.Found, len(writes))
						for i, w := range writes {
							was[i] = t.found(d, w.Key)
						}
						out := t.writeAtomic(d, writes)
						if out.Done {
							t.Errorf("the driver's WriteAtomic whose write %d, a %s, fails: Done is true", at, kind)
						}
						if out.Found != nil && len(out.Found) != len(writes) {
							t.Fatalf("the driver's WriteAtomic of %d writes reports %d keys; want a report for each key, or none", len(writes), len(out.Found))
						}
						for i, w := range writes {
							is := t.found(d, w.Key)
							if is.Exists != was[i].Exists || is.Version != was[i].Version {
								t.Errorf("the driver's WriteAtomic whose write %d, a %s, fails: %s of %q was carried out", at, kind, w.Kind, w.Key)
							}
							if out.Found == nil || out.Found[i] == nil {
								continue
							}
							if found := out.Found[i]; found.Key != w.Key || found.Exists != is.Exists || found.Exists && (found.Version != is.Version || found.Expires != is.Expires || found.Token != is.Token) {
								t.Errorf("the driver's WriteAtomic whose write %d, a %s, fails: it found %q of version %q; want %q of version %q", at, kind, found.Key, found.Version, w.Key, is.Version)
							}
						}
					}
				}
			}),
		driverAtomicRule("driver/write-atomic/unsupported",
			"If a driver does not know the kind of a write or of its condition in a WriteAtomic, or if that kind is not legal there, the driver returns ErrUnsupported and writes nothing.",
			func(t *trial, d kv.Driver) {
				t.fillKeys("g::key")
				for _, w := range []kv.Write{
					{Record: kv.Record{Key: "g::key", Value: []byte("new"), Token: newToken()}},
					{Kind: 200, Record: kv.Record{Key: "g::key", Value: []byte("new"), Token: newToken()}},
					putting("g::key", "new", kv.Condition{Kind: 200}),
					touching("g::key", 0, kv.Condition{}),
					touching("g::key", 0, kv.Condition{Kind: kv.CondAbsent}),
					{Kind: kv.KindCheck, Record: kv.Record{Key: "g::key", Token: newToken()}, Condition: kv.Condition{Kind: 200}},
				} {
					for _, writes := range [][]kv.Write{{putting("g::a", "new", kv.Condition{}), w}, {w, putting("g::a", "new", kv.Condition{})}} {
						_, err := d.WriteAtomic(t.ctx, kv.WriteManyRequest{Writes: writes, Now: t.clock.now().UnixMilli()})
						t.wantError(fmt.Sprintf("the driver's WriteAtomic of %s under %s", w.Kind, w.Condition.Kind), err, kv.ErrUnsupported)
					}
				}
				t.wantLive("g::key", want{value: "g::key"})
				t.wantContent("g::key")
			}),
	}
}

// predecessorCases check that drivers keep Predecessors, which updates need after lost
// responses.
func predecessorCases() []testCase {
	// longest has the greatest legal length of Predecessors, and every legal character.
	const characters = " !#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_`abcdefghijklmnopqrstuvwxyz{|}~"
	longest := strings.Repeat("x"+characters, 3)[:kv.MaxPredecessorsLen]
	return []testCase{
		rule("driver/predecessors/reads",
			"A driver returns a record's Predecessors with every read, with and without the value, and with the record of a failed condition.",
			func(t *trial) {
				d := t.underlying()
				now := t.clock.now().UnixMilli()
				for _, predecessors := range []string{"a", longest} {
					w := putting("key", "value", kv.Condition{})
					w.Predecessors = predecessors
					out, err := d.Write(t.ctx, kv.WriteRequest{Write: w, Now: now})
					if err != nil || !out.Done {
						t.Fatalf("the driver's put: %+v, %v; want Done", out, err)
					}
					want := w.Record
					want.Version = out.Version
					for _, withValue := range []bool{true, false} {
						if want.Value = nil; withValue {
							want.Value = w.Value
						}
						got, err := d.Get(t.ctx, kv.GetRequest{Key: "key", WithValue: withValue})
						if err != nil {
							t.Fatalf("the driver's Get: %v", err)
						}
						t.wantRecord("Get", got.Record, want)
						for found, err := range d.GetMany(t.ctx, kv.GetManyRequest{Keys: []string{"key"}, WithValue: withValue}) {
							if err != nil {
								t.Fatalf("the driver's GetMany: %v", err)
							}
							if found.Key == "key" {
								t.wantRecord("GetMany", found.Record, want)
							}
						}
						shard := 0
						if info := d.Info(); info.Shard != nil {
							shard = info.Shard("key")
						}
						for rec, err := range d.Scan(t.ctx, kv.ScanRequest{Shard: shard, From: "key", To: "key~", Limit: 1, WithValue: withValue, MaxValueLen: t.maxValueLen()}) {
							if err != nil {
								t.Fatalf("the driver's Scan: %v", err)
							}
							t.wantRecord("Scan", rec, want)
						}
					}
					want.Value = nil
					bad := putting("key", "new", kv.Condition{Kind: kv.CondAbsent})
					failed, err := d.Write(t.ctx, kv.WriteRequest{Write: bad, Now: now})
					if err != nil || failed.Done || !failed.Exists {
						t.Fatalf("the driver's put of an existing key: %+v, %v; want a failed condition", failed, err)
					}
					t.wantRecord("the failed condition of a put", failed.Found, want)
					inBatch := t.writeMany(d, []kv.Write{bad})[0]
					if inBatch.Err != nil || inBatch.Done || !inBatch.Exists {
						t.Fatalf("the driver's WriteMany of a put of an existing key: %+v, %v; want a failed condition", inBatch.Outcome, inBatch.Err)
					}
					t.wantRecord("the failed condition of a put of a batch", inBatch.Found, want)
				}
			}),
		rule("driver/predecessors/replaced",
			"A put or a touch replaces a record's Predecessors by its own, even if these are empty. The same holds in batches.",
			func(t *trial) {
				d := t.underlying()
				alone := func(w kv.Write) {
					if out, err := d.Write(t.ctx, kv.WriteRequest{Write: w, Now: t.clock.now().UnixMilli()}); err != nil || !out.Done {
						t.Fatalf("the driver's Write of %s: %+v, %v; want Done", w.Kind, out, err)
					}
				}
				inBatch := func(w kv.Write) { t.writeMany(d, []kv.Write{w}) }
				put := func(predecessors string) kv.Write {
					w := putting("key", "value", kv.Condition{})
					w.Predecessors = predecessors
					return w
				}
				touch := func(predecessors string) kv.Write {
					w := touching("key", 0, t.stateOf(d, "key"))
					w.Predecessors = predecessors
					return w
				}
				for _, predecessors := range []string{longest, ""} {
					for _, c := range []struct {
						name  string
						make  func(predecessors string) kv.Write
						carry func(w kv.Write)
					}{{"a put", put, alone}, {"a touch", touch, alone}, {"a put of a batch", put, inBatch}, {"a touch of a batch", touch, inBatch}} {
						alone(put("before"))
						c.carry(c.make(predecessors))
						t.wantPredecessors(d, c.name, predecessors)
					}
				}
			}),
		driverAtomicRule("driver/predecessors/write-atomic",
			"The puts and touches of a WriteAtomic replace the Predecessors of their records by their own, even if these are empty. A failed condition returns the record's Predecessors.",
			func(t *trial, d kv.Driver) {
				t.fillKeys("g::a", "key")
				for _, predecessors := range []string{"a b", "", longest[1:], ""} {
					put := putting("key", "value", kv.Condition{})
					put.Predecessors = predecessors
					t.writeAtomic(d, []kv.Write{put})
					t.wantPredecessors(d, "a put of a WriteAtomic", predecessors)
					out := t.writeAtomic(d, []kv.Write{putting("key", "new", kv.Condition{Kind: kv.CondAbsent})})
					if out.Found != nil && out.Found[0] != nil && out.Found[0].Predecessors != predecessors {
						t.Errorf("a WriteAtomic that fails found the predecessors %q; want %q", out.Found[0].Predecessors, predecessors)
					}
					touch := touching("key", 0, t.stateOf(d, "key"))
					touch.Predecessors = predecessors + "t"
					t.writeAtomic(d, []kv.Write{touch})
					t.wantPredecessors(d, "a touch of a WriteAtomic", predecessors+"t")
					touch = touching("key", 0, t.stateOf(d, "key"))
					touch.Predecessors = ""
					t.writeAtomic(d, []kv.Write{touch})
					t.wantPredecessors(d, "a touch without predecessors of a WriteAtomic", "")
				}
			}),
	}
}

// wantPredecessors checks the predecessors of "key".
func (t *trial) wantPredecessors(d kv.Driver, after, want string) {
	if found := t.found(d, "key"); found.Predecessors != want {
		t.Errorf("after %s the predecessors are %q; want %q", after, found.Predecessors, want)
	}
}

// driverFaultCases are cases like driverCases that need Config.Faulty.
func driverFaultCases() []testCase {
	return []testCase{
		rule("driver/get-many/unanswered-request",
			"While one of several requests of a driver's GetMany gets no response, the GetMany yields the keys of the other requests.",
			func(t *trial) {
				keys := numbered("key:", 450) // more keys than the cloud providers of this module put into one request
				t.fillKeys(keys...)
				d := t.underlying()
				ctx, cancel := context.WithCancel(t.ctx)
				defer cancel()
				var requests atomic.Int64
				var alone atomic.Bool // the first request hung, and no other one followed
				hanging := plan{faults: []Fault{Hang}, concerns: func(write bool) bool {
					if !write {
						requests.Add(1)
					}
					return !write
				}}
				yielded := 0
				t.network.during(hanging, func() {
					// A driver that sends its requests one by one has nothing to yield
					// while the first request hangs. The case then ends the call, and
					// passes.
					defer time.AfterFunc(briefly, func() {
						if requests.Load() < 2 {
							alone.Store(true)
							cancel()
						}
					}).Stop()
					defer time.AfterFunc(lateness, cancel).Stop()
					for _, err := range d.GetMany(ctx, kv.GetManyRequest{Keys: keys, WithValue: true}) {
						if err == nil && ctx.Err() == nil {
							yielded++
							cancel()
						}
					}
				})
				if n := requests.Load(); n > 1 && yielded == 0 && !alone.Load() {
					t.Errorf("the driver's GetMany made %d requests, one of which got no response for %v, and yields no key in that time", n, lateness)
				}
			}),
	}
}

// underlying returns the driver of the trial's store. With it, a case can make requests that a
// store never makes.
func (t *trial) underlying() (d kv.Driver) {
	t.opened.With(kv.Wrap(kv.Level1, func(inner kv.Driver) kv.Driver {
		d = t.driver.wrap(inner)
		return d
	}))
	return d
}

// putting returns a put like those that a store sends to its driver.
func putting(key, value string, cond kv.Condition) kv.Write {
	return kv.Write{Kind: kv.KindPut, Record: kv.Record{Key: key, Value: []byte(value), Token: newToken()}, Condition: cond}
}

func deleting(key string, cond kv.Condition) kv.Write {
	return kv.Write{Kind: kv.KindDelete, Record: kv.Record{Key: key, Token: newToken()}, Condition: cond}
}

// newToken returns a random token, as a store does.
func newToken() string { return rand.Text()[:kv.TokenLen] }

// writeMany calls the driver's WriteMany, which must return a result for each write.
func (t *trial) writeMany(d kv.Driver, writes []kv.Write) []kv.WriteResult {
	results := d.WriteMany(t.ctx, kv.WriteManyRequest{Writes: writes, Now: t.clock.now().UnixMilli()})
	if len(results) != len(writes) {
		t.Fatalf("the driver's WriteMany of %d writes returns %d results", len(writes), len(results))
	}
	return results
}

// found reads the record under a key from the driver.
func (t *trial) found(d kv.Driver, key string) kv.Found {
	found, err := d.Get(t.ctx, kv.GetRequest{Key: key, WithValue: true})
	if err != nil {
		t.Fatalf("the driver's Get(%q): %v", key, err)
	}
	return found
}
