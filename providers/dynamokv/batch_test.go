package dynamokv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skykv/skykv/kv"
)

// batch responds to BatchGetItem and BatchWriteItem. It leaves a key unprocessed if the
// function unprocessed returns true for the key and n, the number of earlier requests.
// For every other key of a BatchGetItem, it returns an item, unless the key begins with
// "absent". Every other write of a BatchWriteItem succeeds.
func batch(unprocessed func(key string, n int) bool) answer {
	var requests atomic.Int64
	return func(w http.ResponseWriter, r *http.Request, c call) {
		n := int(requests.Add(1)) - 1
		left := make(map[string]any)
		var items []json.RawMessage
		for table, asked := range c.body["RequestItems"].(map[string]any) {
			if asked, ok := asked.(map[string]any); ok { // BatchGetItem
				var keys []any
				for _, key := range asked["Keys"].([]any) {
					name := key.(map[string]any)["sk"].(map[string]any)["S"].(string)
					if unprocessed(name, n) {
						keys = append(keys, key)
					} else if !strings.HasPrefix(name, "absent") {
						items = append(items, json.RawMessage(itemJSON(name, "value", token, 0)))
					}
				}
				if keys != nil {
					left[table] = map[string]any{"Keys": keys, "ConsistentRead": true}
				}
				continue
			}
			var writes []any
			for _, write := range asked.([]any) {
				if unprocessed(written(write), n) {
					writes = append(writes, write)
				}
			}
			if writes != nil {
				left[table] = writes
			}
		}
		body, _ := json.Marshal(map[string]any{
			"Responses": map[string]any{"table": items}, "UnprocessedKeys": left, "UnprocessedItems": left,
		})
		ok(string(body))(w, r, c)
	}
}

// written returns the key of an element of a BatchWriteItem.
func written(write any) string {
	for _, kind := range []string{"PutRequest", "DeleteRequest"} {
		if request, ok := write.(map[string]any)[kind].(map[string]any); ok {
			for _, attrs := range request { // Item or Key
				return attrs.(map[string]any)["sk"].(map[string]any)["S"].(string)
			}
		}
	}
	return ""
}

func names(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("key-%d", i)
	}
	return keys
}

func items(keys []string) []kv.Item {
	items := make([]kv.Item, len(keys))
	for i, key := range keys {
		items[i] = kv.Item{Key: key, Value: []byte("payload")}
	}
	return items
}

func TestUnprocessedIsSentAgain(t *testing.T) {
	t.Parallel()
	// Each odd key is processed one request later than the odd key before it.
	stubborn := func(key string, n int) bool {
		var i int
		_, _ = fmt.Sscanf(key, "key-%d", &i)
		return i%2 == 1 && n < i/2
	}
	f := newFake(t, batch(stubborn))
	got, err := f.store(t).GetMany(t.Context(), names(20))
	if err != nil || len(got) != 20 {
		t.Errorf("rule: unprocessed keys are requested again; got %d of 20 entries, %v", len(got), err)
	}
	f = newFake(t, batch(stubborn))
	if _, err := f.store(t).PutMany(t.Context(), items(names(20))); err != nil {
		t.Errorf("rule: unprocessed writes are sent again; got %v", err)
	}
	if first, last := writes(f.call(0)), writes(f.call(len(f.ops())-1)); first != 20 || last != 1 {
		t.Errorf("the first request had %d writes and the last %d; want 20 and 1", first, last)
	}
	f = newFake(t, batch(stubborn))
	if err := f.store(t).DeleteMany(t.Context(), names(20)); err != nil {
		t.Errorf("rule: unprocessed deletions are sent again; got %v", err)
	}
}

func writes(c call) (n int) {
	for _, asked := range c.body["RequestItems"].(map[string]any) {
		n += len(asked.([]any))
	}
	return n
}

