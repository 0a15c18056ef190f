package conformance

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/skykv/skykv/kv"
)

// driverCases are for rules of kv.Driver that middleware relies on, and callers of a
// store as a rule do not feel.
func driverCases() []testCase {
	return []testCase{
		rule("driver/get-many/every-key-once",
			"A driver's GetMany yields every key that it is asked for once, with its record or without one.",
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
							t.Fatalf("the driver's GetMany: %v, beside the key %q", err, found.Key)
						}
						seen[found.Key]++
						there := slices.Contains(live, found.Key)
						if found.Exists != there {
							t.Errorf("the driver's GetMany says of %q that it has a record: %v; want %v", found.Key, found.Exists, there)
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
						t.Errorf("the driver's GetMany yields %q, which is no key of the request", key)
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
			"A driver's WriteMany returns a result for each write, in their order, each with the version of what was stored.",
			func(t *trial) {
				t.fillKeys(numbered("key:", 60)...)
				var writes []kv.Write
				for i := range 40 {
					key := fmt.Sprintf("key:%04d", i*37%60) // in no order
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
						t.Errorf("%s of %q: Done is %v, the error %v; want that it was done", writes[i].Kind, key, r.Done, r.Err)
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
			"A driver's WriteMany carries out each write if its own condition holds, and otherwise returns the record that made it fail.",
			func(t *trial) {
				d := t.underlying()
				t.fillKeys("a", "b", "c", "d", "e", "f")
				stale := make(map[string]kv.Condition)
				for _, key := range []string{"a", "b", "c", "d", "e", "f"} {
					stale[key] = kv.Condition{Kind: kv.CondVersion, Version: t.found(d, key).Version}
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
			"A write or a condition of a kind that a driver does not know, or that does not belong there, is ErrUnsupported, and writes nothing.",
			func(t *trial) {
				v := t.put("key", "old", kv.TTL(time.Hour))
				w := want{value: "old", version: v, expiresAt: t.clock.now().Add(time.Hour)}
				d := t.underlying()
				const unknownWrite, unknownCondition = kv.WriteKind(200), kv.ConditionKind(200)
				current := kv.Condition{Kind: kv.CondVersion, Version: t.found(d, "key").Version}
				for _, c := range []struct {
					kind kv.WriteKind
					cond kv.Condition
				}{
					{0, kv.Condition{}},
					{unknownWrite, kv.Condition{}},
					{unknownWrite, current},
					{kv.KindPut, kv.Condition{Kind: unknownCondition}},
					{kv.KindDelete, kv.Condition{Kind: unknownCondition}},
					{kv.KindCheck, kv.Condition{}}, // which is for WriteAtomic alone
					{kv.KindCheck, current},
					{kv.KindTouch, kv.Condition{}}, // whose condition is one that wants a record
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

// driverFaultCases are the driverCases that need Config.Faulty.
func driverFaultCases() []testCase {
	return []testCase{
		rule("driver/get-many/unanswered-request",
			"While one of several requests of a driver's GetMany gets no answer, the keys of the others are yielded.",
			func(t *trial) {
				keys := numbered("key:", 450) // more than one request of a service is for
				t.fillKeys(keys...)
				d := t.underlying()
				ctx, cancel := context.WithCancel(t.ctx)
				defer cancel()
				var requests atomic.Int64
				hanging := plan{faults: []Fault{Hang}, concerns: func(write bool) bool {
					if !write {
						requests.Add(1)
					}
					return !write
				}}
				yielded := 0
				t.network.during(hanging, func() {
					// A driver that makes one request at a time has nothing to yield.
					defer time.AfterFunc(briefly, func() {
						if requests.Load() < 2 {
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
				if n := requests.Load(); n > 1 && yielded == 0 {
					t.Errorf("the driver's GetMany made %d requests, of which one got no answer for %v, and yields no key in that time", n, lateness)
				}
			}),
	}
}

// underlying returns the driver of the trial's store, for requests that no store makes.
func (t *trial) underlying() (d kv.Driver) {
	t.opened.With(kv.Wrap(kv.Level1, func(inner kv.Driver) kv.Driver {
		d = t.driver.wrap(inner)
		return d
	}))
	return d
}

// putting is a put as a store would ask for it.
func putting(key, value string, cond kv.Condition) kv.Write {
	return kv.Write{Kind: kv.KindPut, Record: kv.Record{Key: key, Value: []byte(value), Token: newToken()}, Condition: cond}
}

func deleting(key string, cond kv.Condition) kv.Write {
	return kv.Write{Kind: kv.KindDelete, Record: kv.Record{Key: key, Token: newToken()}, Condition: cond}
}

// newToken draws a token as a store does.
func newToken() string { return rand.Text()[:kv.TokenLen] }

// writeMany has the driver carry out writes.
func (t *trial) writeMany(d kv.Driver, writes []kv.Write) []kv.WriteResult {
	results := d.WriteMany(t.ctx, kv.WriteManyRequest{Writes: writes, Now: t.clock.now().UnixMilli()})
	if len(results) != len(writes) {
		t.Fatalf("the driver's WriteMany of %d writes returns %d results", len(writes), len(results))
	}
	return results
}

// found reads what the driver has under a key.
func (t *trial) found(d kv.Driver, key string) kv.Found {
	found, err := d.Get(t.ctx, kv.GetRequest{Key: key, WithValue: true})
	if err != nil {
		t.Fatalf("the driver's Get(%q): %v", key, err)
	}
	return found
}
