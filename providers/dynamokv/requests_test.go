package dynamokv

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/skykv/skykv/kv"
)

// The rule: every operation makes a fixed number of requests.
func TestRequests(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	version := func(t *testing.T, s *kv.Store) kv.Version {
		e, err := s.Get(ctx, "key")
		if err != nil {
			t.Fatal(err)
		}
		return e.Version
	}
	item := ok(`{"Item":` + itemJSON("key", "value", token, 0) + `}`)
	done := ok("{}")
	for _, test := range []struct {
		name    string
		do      func(t *testing.T, s *kv.Store) error
		answers []answer
		ops     map[string]int
	}{
		{"Get", func(_ *testing.T, s *kv.Store) error {
			_, err := s.Get(ctx, "key")
			return err
		}, []answer{item}, map[string]int{"GetItem": 1}},
		{"Exists", func(_ *testing.T, s *kv.Store) error {
			_, err := s.Exists(ctx, "key")
			return err
		}, []answer{item}, map[string]int{"GetItem": 1}},
		{"Exists of an absent key", func(_ *testing.T, s *kv.Store) error {
			_, err := s.Exists(ctx, "key")
			return err
		}, []answer{done}, map[string]int{"GetItem": 1}},
		{"Put", func(_ *testing.T, s *kv.Store) error {
			_, err := s.Put(ctx, "key", nil)
			return err
		}, []answer{done}, map[string]int{"PutItem": 1}},
		{"Put if absent", func(_ *testing.T, s *kv.Store) error {
			_, err := s.Put(ctx, "key", nil, kv.IfNotExists())
			return err
		}, []answer{done}, map[string]int{"PutItem": 1}},
		{"Put if absent of an existing key", func(_ *testing.T, s *kv.Store) error {
			if _, err := s.Put(ctx, "key", nil, kv.IfNotExists()); err == nil {
				return fmt.Errorf("no error")
			}
			return nil
		}, []answer{conditionFailed(itemJSON("key", "theirs", token, 0))}, map[string]int{"PutItem": 1}},
		{"Put if version", func(t *testing.T, s *kv.Store) error {
			_, err := s.Put(ctx, "key", nil, kv.IfVersion(version(t, s)))
			return err
		}, []answer{item, done}, map[string]int{"GetItem": 1, "PutItem": 1}},
		{"Delete", func(_ *testing.T, s *kv.Store) error { return s.Delete(ctx, "key") }, []answer{done}, map[string]int{"DeleteItem": 1}},
		{"Delete if version", func(t *testing.T, s *kv.Store) error {
			return s.Delete(ctx, "key", kv.IfVersion(version(t, s)))
		}, []answer{item, done}, map[string]int{"GetItem": 1, "DeleteItem": 1}},
		{"Scan of a small prefix", func(_ *testing.T, s *kv.Store) error {
			for range s.Scan(ctx, "key") {
				return fmt.Errorf("an entry of an empty page")
			}
			return nil
		}, []answer{page("")}, map[string]int{"Query": DefaultShards}},
		{"Scan of a group", func(_ *testing.T, s *kv.Store) error {
			for range s.Scan(ctx, "group::") {
				return fmt.Errorf("an entry of an empty page")
			}
			return nil
		}, []answer{page("")}, map[string]int{"Query": 1}},
		{"Count of a group", func(_ *testing.T, s *kv.Store) error {
			n, err := s.Count(ctx, "group::")
			if err == nil && n != 1001 {
				return fmt.Errorf("the count is %d; want 998 that no page has, and 3 live ones on the page", n)
			}
			return err
		}, []answer{
			ok(`{"Items":[],"Count":0,"ScannedCount":900,"LastEvaluatedKey":{"pk":{"S":"1"},"sk":{"S":"group::7"}}}`),
			ok(`{"Count":4,"Items":[` + strings.Join([]string{itemJSON("group::8", "", token, 1), itemJSON("group::9", "", token, 0), itemJSON("group::a", "", token, 0), itemJSON("group::b", "", token, 0)}, ",") + `],"ScannedCount":102}`),
		}, map[string]int{"Query": 2}},
		{"Count of a group with an item of another program", func(_ *testing.T, s *kv.Store) error {
			n, err := s.Count(ctx, "group::")
			if batch, ok := errors.AsType[*kv.BatchError](err); n != 1 || !ok || !errors.Is(batch.Failed["group::8"], kv.ErrIncompatible) {
				return fmt.Errorf("the count is %d, %v; want 1, and the key of the other item", n, err)
			}
			return nil
		}, []answer{
			ok(`{"Count":1,"Items":[{"pk":{"S":"1"},"sk":{"S":"group::8"}}],"ScannedCount":2}`),
			page("", `{"pk":{"S":"1"},"sk":{"S":"group::8"}}`, itemJSON("group::9", "", token, 0)),
		}, map[string]int{"Query": 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, test.answers...)
			if err := test.do(t, f.store(t)); err != nil {
				t.Error(err)
			}
			wantRequests(t, f, test.ops)
		})
	}
	for _, n := range []int{0, 1, 25, 26, 100, 101, 1000} {
		t.Run(fmt.Sprintf("batch of %d", n), func(t *testing.T) {
			t.Parallel()
			f := newFake(t, batch(func(string, int) bool { return false }))
			store := f.store(t)
			got, err := store.GetMany(ctx, names(n))
			if err != nil || len(got) != n {
				t.Errorf("GetMany of %d: %d entries, %v", n, len(got), err)
			}
			if _, err := store.PutMany(ctx, items(names(n))); err != nil {
				t.Error(err)
			}
			if err := store.DeleteMany(ctx, names(n)); err != nil {
				t.Error(err)
			}
			want := make(map[string]int)
			if n > 0 {
				want["BatchGetItem"], want["BatchWriteItem"] = (n+99)/100, 2*((n+24)/25)
			}
			wantRequests(t, f, want)
			// No request is larger than the service accepts, and none has a key twice.
			f.mu.Lock()
			defer f.mu.Unlock()
			seen := make(map[string]int)
			for _, c := range f.calls {
				for _, asked := range c.body["RequestItems"].(map[string]any) {
					if list, ok := asked.([]any); ok {
						if len(list) > 25 {
							t.Errorf("a BatchWriteItem of %d", len(list))
						}
						for _, write := range list {
							seen[written(write)]++
						}
						continue
					}
					request := asked.(map[string]any)
					if request["ConsistentRead"] != true {
						t.Error("rule: batches read consistently")
					}
					if keys := request["Keys"].([]any); len(keys) > 100 {
						t.Errorf("a BatchGetItem of %d", len(keys))
					}
				}
			}
			for _, key := range names(n) {
				if seen[key] != 2 {
					t.Errorf("%q was written %d times; want once by PutMany and once by DeleteMany", key, seen[key])
				}
			}
		})
	}
}