// The rule: GetMany yields a key as soon as the response with the key arrives, even while other
// keys are throttled or another request gets no response.
func TestGetManyYieldsWhatIsThere(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		keys int
		late int  // number of delayed keys, which are the first keys
		slow bool // a request for a delayed key gets no response; otherwise the key is throttled
	}{
		{"throttled keys of a response", 5, 1, false},
		{"throttled requests, more than are made at once", (batchParallel + 3) * maxBatchGet, (batchParallel + 2) * maxBatchGet, false},
		{"slow requests, all but one of those that are made at once", (batchParallel + 3) * maxBatchGet, (batchParallel - 1) * maxBatchGet, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			released := make(chan struct{})
			late := func(key string) bool {
				var n int
				_, _ = fmt.Sscanf(key, "key-%d", &n)
				return n < test.late
			}
			all := batch(func(string, int) bool { return false })
			throttling := batch(func(key string, _ int) bool {
				select {
				case <-released:
					return false
				default:
					return late(key)
				}
			})
			f := newFake(t, func(w http.ResponseWriter, r *http.Request, c call) {
				first := at(c.body, "RequestItems", "table", "Keys").([]any)[0]
				switch {
				case !test.slow:
					throttling(w, r, c)
					return
				case late(at(first, "sk", "S").(string)):
					select {
					case <-released:
					case <-r.Context().Done():
						return
					}
				}
				all(w, r, c)
			})
			d := f.driver(t)
			d.pause = func(ctx context.Context, _ int) error {
				select {
				case <-released:
				case <-ctx.Done():
				}
				return ctx.Err()
			}
			seen := make(map[string]int)
			for found, err := range d.GetMany(ctx, kv.GetManyRequest{Keys: names(test.keys), WithValue: true}) {
				if err != nil || !found.Exists || string(found.Value) != "value" {
					t.Fatalf("rule: delayed keys do not delay the others; after %d of %d others the result is %+v, %v", len(seen), test.keys-test.late, found, err)
				}
				if seen[found.Key]++; len(seen) == test.keys-test.late {
					close(released)
				}
			}
			for _, key := range names(test.keys) {
				if seen[key] != 1 {
					t.Errorf("rule: every key is yielded once; %q was %d times", key, seen[key])
				}
			}
		})
	}
}

func TestGetManyYieldsEveryKeyOnce(t *testing.T) {
	t.Parallel()
	twice, other := itemJSON("key-0", "value", token, 0), itemJSON("other", "value", token, 0)
	for name, test := range map[string]struct {
		answer answer
		want   string // for each key in ascending order: whether it exists, or the error
	}{
		"an item twice":                  {ok(`{"Responses":{"table":[` + twice + `,` + twice + `]},"UnprocessedKeys":{}}`), "key-0 true, key-1 false, key-2 false"},
		"an item that was not requested": {ok(`{"Responses":{"table":[` + twice + `,` + other + `]},"UnprocessedKeys":{}}`), "key-0 unavailable, key-1 unavailable, key-2 unavailable"},
		"an item that is also unprocessed": {
			ok(`{"Responses":{"table":[` + twice + `]},"UnprocessedKeys":{"table":{"Keys":[{"pk":{"S":"0"},"sk":{"S":"key-0"}}]}}}`),
			"key-0 true, key-1 false, key-2 false"},
		"no items":    {ok(`{"Responses":{"table":[]},"UnprocessedKeys":{}}`), "key-0 false, key-1 false, key-2 false"},
		"an error":    {refuse(400, "AccessDeniedException", "no"), "key-0 permission denied, key-1 permission denied, key-2 permission denied"},
		"no response": {cut, "key-0 unavailable, key-1 unavailable, key-2 unavailable"},
	} {
		var got []string
		for found, err := range newFake(t, test.answer).driver(t).GetMany(t.Context(), kv.GetManyRequest{Keys: names(3), WithValue: true}) {
			if e, ok := err.(*kv.Error); ok {
				got = append(got, fmt.Sprint(found.Key, " ", e.Kind))
			} else {
				got = append(got, fmt.Sprint(found.Key, " ", found.Exists))
			}
		}
		slices.Sort(got)
		if strings.Join(got, ", ") != test.want {
			t.Errorf("rule: every key is yielded once; after %s the keys are %q, want %q", name, got, test.want)
		}
	}
}

// The rule: GetMany does not transfer values that the caller does not want.
func TestGetManyWithoutValues(t *testing.T) {
	t.Parallel()
	f := newFake(t, ok(`{"Responses":{"table":[{"sk":{"S":"key-0"},"t":{"S":"`+token+`"}}]},"UnprocessedKeys":{}}`))
	for found, err := range f.driver(t).GetMany(t.Context(), kv.GetManyRequest{Keys: names(1)}) {
		if err != nil || !found.Exists || found.Token != token {
			t.Errorf("rule: a record without its value is found; got %+v, %v", found, err)
		}
	}
	if got := at(f.call(0).body, "RequestItems", "table", "ProjectionExpression"); got != "sk, x, t, p" {
		t.Errorf("rule: without values only the metadata is requested; the projection is %v", got)
	}
}

// The rule: a driver returns ErrUnsupported for a kind of write or condition that it does
// not know, before any I/O.
func TestUnsupportedWrites(t *testing.T) {
	t.Parallel()
	f := newFake(t, ok("{}"))
	d := f.driver(t)
	for kind := range kv.WriteKind(10) {
		for cond := range kv.ConditionKind(10) {
			if (kind == kv.KindPut || kind == kv.KindDelete) && cond <= kv.CondVersion || kind == kv.KindTouch && (cond == kv.CondVersion || cond == kv.CondLive) {
				continue
			}
			w := put("key", kv.Condition{Kind: cond, Version: token})
			w.Kind = kind
			_, err := d.Write(t.Context(), w)
			results := d.WriteMany(t.Context(), kv.WriteManyRequest{Writes: []kv.Write{w.Write}, Now: w.Now})
			for _, err := range []error{err, results[0].Err} {
				if e, ok := err.(*kv.Error); !ok || e.Kind != kv.ErrUnsupported || e.MayHaveApplied {
					t.Errorf("rule: an unknown kind of write or condition is ErrUnsupported; %s under %s returned %v", kind, cond, err)
				}
			}
		}
	}
	f.wantOps(t)
}

