package conformance

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/skykv/skykv/kv"
)

// largeRule returns a case for stores with a large MaxValue; the case uses the largest that
// the driver can hold. If the driver cannot hold more than kv.MaxValueLen bytes, the case
// checks that the store refuses a larger MaxValue.
func largeRule(name, words string, run func(t *trial, longest int)) testCase {
	c := rule(name, words+" If the driver can hold no more than 24,576 bytes, calls with a larger MaxValue return ErrInvalidOption instead.", nil)
	_, c.file, _, _ = runtime.Caller(1)
	c.run = func(t *trial) {
		longest := t.longestLarge()
		if longest <= kv.MaxValueLen {
			t.wantOptionRefused(kv.MaxValueLen + 1)
			return
		}
		t.store = t.with(kv.MaxValue(longest))
		run(t, longest)
	}
	return c
}

// longestLarge returns the greatest legal MaxValue of the driver.
func (t *trial) longestLarge() int {
	return min(t.underlying().Info().MaxValueLen, kv.MaxLargeValueLen)
}

// wantOptionRefused checks that MaxValue(n) makes every call of a store fail.
func (t *trial) wantOptionRefused(n int) {
	s := t.with(kv.MaxValue(n))
	for _, op := range operations {
		t.wantRefused(fmt.Sprintf("%s with MaxValue of %d", op.name, n), kv.ErrInvalidOption, func() error { return op.call(t.ctx, s, kv.Version{}) })
	}
	t.wantRefused(fmt.Sprintf("Put of a long value with MaxValue of %d", n), kv.ErrInvalidOption, func() error {
		_, err := s.Put(t.ctx, "key", make([]byte, kv.MaxLargeValueLen+1))
		return err
	})
}

// largeSizes returns lengths of values at which services and layouts may begin to behave
// differently. The last length is longest.
func largeSizes(longest int) []int {
	sizes := slices.DeleteFunc([]int{kv.MaxValueLen + 1, 64 << 10, 64<<10 + 1, 128 << 10}, func(n int) bool { return n >= longest })
	return append(sizes, longest)
}

