package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/skykv/skykv/kv"
)

func concurrencyCases() []testCase {
	return []testCase{
		rule("concurrency/creators",
			"Exactly one of 32 concurrent puts-if-absent succeeds, and its entry stays. The others return ErrConditionFailed.",
			func(t *trial) {
				for range 3 {
					t.race(32, kv.IfNotExists())
					t.delete("key")
				}
			}),
		rule("concurrency/takeover",
			"Exactly one of 16 concurrent puts-if-absent of an expired entry succeeds, and its entry stays.",
			func(t *trial) {
				for range 3 {
					t.put("key", "old", kv.TTL(time.Second))
					t.clock.advance(time.Second)
					t.race(16, kv.IfNotExists())
				}
			}),
		rule("concurrency/compare-and-swap",
			"Exactly one of 16 concurrent compare-and-swaps of one version succeeds, and its entry stays.",
			func(t *trial) {
				for range 3 {
					t.race(16, kv.IfVersion(t.put("key", "old")))
				}
			}),
		rule("concurrency/delete",
			"Exactly one of 16 concurrent deletes of one version succeeds.",
			func(t *trial) {
				for range 3 {
					v := t.put("key", "old")
					t.winner(atOnce(16, func(int) error {
						return persist(func() error { return t.Delete(t.ctx, "key", kv.IfVersion(v)) })
					}))
					t.wantAbsent("key")
				}
			}),
		rule("concurrency/put-and-delete",
			"Exactly one of several concurrent puts and deletes of one version succeeds, and the key is as that one left it.",
			func(t *trial) {
				for range 3 {
					v := t.put("key", "old")
					errs := atOnce(16, func(i int) error {
						return persist(func() error {
							if i%2 == 0 {
								return t.Delete(t.ctx, "key", kv.IfVersion(v))
							}
							_, err := t.Put(t.ctx, "key", []byte(strconv.Itoa(i)), kv.IfVersion(v))
							return err
						})
					})
					switch i := t.winner(errs); {
					case i < 0:
					case i%2 == 0:
						t.wantAbsent("key")
					default:
						t.wantValue("key", strconv.Itoa(i))
					}
				}
			}),
		rule("concurrency/counter",
			"A counter by compare-and-swap loses no update.",
			func(t *trial) {
				const workers, rounds = 6, 10
				t.put("key", "0")
				counted, unknown := 0, 0
				for range rounds {
					// All workers read before any of them writes, so that their writes
					// compete.
					entries := make([]kv.Entry, workers)
					for i, err := range atOnce(workers, func(i int) error {
						return persist(func() (err error) { entries[i], err = t.Get(t.ctx, "key"); return err })
					}) {
						if err != nil {
							t.Fatalf("Get of worker %d: %v", i, err)
						}
					}
					before := counted + unknown
					for i, err := range atOnce(workers, func(i int) error {
						count, err := strconv.Atoi(string(entries[i].Value))
						if err != nil {
							return fmt.Errorf("the counter holds %s", short(string(entries[i].Value)))
						}
						return persist(func() error {
							_, err := t.Put(t.ctx, "key", []byte(strconv.Itoa(count+1)), kv.IfVersion(entries[i].Version))
							return err
						})
					}) {
						switch {
						case err == nil:
							counted++
						case errors.Is(err, kv.ErrIndeterminate):
							unknown++
						case !errors.Is(err, kv.ErrConditionFailed):
							t.Errorf("Put of worker %d: %v", i, err)
						}
					}
					if counted+unknown == before {
						t.Errorf("none of %d workers succeeded", workers)
					}
				}
				count, _ := strconv.Atoi(string(t.get("key").Value))
				if count < counted || count > counted+unknown {
					t.Errorf("the counter holds %d after %d successful increments (and %d of unknown result)", count, counted, unknown)
				}
			}),
		rule("concurrency/other-keys",
			"Concurrent writes to different keys do not affect each other, single or in batches.",
			func(t *trial) {
				var keys []string
				for i := range 24 {
					keys = append(keys, fmt.Sprintf("single:%02d", i))
				}
				errs := atOnce(32, func(i int) error {
					return persist(func() error {
						if i < 24 {
							_, err := t.Put(t.ctx, keys[i], []byte("value"))
							return err
						}
						var items []kv.Item
						for _, key := range numbered(fmt.Sprintf("batch:%02d:", i), 30) {
							items = append(items, kv.Item{Key: key, Value: []byte("value")})
						}
						_, err := t.PutMany(t.ctx, items)
						return err
					})
				})
				for i, err := range errs {
					if err != nil {
						t.Errorf("writer %d: %v", i, err)
					}
				}
				var all []string
				for i := 24; i < 32; i++ {
					all = append(all, numbered(fmt.Sprintf("batch:%02d:", i), 30)...)
				}
				t.wantContent(append(all, keys...)...)
			}),
		rule("concurrency/whole-values",
			"Concurrent puts of one key leave the whole value of one of them, with the version that this put returned. Reads meanwhile return whole values only.",
			func(t *trial) {
				const writers = 12
				size := t.maxValueLen()
				whole := func(value []byte) bool {
					return len(value) == size && bytes.Count(value, value[:1]) == size
				}
				t.put("key", string(bytes.Repeat([]byte{'0'}, size)))
				versions := make([]kv.Version, writers)
				errs := atOnce(writers+4, func(i int) error {
					if i < writers {
						return persist(func() (err error) {
							versions[i], err = t.Put(t.ctx, "key", bytes.Repeat([]byte{byte('A' + i)}, size))
							return err
						})
					}
					for range 10 {
						var e kv.Entry
						if err := persist(func() (err error) { e, err = t.Get(t.ctx, "key"); return err }); err != nil {
							return err
						}
						if !whole(e.Value) {
							return errors.New("a reader sees a value that nobody wrote")
						}
					}
					return nil
				})
				indeterminate := false
				for i, err := range errs {
					switch {
					case errors.Is(err, kv.ErrIndeterminate):
						indeterminate = true
					case err != nil:
						t.Errorf("worker %d: %v", i, err)
					}
				}
				e := t.get("key")
				if !whole(e.Value) || e.Value[0] == '0' {
					t.Fatalf("the value at the end is not one of the last writes")
				}
				if i := int(e.Value[0] - 'A'); !indeterminate && versions[i] != e.Version {
					t.Errorf("the version at the end is not the version that its Put returned")
				}
			}),
		rule("concurrency/scan-among-writers",
			"A scan yields every key that stays exactly once and in order, while others write and delete other keys.",
			func(t *trial) {
				stay := numbered("key:", 80)
				t.fillKeys(stay...)
				// The scanner waits for a write after every third entry, so that each scan
				// runs among writes. A send on the channel wrote means that a writer has
				// written. The channel stopped is closed when a writer has failed.
				wrote, stopped := make(chan struct{}), make(chan struct{})
				done := make(chan struct{})
				var once sync.Once
				scan := func() error {
					var seen []kv.Entry
					last, n := "", 0
					for e, err := range t.Scan(t.ctx, "key:") {
						if err != nil {
							return err
						}
						if e.Key <= last {
							return fmt.Errorf("Scan yields %s after %s", short(e.Key), short(last))
						}
						if last = e.Key; slices.Contains(stay, e.Key) {
							seen = append(seen, e)
						}
						if n++; n%3 == 0 {
							select {
							case <-wrote:
							case <-stopped:
							}
						}
					}
					t.wantKeys("Scan, of the keys that stay", seen, stay)
					return nil
				}
				write := func(key string) error {
					for _, call := range []func() error{
						func() error { _, err := t.Put(t.ctx, key, []byte("replaced")); return err },
						func() error { _, err := t.Put(t.ctx, key+"x", []byte("passing")); return err },
						func() error { return t.Delete(t.ctx, key+"x") },
					} {
						if err := persist(call); err != nil && !errors.Is(err, kv.ErrIndeterminate) {
							return err
						}
						select {
						case wrote <- struct{}{}:
						case <-done:
						}
					}
					return nil
				}
				errs := atOnce(4, func(i int) error {
					if i == 0 {
						defer close(done)
						for range 3 {
							if err := scan(); err != nil {
								return err
							}
						}
						return nil
					}
					for n := i; ; n += 7 {
						select {
						case <-done:
							return nil
						default:
						}
						if err := write(stay[n%len(stay)]); err != nil {
							once.Do(func() { close(stopped) })
							return err
						}
					}
				})
				for i, err := range errs {
					if err != nil {
						t.Errorf("worker %d: %v", i, err)
					}
				}
			}),
	}
}