func TestUnprocessedForever(t *testing.T) {
	t.Parallel()
	f := newFake(t, batch(func(key string, _ int) bool { return key == "key-3" }))
	store := f.store(t)
	got, err := store.GetMany(t.Context(), names(5))
	if len(got) != 4 {
		t.Errorf("GetMany returned %d entries; want the 4 that were processed", len(got))
	}
	check := func(what string, err error) {
		t.Helper()
		wantError(t, what, err, kv.ErrThrottled, false, `"key-3"`, "unprocessed")
		if failed, ok := errors.AsType[*kv.BatchError](err); !ok || len(failed.Failed) != 1 {
			t.Errorf("%s: %v; want a BatchError of one key", what, err)
		}
	}
	check("GetMany", err)
	_, err = store.PutMany(t.Context(), items(names(5)))
	check("PutMany", err)
	check("DeleteMany", store.DeleteMany(t.Context(), names(5)))
	// The first request makes progress. One request per fakePause follows.
	if want := int(defaultTimeout/fakePause) + 1; len(f.ops()) != 3*want {
		t.Errorf("rule: a batch without a deadline ends after %s without progress; it made %d requests, want %d", defaultTimeout, len(f.ops()), 3*want)
	}
}

func TestUnprocessedUntilTheContextEnds(t *testing.T) {
	t.Parallel()
	d := newFake(t, batch(func(string, int) bool { return true })).driver(t)
	ctx, cancel := context.WithCancel(t.Context())
	d.pause = func(ctx context.Context, n int) error {
		cancel()
		return backoff(ctx, n)
	}
	_, err := kv.New(d).PutMany(ctx, items(names(2)))
	wantError(t, "PutMany", err, errors.Join(kv.ErrThrottled, context.Canceled), false, `"key-0"`)
}

// The rule: a failed write that an attempt may have carried out is indeterminate, even if a later
// attempt reports it as unprocessed.
func TestFateOfBatches(t *testing.T) {
	t.Parallel()
	never := batch(func(key string, _ int) bool { return key == "key-1" })
	always := batch(func(string, int) bool { return false })
	throttled := refuse(400, "ProvisionedThroughputExceededException", "slow down")
	denied := refuse(400, "AccessDeniedException", "no")
	for _, test := range []struct {
		name          string
		answers       []answer
		failed        int
		kind          error
		indeterminate bool
	}{
		{"lost response, then done", []answer{cut, always}, 0, nil, false},
		{"throttled, then done", []answer{throttled, always}, 0, nil, false},
		{"lost response, then one is never processed", []answer{cut, never}, 1, kv.ErrThrottled, true},
		{"throttled, then one is never processed", []answer{throttled, never}, 1, kv.ErrThrottled, false},
		{"one is unprocessed, then a response is lost, then it is denied", []answer{never, cut, denied}, 1, kv.ErrPermission, true},
		{"one is unprocessed, then denied", []answer{never, denied}, 1, kv.ErrPermission, false},
		{"lost responses", []answer{cut}, 3, kv.ErrUnavailable, true},
		{"denied", []answer{denied}, 3, kv.ErrPermission, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := newFake(t, test.answers...).store(t).PutMany(t.Context(), items(names(3)))
			if test.failed == 0 {
				if err != nil {
					t.Errorf("PutMany: %v", err)
				}
				return
			}
			wantError(t, "PutMany", err, test.kind, test.indeterminate)
			if failed, ok := errors.AsType[*kv.BatchError](err); !ok || len(failed.Failed) != test.failed {
				t.Errorf("PutMany: %v; want a BatchError of %d keys", err, test.failed)
			}
		})
	}
}

// The rule: a chunk that fails does not affect the other chunks.
func TestOneChunkFails(t *testing.T) {
	t.Parallel()
	good := batch(func(string, int) bool { return false })
	poisoned := func(w http.ResponseWriter, r *http.Request, c call) {
		body, _ := json.Marshal(c.body)
		if strings.Contains(string(body), `"key-0"`) {
			refuse(400, "AccessDeniedException", "no")(w, r, c)
			return
		}
		good(w, r, c)
	}
	store := newFake(t, poisoned).store(t)
	keys := names(250)
	got, err := store.GetMany(t.Context(), keys)
	if failed, ok := errors.AsType[*kv.BatchError](err); !ok || len(got) != 150 || len(failed.Failed) != 100 {
		t.Errorf("GetMany of 250: %d entries, %v; want 150, and 100 failed", len(got), err)
	}
	_, err = store.PutMany(t.Context(), items(keys))
	if failed, ok := errors.AsType[*kv.BatchError](err); !ok || len(failed.Failed) != 25 {
		t.Errorf("PutMany of 250: %v; want 25 failed", err)
	}
}