func largeCases() []testCase {
	return []testCase{
		rule("large/option",
			"With MaxValue of less than one byte, or of more than the driver can hold, every call returns ErrInvalidOption before any I/O. Any other MaxValue is the limit, and Info returns it.",
			func(t *trial) {
				longest := t.longestLarge()
				for _, n := range []int{0, -1, longest + 1, kv.MaxLargeValueLen + 1} {
					t.wantOptionRefused(n)
				}
				for _, n := range []int{1, 1000, longest} {
					s := t.with(kv.MaxValue(n))
					if is := s.Info().MaxValueLen; is != n {
						t.Errorf("Info().MaxValueLen of a store with MaxValue of %d is %d", n, is)
					}
					value := bytesOf(n)
					if _, err := s.Put(t.ctx, "key", value); err != nil {
						t.Errorf("Put of %d bytes with the same MaxValue: %v", n, err)
					}
					t.wantValue("key", string(value))
				}
			}),
		largeRule("large/put",
			"With MaxValue, reads return values of more than 24,576 bytes as they were stored.",
			func(t *trial, longest int) {
				for _, n := range largeSizes(longest) {
					value := string(bytesOf(n))
					v := t.put("put", value, kv.TTL(time.Hour))
					t.wantLive("put", want{value, v, t.clock.now().Add(time.Hour)})
				}
			}),
		largeRule("large/replaced",
			"Put replaces a larger value completely: nothing of it remains.",
			func(t *trial, longest int) {
				for _, n := range []int{longest, 1, longest, 0, longest, 24 << 10, longest, longest / 2, longest} {
					value := string(bytesOf(n))
					v := t.put("key", value)
					t.wantEntry("Get", t.get("key"), "key", want{value: value, version: v})
				}
			}),
		largeRule("large/conditions",
			"Conditional writes of larger values, and of entries with larger values, are exact.",
			func(t *trial, longest int) {
				value := string(bytesOf(longest))
				first := t.put("key", value, kv.IfNotExists(), kv.TTL(time.Minute))
				_, err := t.Put(t.ctx, "key", []byte("new"), kv.IfNotExists())
				t.wantError("Put with IfNotExists of an existing key", err, kv.ErrConditionFailed)
				second := t.put("key", value[1:], kv.IfVersion(first), kv.TTL(time.Minute))
				_, err = t.Put(t.ctx, "key", []byte(value), kv.IfVersion(first))
				t.wantError("Put with the version before", err, kv.ErrConditionFailed)
				t.wantEntry("Get", t.get("key"), "key", want{value[1:], second, t.clock.now().Add(time.Minute)})
				t.clock.advance(time.Minute)
				third := t.put("key", value, kv.IfNotExists())
				t.wantLive("key", want{value: value, version: third})
				t.wantError("Delete with the version before", t.Delete(t.ctx, "key", kv.IfVersion(second)), kv.ErrConditionFailed)
				t.delete("key", kv.IfVersion(third))
				t.wantGone("key")
			}),
		largeRule("large/touch",
			"Touch leaves a larger value as it is.",
			func(t *trial, longest int) {
				for _, n := range largeSizes(longest) {
					value := string(bytesOf(n))
					t.put("key", value)
					v := t.touch("key", kv.TTL(time.Hour))
					t.wantEntry("Get after Touch", t.get("key"), "key", want{value, v, t.clock.now().Add(time.Hour)})
					v = t.touch("key", kv.ExpiresAt(time.Time{}), kv.IfVersion(v))
					t.wantEntry("Get after Touch with IfVersion", t.get("key"), "key", want{value: value, version: v})
				}
			}),
		largeRule("large/update",
			"Update reads and stores larger values, even several times in a row, and GetAndDelete returns one.",
			func(t *trial, longest int) {
				value := string(bytesOf(longest))
				t.put("key", value[:longest-3])
				for n := longest - 2; n <= longest; n++ {
					e, err := t.Update(t.ctx, "key", func(old kv.Entry, _ bool) (kv.Change, error) {
						return kv.Change{Value: append(old.Value, value[len(old.Value)])}, nil
					})
					if err != nil || string(e.Value) != value[:n] {
						t.Fatalf("Update to %d bytes: %d bytes, %v", n, len(e.Value), err)
					}
				}
				t.wantValue("key", value)
				_, err := t.Update(t.ctx, "key", func(old kv.Entry, _ bool) (kv.Change, error) { return kv.Change{Value: append(old.Value, 0)}, nil })
				t.wantError("Update to one byte too many", err, kv.ErrValueTooLarge)
				if e, err := t.GetAndDelete(t.ctx, "key"); err != nil || string(e.Value) != value {
					t.Errorf("GetAndDelete: a value of %d bytes, %v; want the last one of %d bytes", len(e.Value), err, longest)
				}
				t.wantGone("key")
			}),
		largeRule("large/batch",
			"Batches write and read many larger values, more than fit into one request of a service.",
			func(t *trial, longest int) {
				const n = 28 // with the largest values more than 10 MiB
				keys := numbered("key:", n)
				items := make([]kv.Item, n)
				for i, key := range keys {
					items[i] = kv.Item{Key: key, Value: append([]byte(key), bytesOf(longest-len(key)-i%2)...)}
				}
				t.fill(items...)
				read := t.getMany(keys...)
				for _, item := range items {
					t.wantEntry("GetMany", read[item.Key], item.Key, want{value: string(item.Value)})
				}
			}),
		largeRule("large/scan",
			"A scan yields larger values among small ones, each as it was stored, and pages have as many entries as requested.",
			func(t *trial, longest int) {
				keys := numbered("key:", 40)
				items, values := make([]kv.Item, len(keys)), make(map[string]string)
				for i, key := range keys {
					value := key
					if i%10 == 3 || i >= 32 {
						value = key + string(bytesOf(longest-len(key)))
					}
					items[i], values[key] = kv.Item{Key: key, Value: []byte(value)}, value
				}
				t.fill(items...)
				entries := t.scan("")
				t.wantKeys("Scan", entries, keys)
				page := t.page("", 35, "")
				t.wantKeys("ScanPage", page.Entries, keys[:35])
				rest := t.page("", 35, page.Next)
				t.wantKeys("ScanPage after it", rest.Entries, keys[35:])
				for _, e := range slices.Concat(entries, page.Entries, rest.Entries) {
					t.wantEntry("Scan or ScanPage", e, e.Key, want{value: values[e.Key]})
				}
				t.wantContent(keys...)
			}),
		largeRule("large/atomic",
			"An AtomicWrite takes as many larger values as fit into MaxAtomicBytes, and touches and checks entries with larger values. A store without MaxAtomicWrites returns ErrUnsupported instead.",
			func(t *trial, longest int) {
				if !t.hasAtomicWrite() {
					return
				}
				value := string(bytesOf(longest))
				most := min(t.Info().MaxAtomicWrites, kv.MaxAtomicWrites)
				n := min(kv.MaxAtomicBytes/(len("g::key0000")+longest), most)
				keys := numbered("g::key", n+1)
				ops := make([]kv.Op, n)
				for i, key := range keys[:n] {
					ops[i] = kv.PutOp(key, []byte(value), kv.IfNotExists())
				}
				versions := t.atomic(ops...)
				for i, key := range keys[:n] {
					t.wantEntry("Get", t.get(key), key, want{value: value, version: versions[i]})
				}
				_, err := t.AtomicWrite(t.ctx, ops...)
				if e, ok := errors.AsType[*kv.Error](err); !ok || !errors.Is(err, kv.ErrConditionFailed) || len(e.Keys) != n {
					t.Errorf("AtomicWrite with IfNotExists of keys that exist: %v; want the names of all %d keys", err, n)
				}
				versions = t.atomic(kv.TouchOp(keys[0], kv.TTL(time.Hour)), kv.TouchOp(keys[1], kv.TTL(time.Minute), kv.IfVersion(versions[1])),
					kv.CheckOp(keys[2], kv.IfVersion(versions[2])), kv.PutOp(keys[3], []byte("short")), kv.DeleteOp(keys[4]))
				t.wantEntry("Get after a TouchOp", t.get(keys[0]), keys[0], want{value, versions[0], t.clock.now().Add(time.Hour)})
				t.wantEntry("Get after a TouchOp with IfVersion", t.get(keys[1]), keys[1], want{value, versions[1], t.clock.now().Add(time.Minute)})
				t.wantValue(keys[2], value)
				t.wantValue(keys[3], "short")
				t.wantGone(keys[4])
				if n == most {
					return // one more operation would be too many, whatever its length
				}
				for i := range ops {
					ops[i] = kv.PutOp(keys[i], []byte(value))
				}
				ops = append(ops, kv.PutOp(keys[n], []byte(value)))
				t.wantRefused("AtomicWrite of more bytes than fit", kv.ErrValueTooLarge, func() error { _, err := t.AtomicWrite(t.ctx, ops...); return err })
			}),
		largeRule("large/too-long",
			"With MaxValue, a value one byte longer is refused with ErrValueTooLarge before any I/O, and changes nothing.",
			func(t *trial, longest int) {
				v := t.put("key", "kept")
				t.wantTooLong(longest+1, v)
				t.store = t.with(kv.MaxValue(1000))
				t.wantTooLong(1001, v)
			}),
		largeRule("large/others",
			"A store without MaxValue reads, touches, updates and deletes larger values, and refuses to write one with ErrValueTooLarge.",
			func(t *trial, longest int) {
				value := string(bytesOf(longest))
				keys := []string{"a", "b", "c"}
				for _, key := range keys {
					t.put(key, value)
				}
				t.store = t.with()
				for _, key := range keys {
					t.wantLive(key, want{value: value})
				}
				for _, e := range t.scan("") {
					t.wantEntry("Scan", e, e.Key, want{value: value})
				}
				t.wantTooLong(kv.MaxValueLen+1, t.get("a").Version)
				_, err := t.Update(t.ctx, "a", func(old kv.Entry, _ bool) (kv.Change, error) { return kv.Change{Value: old.Value}, nil })
				t.wantError("Update to the same value", err, kv.ErrValueTooLarge)
				v := t.touch("a", kv.TTL(time.Hour))
				t.wantEntry("Get after Touch", t.get("a"), "a", want{value, v, t.clock.now().Add(time.Hour)})
				if e, err := t.GetAndDelete(t.ctx, "b"); err != nil || string(e.Value) != value {
					t.Errorf("GetAndDelete: a value of %d bytes, %v; want %d", len(e.Value), err, longest)
				}
				t.put("c", "short", kv.IfVersion(t.get("c").Version))
				t.wantValue("c", "short")
				t.wantContent("a", "c")
			}),
	}
}

