package dynamokv

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/skykv/skykv/kv"
)

// provisioned returns a client for DynamoDB Local and a new table there.
func provisioned(t *testing.T) (*dynamodb.Client, string) {
	client := local(t)
	table := newTable(t, client)
	if err := EnsureWith(t.Context(), client, table, nil); err != nil {
		t.Fatal(err)
	}
	return client, table
}

// The rule: a call for an item that skykv did not write returns ErrIncompatible and does not
// change the item. The only exception is an unconditional write in a batch, because
// BatchWriteItem has no conditions.
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
		// An expiry in the past does not make an item skykv's.
		"f": {"x": number(1)},
		"g": {"x": number(1), "v": text("payload"), "t": text(token)},
		"i": {"v": &types.AttributeValueMemberB{Value: []byte("payload")}, "t": text(token), "p": number(1)},
		"j": {"v": &types.AttributeValueMemberB{Value: []byte("payload")}, "t": text(token), "p": number(1), "x": number(1)},
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
			t.Errorf("rule: foreign items do not change; %q is now %v, %v", key, show(got.Item), err)
		}
	}
	seen := make(map[string]error)
	for entry, err := range store.Scan(ctx, "") {
		seen[entry.Key] = err
	}
	for _, key := range []string{"a", "b", "c", "d", "e", "i"} {
		if err := seen[key]; !errors.Is(err, kv.ErrIncompatible) {
			t.Errorf("rule: a scan reports foreign items; for %q it returned %v", key, err)
		}
	}
	if err, ok := seen["h"]; !ok || err != nil {
		t.Errorf("rule: a scan goes on after foreign items; for the entry after them it returned %v, %v", ok, err)
	}
}