func TestForeignItemsInBatches(t *testing.T) {
	t.Parallel()
	store := newFake(t, ok(fmt.Sprintf(`{"Responses":{"table":[%s,{"pk":{"S":"1"},"sk":{"S":"key-1"}}]},"UnprocessedKeys":{}}`, itemJSON("key-0", "value", token, 0)))).store(t)
	got, err := store.GetMany(t.Context(), names(2))
	if len(got) != 1 || string(got["key-0"].Value) != "value" {
		t.Errorf("GetMany returned %v; want the entry of key-0", got)
	}
	wantError(t, "GetMany", err, kv.ErrIncompatible, false, `"key-1"`)
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for n, most := range map[int]time.Duration{1: 50 * time.Millisecond, 2: 100 * time.Millisecond, 7: 3200 * time.Millisecond, 8: 5 * time.Second, 1000: 5 * time.Second} {
			var longest time.Duration
			for range 200 {
				start := time.Now()
				if err := backoff(t.Context(), n); err != nil {
					t.Fatal(err)
				}
				longest = max(longest, time.Since(start))
			}
			if longest >= most || longest < most*3/4 {
				t.Errorf("rule: pause %d is random, up to %v; the longest of 200 was %v", n, most, longest)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
		defer cancel()
		if err := backoff(ctx, 1000); err != context.DeadlineExceeded {
			t.Errorf("rule: a pause ends with the context; got %v", err)
		}
	})
}

// The rule: a batch of writes is limited in bytes as well as in number.
func TestBatchesOfLargeValues(t *testing.T) {
	t.Parallel()
	f := newFake(t, batch(func(string, int) bool { return false }))
	large := items(names(30))
	for i := range large {
		large[i].Value = make([]byte, kv.MaxLargeValueLen)
	}
	small := items([]string{"s1", "s2", "s3"})
	if _, err := f.store(t).With(kv.MaxValue(kv.MaxLargeValueLen)).PutMany(t.Context(), slices.Concat(large, small)); err != nil {
		t.Fatal(err)
	}
	sum := 0
	for i := range f.ops() {
		n := writes(f.call(i))
		if sum += n; n*kv.MaxLargeValueLen > 4<<20+3*kv.MaxLargeValueLen {
			t.Errorf("rule: a batch has at most 4 MiB of values; one has %d values of 384 KiB", n)
		}
	}
	if sum != len(large)+len(small) || len(f.ops()) != 3 {
		t.Errorf("rule: each write is in one batch, and batches are full; %d writes are in %d batches, want %d in 3", sum, len(f.ops()), len(large)+len(small))
	}
}

// The rule: keys that are unprocessed because the response is full are requested again
// without a pause.
func TestFullAnswersTakeNoPause(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		value, answered int // length of the values, and number of values in the first response
		pauses          int
	}{
		{kv.MaxLargeValueLen, 40, 0},
		{kv.MaxLargeValueLen, 20, 1},
		{1000, 40, 1},
	} {
		value := strings.Repeat("v", test.value)
		var requests atomic.Int64
		f := newFake(t, func(w http.ResponseWriter, r *http.Request, c call) {
			asked := c.body["RequestItems"].(map[string]any)["table"].(map[string]any)["Keys"].([]any)
			most := len(asked)
			if requests.Add(1) == 1 {
				most = test.answered
			}
			var found []json.RawMessage
			for _, key := range asked[:most] {
				found = append(found, json.RawMessage(itemJSON(key.(map[string]any)["sk"].(map[string]any)["S"].(string), value, token, 0)))
			}
			left := make(map[string]any)
			if most < len(asked) {
				left["table"] = map[string]any{"Keys": asked[most:]}
			}
			body, _ := json.Marshal(map[string]any{"Responses": map[string]any{"table": found}, "UnprocessedKeys": left})
			ok(string(body))(w, r, c)
		})
		d, pauses := f.driver(t), 0
		d.pause = func(context.Context, int) error { pauses++; return nil }
		entries, err := kv.New(d).GetMany(t.Context(), names(45))
		if err != nil || len(entries) != 45 || pauses != test.pauses {
			t.Errorf("rule: only throttling causes a pause; after %d values of %d bytes there are %d pauses, and %d entries, %v; want %d", test.answered, test.value, pauses, len(entries), err, test.pauses)
		}
	}
}