// wantTooLong checks that every write refuses a value of n bytes. The argument v is the version
// of the first entry of the store.
func (t *trial) wantTooLong(n int, v kv.Version) {
	long := make([]byte, n)
	was := t.scan("", kv.KeysOnly())
	key := was[0].Key
	for what, call := range map[string]func() error{
		"Put":                  func() error { _, err := t.Put(t.ctx, key, long); return err },
		"Put with IfNotExists": func() error { _, err := t.Put(t.ctx, "new", long, kv.IfNotExists()); return err },
		"Put with IfVersion":   func() error { _, err := t.Put(t.ctx, key, long, kv.IfVersion(v)); return err },
		"PutMany":              func() error { _, err := t.PutMany(t.ctx, []kv.Item{{Key: "new"}, {Key: key, Value: long}}); return err },
		"AtomicWrite": func() error {
			if t.Info().MaxAtomicWrites == 0 { // the group "atomic" checks such stores
				_, err := t.Put(t.ctx, key, long)
				return err
			}
			_, err := t.AtomicWrite(t.ctx, kv.PutOp(key, long), kv.DeleteOp(key+"::absent"))
			return err
		},
	} {
		t.wantRefused(fmt.Sprintf("%s of %d bytes", what, n), kv.ErrValueTooLarge, call)
	}
	_, err := t.Update(t.ctx, "new", func(kv.Entry, bool) (kv.Change, error) { return kv.Change{Value: long}, nil })
	t.wantError(fmt.Sprintf("Update to %d bytes", n), err, kv.ErrValueTooLarge)
	if is := t.scan("", kv.KeysOnly()); !slices.EqualFunc(is, was, func(a, b kv.Entry) bool { return a.Key == b.Key && a.Version == b.Version }) {
		t.Errorf("there are %d entries after that, some of them changed; want the same %d entries as before", len(is), len(was))
	}
}
