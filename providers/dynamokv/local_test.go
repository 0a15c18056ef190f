package dynamokv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/skykv/skykv/internal/testing/emulator"
	"github.com/skykv/skykv/kv"
)

// provisioned is a client for DynamoDB Local and a new table there.
func provisioned(t *testing.T) (*dynamodb.Client, string) {
	client := local(t)
	table := newTable(t, client)
	if err := EnsureTable(t.Context(), client, table, nil); err != nil {
		t.Fatal(err)
	}
	return client, table
}

// What skykv did not write is reported, and left as it is by all writes but
// those of batches, which take no conditions.
func TestForeignItemsInATable(t *testing.T) {
	t.Parallel()
	client, table := provisioned(t)
	store, err := New(t.Context(), client, table, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	kind := map[string]item{
		"a": {"note": text("payload")},
		"b": {"v": &types.AttributeValueMemberB{Value: []byte("payload")}},
		"c": {"v": text("payload"), "t": text(token)},
		"d": {"v": &types.AttributeValueMemberB{Value: []byte("payload")}, "t": text(token), "x": text("1")},
		"e": {"v": text("payload"), "t": text(token), "x": number(time.Now().Add(time.Hour).UnixMilli())},
		// Past expiries do not make them skykv's, to be taken over.
		"f": {"x": number(1)},
		"g": {"x": number(1), "v": text("payload"), "t": text(token)},
	}
	for key, attrs := range kind {
		attrs[attrShard], attrs[attrKey] = text(fmt.Sprint(kv.Shard(key, DefaultShards))), text(key)
		if _, err := client.PutItem(ctx, &dynamodb.PutItemInput{TableName: &table, Item: attrs}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := store.Put(ctx, "h", []byte("own")); err != nil {
		t.Fatal(err)
	}
	for key, attrs := range kind {
		for name, do := range map[string]func() error{
			"Get":           func() error { _, err := store.Get(ctx, key); return err },
			"GetMany":       func() error { _, err := store.GetMany(ctx, []string{key, "h"}); return err },
			"Put":           func() error { _, err := store.Put(ctx, key, nil); return err },
			"Put if absent": func() error { _, err := store.Put(ctx, key, nil, kv.IfNotExists()); return err },
			"Delete":        func() error { return store.Delete(ctx, key) },
		} {
			wantError(t, name+" "+key, do(), kv.ErrIncompatible, false, fmt.Sprintf("%q", key), "skykv did not write")
		}
		got, err := client.GetItem(ctx, &dynamodb.GetItemInput{TableName: &table, Key: item{"pk": attrs["pk"], "sk": attrs["sk"]}})
		if err != nil || !reflect.DeepEqual(got.Item, attrs) {
			t.Errorf("rule: foreign items are left as they are; %q is now %v, %v", key, show(got.Item), err)
		}
	}
	seen := make(map[string]error)
	for entry, err := range store.Scan(ctx, "") {
		seen[entry.Key] = err
	}
	for _, key := range []string{"a", "b", "c", "d", "e"} {
		if err := seen[key]; !errors.Is(err, kv.ErrIncompatible) {
			t.Errorf("rule: a scan reports foreign items; for %q it said %v", key, err)
		}
	}
	if err, ok := seen["h"]; !ok || err != nil {
		t.Errorf("rule: a scan goes on behind foreign items; for the entry behind them it said %v, %v", ok, err)
	}
}

// cutter forwards requests to DynamoDB Local. Of each write's attempts, it cuts
// off the first answer, after the service has acted.
func cutter(endpoint string) answer {
	return func(w http.ResponseWriter, r *http.Request, c call) {
		req, err := http.NewRequestWithContext(r.Context(), r.Method, endpoint+"/", r.Body)
		if err != nil {
			panic(err)
		}
		req.Header = r.Header.Clone()
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			panic(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if body, _ := io.ReadAll(resp.Body); c.op == "GetItem" || c.attempt > 1 {
			w.Header().Set("Content-Type", "application/x-amz-json-1.0")
			w.WriteHeader(resp.StatusCode)
			_, _ = w.Write(body)
			return
		}
		cut(w, r, c)
	}
}

// The service acts and its answer is lost: conditional puts recognise what they
// did, by their tokens, and conditional deletes say that they cannot know.
func TestLostResponses(t *testing.T) {
	t.Parallel()
	direct, table := provisioned(t)
	f := newFake(t, cutter(emulator.DynamoDB(t)))
	lossy := dynamodb.New(direct.Options(), retrying(nil), func(o *dynamodb.Options) { o.BaseEndpoint = &f.url })
	ctx := t.Context()
	now := time.Now().Truncate(time.Millisecond)
	clock := kv.Clock(func() time.Time { return now })
	open := func(client *dynamodb.Client) *kv.Store {
		store, err := New(ctx, client, table, nil)
		if err != nil {
			t.Fatal(err)
		}
		return store.With(clock)
	}
	good, store := open(direct), open(lossy)
	put := func(key string, opts ...kv.PutOption) kv.Version {
		v, err := good.Put(ctx, key, []byte("old"), opts...)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	wantStored := func(what, key string, v kv.Version, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("rule: %s that landed is a success; got %v", what, err)
			return
		}
		if e, err := good.Get(ctx, key); err != nil || string(e.Value) != "new" || e.Version != v {
			t.Errorf("rule: %s is stored with the version that it returned; got %q, %v", what, e.Value, err)
		}
	}

	v, err := store.Put(ctx, "put", []byte("new"))
	wantStored("a Put", "put", v, err)
	v, err = store.Put(ctx, "absent", []byte("new"), kv.IfNotExists())
	wantStored("a Put if absent", "absent", v, err)
	put("expired", kv.TTL(time.Second))
	now = now.Add(time.Second)
	v, err = store.Put(ctx, "expired", []byte("new"), kv.IfNotExists(), kv.TTL(time.Hour))
	wantStored("a takeover", "expired", v, err)
	v, err = store.Put(ctx, "version", []byte("new"), kv.IfVersion(put("version")))
	wantStored("a Put if version", "version", v, err)

	// Conditions that fail both times: perhaps the first time they did not.
	put("taken")
	_, err = store.Put(ctx, "taken", []byte("new"), kv.IfNotExists())
	wantError(t, "a Put if absent over an entry, after a lost response", err, nil, true, `"taken"`)
	if err := store.Delete(ctx, "deleted", kv.IfVersion(put("deleted"))); true {
		wantError(t, "a Delete if version, after a lost response", err, nil, true, `"deleted"`)
	}
	if _, err := good.Get(ctx, "deleted"); !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("the Delete whose response was lost did not land: %v", err)
	}
	if err := store.Delete(ctx, "put"); err != nil {
		t.Errorf("rule: a Delete may be applied again; got %v", err)
	}
	if err := store.PutMany(ctx, items([]string{"many-1", "many-2"})); err != nil {
		t.Errorf("rule: a batch may be applied again; got %v", err)
	}
}

// The service deletes what expired more than an hour ago by its own clock, and
// nothing sooner. DynamoDB Local does so within seconds.
func TestNativeTTL(t *testing.T) {
	t.Parallel()
	client, table := provisioned(t)
	store, err := New(t.Context(), client, table, nil)
	if err != nil {
		t.Fatal(err)
	}
	for key, age := range map[string]time.Duration{"lately": 59 * time.Minute, "long-ago": 61 * time.Minute} {
		past := store.With(kv.Clock(func() time.Time { return time.Now().Add(-age) }))
		if _, err := past.Put(t.Context(), key, nil, kv.TTL(time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		out, err := client.Scan(ctx, &dynamodb.ScanInput{TableName: &table, ConsistentRead: yes})
		if err != nil {
			t.Fatalf("the service has not deleted the entry that expired 61 minutes ago: %v", err)
		}
		left := make(map[string]bool)
		for _, it := range out.Items {
			left[itemKey(it)] = true
		}
		if !left["lately"] {
			t.Fatal("rule: the service deletes nothing within an hour of its expiry")
		}
		if !left["long-ago"] {
			return
		}
		_ = backoff(ctx, 4)
	}
}