// persist makes a call up to 20 times, as long as the call returns ErrThrottled or ErrUnavailable,
// but not ErrIndeterminate. An emulator under load may return these errors for calls that it has
// not carried out.
func persist(call func() error) error {
	var err error
	for range 20 {
		err = call()
		if errors.Is(err, kv.ErrIndeterminate) || !errors.Is(err, kv.ErrThrottled) && !errors.Is(err, kv.ErrUnavailable) {
			return err
		}
	}
	return err
}

// winner checks the errors of conditional writes, of which exactly one must be applied. It
// returns the index of the write that returned success. If no write did, it returns -1, and one
// write must have returned ErrIndeterminate, because that write may have been applied.
func (t *trial) winner(errs []error) int {
	winner, unknown := -1, 0
	for i, err := range errs {
		switch {
		case err == nil && winner >= 0:
			t.Errorf("two of %d writers succeeded, %d and %d", len(errs), winner, i)
		case err == nil:
			winner = i
		case errors.Is(err, kv.ErrIndeterminate):
			unknown++
		case !errors.Is(err, kv.ErrConditionFailed):
			t.Errorf("writer %d: %v; want success or ErrConditionFailed", i, err)
		}
	}
	if winner < 0 && unknown == 0 {
		t.Errorf("none of %d writers succeeded", len(errs))
	}
	return winner
}

// race makes n writers put their numbers under "key" at the same time. Exactly one must
// succeed.
func (t *trial) race(n int, cond kv.PutOption) {
	versions := make([]kv.Version, n)
	errs := atOnce(n, func(i int) error {
		return persist(func() (err error) {
			versions[i], err = t.Put(t.ctx, "key", []byte(strconv.Itoa(i)), cond)
			return err
		})
	})
	if i := t.winner(errs); i >= 0 {
		t.wantEntry("Get", t.get("key"), "key", want{value: strconv.Itoa(i), version: versions[i]})
	}
}