func wantRequests(t *testing.T, f *fake, want map[string]int) {
	t.Helper()
	got := make(map[string]int)
	for _, op := range f.ops() {
		got[op]++
	}
	if !maps.Equal(got, want) {
		t.Errorf("requests: %v; want %v", got, want)
	}
}

// The rule: Get transfers the whole item, and Exists everything except the value. Both are
// strongly consistent.
func TestReadRequests(t *testing.T) {
	t.Parallel()
	f := newFake(t, ok("{}"))
	store := f.store(t)
	_, _ = store.Get(t.Context(), "key")
	_, _ = store.Exists(t.Context(), "key")
	for i, projection := range []any{nil, "sk, x, t, p"} {
		body := f.call(i).body
		if body["ConsistentRead"] != true || body["ProjectionExpression"] != projection {
			t.Errorf("%s: consistent %v, projection %v; want true, %v", []string{"Get", "Exists"}[i], body["ConsistentRead"], body["ProjectionExpression"], projection)
		}
		if attrs := slices.Sorted(maps.Keys(body["Key"].(map[string]any))); !slices.Equal(attrs, []string{"pk", "sk"}) {
			t.Errorf("the primary key has %v", attrs)
		}
	}
}

// The rule: the reads of a view with kv.Stale are not strongly consistent, which halves
// their price.
func TestStaleReads(t *testing.T) {
	t.Parallel()
	f := newFake(t,
		ok(`{"Item":`+itemJSON("key", "value", token, 0)+`}`),
		ok(`{"Responses":{"table":[`+itemJSON("key", "value", token, 0)+`]},"UnprocessedKeys":{}}`),
		ok(`{"Items":[]}`))
	store := f.store(t).With(kv.Stale())
	if _, err := store.Get(t.Context(), "key"); err != nil {
		t.Error(err)
	}
	if _, err := store.GetMany(t.Context(), []string{"key"}); err != nil {
		t.Error(err)
	}
	for _, err := range store.Scan(t.Context(), "group::") {
		t.Error(err)
	}
	f.wantOps(t, "GetItem", "BatchGetItem", "Query")
	for n := range f.ops() {
		body, _ := json.Marshal(f.call(n).body)
		if strings.Contains(string(body), `"ConsistentRead":true`) {
			t.Errorf("rule: a stale read is not consistent; %s sends %s", f.call(n).op, body)
		}
	}
}