// The rule: if another program changes the type of an attribute, skykv's item counts as an
// item of that program, although its token is still the token of a known version.
func TestDamagedItems(t *testing.T) {
	t.Parallel()
	client, table := provisioned(t)
	store, err := New(t.Context(), client, table, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for attr, value := range map[string]types.AttributeValue{"v": text("payload"), "x": text("1"), "p": number(1)} {
		key := "damaged-" + attr
		version, err := store.Put(ctx, key, []byte("old"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
			TableName: &table, Key: newLayout(DefaultShards).primaryKey(key),
			UpdateExpression:          aws.String("SET #a = :a"),
			ExpressionAttributeNames:  map[string]string{"#a": attr},
			ExpressionAttributeValues: item{":a": value},
		}); err != nil {
			t.Fatal(err)
		}
		for name, do := range map[string]func() error{
			"Put":            func() error { _, err := store.Put(ctx, key, nil); return err },
			"Put if absent":  func() error { _, err := store.Put(ctx, key, nil, kv.IfNotExists()); return err },
			"Put if version": func() error { _, err := store.Put(ctx, key, nil, kv.IfVersion(version)); return err },
			"Delete":         func() error { return store.Delete(ctx, key, kv.IfVersion(version)) },
		} {
			wantError(t, name+" "+key, do(), kv.ErrIncompatible, false, fmt.Sprintf("%q", key), "skykv did not write", fmt.Sprintf("%q", attr))
		}
	}
}

// The rule: predecessors are stored with the record, and all reads return them.
func TestPredecessorsAreKept(t *testing.T) {
	t.Parallel()
	client, table := provisioned(t)
	d, err := newDriver("open", client, table, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for _, predecessors := range []string{"", "AAAAAAAAAAAAAAAAAAAAAA:1", strings.Repeat("~", kv.MaxPredecessorsLen)} {
		w := put("key", kv.Condition{})
		w.Predecessors = predecessors
		if out, err := d.Write(ctx, w); err != nil || !out.Done {
			t.Fatal(out, err)
		}
		for _, withValue := range []bool{true, false} {
			found, err := d.Get(ctx, kv.GetRequest{Key: "key", WithValue: withValue})
			got := []string{found.Predecessors}
			for found, err := range d.GetMany(ctx, kv.GetManyRequest{Keys: []string{"key"}, WithValue: withValue}) {
				if err != nil {
					t.Error(err)
				}
				got = append(got, found.Predecessors)
			}
			for rec, err := range d.Scan(ctx, kv.ScanRequest{Shard: d.layout.shard("key"), From: "k", To: "l", Limit: 1, WithValue: withValue}) {
				if err != nil {
					t.Error(err)
				}
				got = append(got, rec.Predecessors)
			}
			if want := []string{predecessors, predecessors, predecessors}; err != nil || !slices.Equal(got, want) {
				t.Errorf("rule: predecessors are stored, and returned with and without the value; got %q, %v, want %q", got, err, predecessors)
			}
		}
		failed, err := d.Write(ctx, put("key", kv.Condition{Kind: kv.CondAbsent}))
		if err != nil || failed.Done || failed.Found.Predecessors != predecessors {
			t.Errorf("rule: a failed condition reports the predecessors of the record that it found; got %+v, %v, want %q", failed, err, predecessors)
		}
	}
}

// The rule: the conditions of a batch are as exact as those of single writes.
func TestConditionsInBatches(t *testing.T) {
	t.Parallel()
	client, table := provisioned(t)
	d, err := newDriver("open", client, table, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if _, err := d.Write(ctx, put("taken", kv.Condition{})); err != nil {
		t.Fatal(err)
	}
	expired := put("expired", kv.Condition{})
	expired.Expires = expired.Now
	if _, err := d.Write(ctx, expired); err != nil {
		t.Fatal(err)
	}
	if _, err := client.PutItem(ctx, &dynamodb.PutItemInput{TableName: &table, Item: d.layout.primaryKey("foreign")}); err != nil {
		t.Fatal(err)
	}
	// There are several keys for each result, so that the test notices results in the
	// wrong order.
	req := kv.WriteManyRequest{Now: put("", kv.Condition{}).Now}
	var want []string
	add := func(kind kv.WriteKind, key string, cond kv.Condition, outcome string) {
		rec := kv.Record{Key: key, Value: []byte("new"), Token: fmt.Sprintf("batch-token-%010d", len(want))}
		if kind == kv.KindDelete {
			rec = kv.Record{Key: key, Token: rec.Token}
		}
		req.Writes = append(req.Writes, kv.Write{Kind: kind, Record: rec, Condition: cond})
		want = append(want, outcome)
	}
	absent := kv.Condition{Kind: kv.CondAbsent}
	version := func(v string) kv.Condition { return kv.Condition{Kind: kv.CondVersion, Version: v} }
	for i := range 30 {
		add(kv.KindPut, fmt.Sprintf("plain-%d", i), kv.Condition{}, "done")
		add(kv.KindPut, fmt.Sprintf("absent-%d", i), absent, "done")
		add(kv.KindPut, fmt.Sprintf("missing-%d", i), version(token), "nothing there")
		add(kv.KindDelete, fmt.Sprintf("deleted-%d", i), kv.Condition{}, "done")
	}
	add(kv.KindPut, "taken", absent, "found "+token)
	add(kv.KindPut, "expired", absent, "done")
	add(kv.KindPut, "foreign", absent, "incompatible")
	add(kv.KindTouch, "touched", version(token), "nothing there")
	add(kv.KindCheck, "checked", version(token), "unsupported")
	outcomes := func(results []kv.WriteResult) (got []string) {
		for i, r := range results {
			switch {
			case errors.Is(r.Err, kv.ErrIncompatible):
				got = append(got, "incompatible")
			case errors.Is(r.Err, kv.ErrUnsupported):
				got = append(got, "unsupported")
			case r.Err != nil:
				got = append(got, r.Err.Error())
			case r.Exists:
				got = append(got, "found "+r.Found.Version)
			case !r.Done:
				got = append(got, "nothing there")
			default:
				got = append(got, "done")
				found, err := d.Get(ctx, kv.GetRequest{Key: req.Writes[i].Key, WithValue: true})
				if err != nil || found.Exists != (req.Writes[i].Kind == kv.KindPut) || found.Version != r.Version || string(found.Value) != string(req.Writes[i].Value) {
					t.Errorf("rule: a batch reports the version of the stored record; %q has %+v, %v, and the batch reported %q", req.Writes[i].Key, found, err, r.Version)
				}
			}
		}
		return got
	}
	if got := outcomes(d.WriteMany(ctx, req)); !slices.Equal(got, want) {
		t.Errorf("rule: each result of a batch is the result of a single write, in the order of the writes; got\n%q, want\n%q", got, want)
	}

	// The deletions name the stored versions of taken and absent-0, and a wrong version of
	// absent-1.
	req.Writes, want = nil, nil
	add(kv.KindDelete, "taken", version(token), "done")
	add(kv.KindDelete, "absent-0", version(fmt.Sprintf("batch-token-%010d", 1)), "done")
	add(kv.KindDelete, "absent-1", version(token), fmt.Sprintf("found batch-token-%010d", 5))
	if got := outcomes(d.WriteMany(ctx, req)); !slices.Equal(got, want) {
		t.Errorf("rule: each result of a batch is the result of a single write, in the order of the writes; got\n%q, want\n%q", got, want)
	}
}

// The rule: the service deletes items that expired more than an hour ago by its own
// clock, and no others. DynamoDB Local deletes them within seconds.
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
			left[newLayout(1).keyOf(it)] = true
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
