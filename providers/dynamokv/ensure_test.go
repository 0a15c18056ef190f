package dynamokv

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/skykv/skykv/kv"
)

// described responds to DescribeTable.
func described(status, hash, hashType, sort, sortType string) answer {
	return ok(fmt.Sprintf(`{"Table":{"TableStatus":%q,
		"KeySchema":[{"AttributeName":%[2]q,"KeyType":"HASH"},{"AttributeName":%[4]q,"KeyType":"RANGE"}],
		"AttributeDefinitions":[{"AttributeName":%[4]q,"AttributeType":%[5]q},{"AttributeName":%[2]q,"AttributeType":%[3]q},{"AttributeName":"index","AttributeType":"N"}]}}`,
		status, hash, hashType, sort, sortType))
}

func ttl(status, attr string) answer {
	return ok(fmt.Sprintf(`{"TimeToLiveDescription":{"TimeToLiveStatus":%q,"AttributeName":%q}}`, status, attr))
}

const ttlSwitched = `{"TimeToLiveSpecification":{"AttributeName":"ttl","Enabled":true}}`

func TestEnsureWithSteps(t *testing.T) {
	t.Parallel()
	const (
		describe, create, ttlOf, setTTL = "DescribeTable", "CreateTable", "DescribeTimeToLive", "UpdateTimeToLive"
		get, put, scan                  = "GetItem", "PutItem", "Scan"
	)
	active := described("ACTIVE", "pk", "S", "sk", "S")
	creating := described("CREATING", "pk", "S", "sk", "S")
	missing := refuse(400, "ResourceNotFoundException", "Requested resource not found")
	on, off := ttl("ENABLED", "ttl"), ok(`{"TimeToLiveDescription":{"TimeToLiveStatus":"DISABLED"}}`)
	noLayout, layout, done := ok("{}"), ok(`{"Item":`+layout16+`}`), ok("{}")
	created, empty, items, switched := ok(`{"TableDescription":{"TableStatus":"CREATING"}}`), noItems, ok(`{"Items":[{"pk":{"S":"a"}}],"Count":1}`), ok(ttlSwitched)
	denied := refuse(400, "AccessDeniedException", "not authorized")
	inUse := refuse(400, "ResourceInUseException", "in use")
	for _, test := range []struct {
		name    string
		answers []answer
		ops     []string
		kind    error
		parts   []string
	}{
		{"new", []answer{missing, created, missing, creating, creating, active, off, noLayout, switched, done},
			[]string{describe, create, describe, describe, describe, describe, ttlOf, get, setTTL, put}, nil, nil},
		{"complete", []answer{active, on, layout}, []string{describe, ttlOf, get}, nil, nil},
		{"being changed", []answer{described("UPDATING", "pk", "S", "sk", "S"), ttl("ENABLING", "ttl"), layout}, []string{describe, ttlOf, get}, nil, nil},
		{"without TTL", []answer{active, off, layout, switched}, []string{describe, ttlOf, get, setTTL}, nil, nil},
		{"empty, created by another tool", []answer{active, on, noLayout, empty, done}, []string{describe, ttlOf, get, scan, put}, nil, nil},
		{"first used at the same time", []answer{active, on, noLayout, items, layout}, []string{describe, ttlOf, get, scan, get}, nil, nil},
		{"created by another program at the same time", []answer{missing, inUse, creating, active, on, layout},
			[]string{describe, create, describe, describe, ttlOf, get}, nil, nil},
		{"being created by another program, and not visible yet", []answer{missing, inUse, missing, inUse, missing, inUse, active, on, layout},
			[]string{describe, create, describe, create, describe, create, describe, ttlOf, get}, nil, nil},
		{"TTL switched on by another program at the same time", []answer{active, off, layout, refuse(400, "ValidationException", "TimeToLive is already enabled"), on},
			[]string{describe, ttlOf, get, setTTL, ttlOf}, nil, nil},
		{"busy with another change", []answer{active, off, layout, inUse, off, switched},
			[]string{describe, ttlOf, get, setTTL, ttlOf, setTTL}, nil, nil},

		{"other hash key", []answer{described("ACTIVE", "id", "S", "sk", "S")}, []string{describe}, kv.ErrIncompatible, []string{`"table"`, "HASH id S RANGE sk S", "must be HASH pk S RANGE sk S"}},
		{"other type", []answer{described("ACTIVE", "pk", "S", "sk", "N")}, []string{describe}, kv.ErrIncompatible, []string{"RANGE sk N"}},
		{"other type, still being created", []answer{described("CREATING", "pk", "N", "sk", "S")}, []string{describe}, kv.ErrIncompatible, []string{"HASH pk N"}},
		{"no sort key", []answer{ok(`{"Table":{"TableStatus":"ACTIVE","KeySchema":[{"AttributeName":"pk","KeyType":"HASH"}],"AttributeDefinitions":[{"AttributeName":"pk","AttributeType":"S"}]}}`)},
			[]string{describe}, kv.ErrIncompatible, []string{"is HASH pk S; it must be"}},
		{"TTL on another attribute", []answer{active, ttl("ENABLED", "expires")}, []string{describe, ttlOf}, kv.ErrIncompatible, []string{`"expires"`, `"ttl"`}},
		{"other shards", []answer{active, off, ok(`{"Item":` + layoutJSON(`{"N":"2"}`, `{"N":"4"}`) + `}`)}, []string{describe, ttlOf, get}, kv.ErrIncompatible, []string{"4 shards"}},
		{"another program's", []answer{active, off, noLayout, items, noLayout}, []string{describe, ttlOf, get, scan, get}, kv.ErrIncompatible, []string{"belongs to another program"}},
		{"another program's, after an empty page", []answer{active, off, noLayout, ok(`{"Items":[],"Count":0,"LastEvaluatedKey":{"pk":{"S":"a"},"sk":{"S":"b"}}}`), items, noLayout},
			[]string{describe, ttlOf, get, scan, scan, get}, kv.ErrIncompatible, []string{"belongs to another program"}},
		{"being deleted", []answer{described("DELETING", "pk", "S", "sk", "S")}, []string{describe}, kv.ErrUnavailable, []string{"DELETING"}},
		{"TTL being switched off", []answer{active, ttl("DISABLING", "ttl")}, []string{describe, ttlOf}, kv.ErrUnavailable, []string{"switched off"}},
		{"describing denied", []answer{denied}, []string{describe}, kv.ErrPermission, []string{"not authorized"}},
		{"creating denied", []answer{missing, denied}, []string{describe, create}, kv.ErrPermission, []string{"not authorized"}},
		{"TTL denied", []answer{active, off, layout, denied, off}, []string{describe, ttlOf, get, setTTL, ttlOf}, kv.ErrPermission, []string{"not authorized"}},
		{"TTL not supported", []answer{active, off, layout, refuse(400, "ValidationException", "TimeToLive is not supported"), off}, []string{describe, ttlOf, get, setTTL, ttlOf},
			kv.ErrIncompatible, []string{"the TTL of table", "not supported"}},
		{"TTL changed recently", []answer{active, off, layout, refuse(400, "ValidationException", "Time to live has been modified multiple times within a fixed interval"), off}, []string{describe, ttlOf, get, setTTL, ttlOf},
			kv.ErrUnavailable, []string{"the TTL of table", "one change an hour", "fixed interval"}},
		{"new, and known only to parts of the service", []answer{missing, created, active, missing, off, missing, off, noLayout, missing, missing, off, noLayout, missing, off, off, noLayout, switched, missing, on, noLayout, done},
			[]string{describe, create, describe, ttlOf, ttlOf, get, ttlOf, get, setTTL, ttlOf, ttlOf, get, setTTL, ttlOf, ttlOf, get, setTTL, put, ttlOf, get, put}, nil, nil},
		{"known only to DescribeTable", append([]answer{active}, missing), append([]string{describe}, slices.Repeat([]string{ttlOf}, maxUnknown)...),
			kv.ErrNotProvisioned, []string{`"table"`}},
		{"layout denied", []answer{active, on, noLayout, empty, denied}, []string{describe, ttlOf, get, scan, put}, kv.ErrPermission, []string{"not authorized"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, test.answers...)
			d, pauses := f.driver(t), 0
			d.pause = func(context.Context, int) error { pauses++; return nil }
			err := d.ensure(t.Context())
			if n := strings.Count(strings.Join(f.ops(), " "), describe); pauses < n-1 {
				t.Errorf("rule: EnsureWith pauses before it describes the table again; it made %d requests with %d pauses", n, pauses)
			}
			if test.kind == nil && err != nil {
				t.Errorf("EnsureWith: %v", err)
			} else if test.kind != nil {
				wantError(t, "EnsureWith", opError("ensure", err), test.kind, false, test.parts...)
			}
			f.wantOps(t, test.ops...)
		})
	}
}

func TestEnsureWithRequests(t *testing.T) {
	t.Parallel()
	f := newFake(t, refuse(400, "ResourceNotFoundException", ""), ok(`{"TableDescription":{}}`), described("ACTIVE", "pk", "S", "sk", "S"),
		ttl("DISABLED", ""), ok("{}"), ok(ttlSwitched), ok("{}"))
	if err := f.driver(t).ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	type object = map[string]any
	want := object{
		"TableName": "table", "BillingMode": "PAY_PER_REQUEST",
		"KeySchema":            []any{object{"AttributeName": "pk", "KeyType": "HASH"}, object{"AttributeName": "sk", "KeyType": "RANGE"}},
		"AttributeDefinitions": []any{object{"AttributeName": "pk", "AttributeType": "S"}, object{"AttributeName": "sk", "AttributeType": "S"}},
	}
	if got := f.call(1).body; !reflect.DeepEqual(got, want) {
		t.Errorf("CreateTable: %v; want %v", got, want)
	}
	want = object{"TableName": "table", "TimeToLiveSpecification": object{"AttributeName": "ttl", "Enabled": true}}
	if got := f.call(5).body; !reflect.DeepEqual(got, want) {
		t.Errorf("UpdateTimeToLive: %v; want %v", got, want)
	}
}

func TestEnsureWithWaitsNoLongerThanTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	f := newFake(t, described("CREATING", "pk", "S", "sk", "S"))
	err := EnsureWith(ctx, f.client(), "table", nil)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "dynamodb") {
		t.Errorf("rule: EnsureWith ends with its context; got %v", err)
	}
}

// TestEnsureWith runs on DynamoDB Local.
func TestEnsureWith(t *testing.T) {
	t.Parallel()
	client := local(t)
	ctx := t.Context()

	t.Run("new, by several at once", func(t *testing.T) {
		t.Parallel()
		table := newTable(t, client)
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				if err := EnsureWith(ctx, client, table, &Options{Shards: 4}); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		out, err := client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &table})
		if err != nil {
			t.Fatal(err)
		}
		if billing := out.Table.BillingModeSummary; billing == nil || billing.BillingMode != types.BillingModePayPerRequest {
			t.Errorf("billing: %+v; want on-demand", billing)
		}
		ttl, err := client.DescribeTimeToLive(ctx, &dynamodb.DescribeTimeToLiveInput{TableName: &table})
		if err != nil {
			t.Fatal(err)
		}
		if d := ttl.TimeToLiveDescription; d.TimeToLiveStatus != types.TimeToLiveStatusEnabled || aws.ToString(d.AttributeName) != "ttl" {
			t.Errorf("TTL: %s on %s; want ENABLED on ttl", d.TimeToLiveStatus, aws.ToString(d.AttributeName))
		}
		if _, err := New(ctx, client, table, nil); !errors.Is(err, kv.ErrIncompatible) {
			t.Errorf("New with 16 shards over a table of 4: %v; want ErrIncompatible", err)
		}
		if _, err := New(ctx, client, table, &Options{Shards: 4}); err != nil {
			t.Error(err)
		}
		if err := EnsureWith(ctx, client, table, nil); !errors.Is(err, kv.ErrIncompatible) {
			t.Errorf("EnsureWith with 16 shards over a table of 4: %v; want ErrIncompatible", err)
		}
	})

	// The tables of other programs: EnsureWith and New refuse them, and do not change
	// them.
	for name, schema := range map[string]*dynamodb.CreateTableInput{
		"other hash key": keys("id", "S", "sk", "S"),
		"number as hash": keys("pk", "N", "sk", "S"),
		"no sort key":    keys("pk", "S", "", ""),
		"binary sort":    keys("pk", "S", "sk", "B"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			table := newTable(t, client)
			schema.TableName = &table
			if _, err := client.CreateTable(ctx, schema); err != nil {
				t.Fatal(err)
			}
			wantError(t, "EnsureWith", EnsureWith(ctx, client, table, nil), kv.ErrIncompatible, false, table, "HASH pk S RANGE sk S")
			_, err := New(ctx, client, table, nil)
			wantError(t, "New", err, kv.ErrIncompatible, false, table, "pk and sk, both strings")
			wantUntouched(t, client, table, 0)
		})
	}
	t.Run("items of other programs", func(t *testing.T) {
		t.Parallel()
		table := newTable(t, client)
		schema := keys("pk", "S", "sk", "S")
		schema.TableName = &table
		if _, err := client.CreateTable(ctx, schema); err != nil {
			t.Fatal(err)
		}
		if _, err := client.PutItem(ctx, &dynamodb.PutItemInput{TableName: &table, Item: item{"pk": text("a"), "sk": text("b"), "ttl": number(1)}}); err != nil {
			t.Fatal(err)
		}
		wantError(t, "EnsureWith", EnsureWith(ctx, client, table, nil), kv.ErrIncompatible, false, table, "another program")
		_, err := New(ctx, client, table, nil)
		wantError(t, "New", err, kv.ErrIncompatible, false, table, "another program")
		wantUntouched(t, client, table, 1)
	})
	t.Run("missing", func(t *testing.T) {
		t.Parallel()
		_, err := New(ctx, client, "skykv-test-missing", nil)
		wantError(t, "New", err, kv.ErrNotProvisioned, false, "skykv-test-missing", "Ensure")
	})
}

func keys(hash, hashType, sort, sortType string) *dynamodb.CreateTableInput {
	in := &dynamodb.CreateTableInput{
		BillingMode:          types.BillingModePayPerRequest,
		KeySchema:            []types.KeySchemaElement{{AttributeName: &hash, KeyType: types.KeyTypeHash}},
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: &hash, AttributeType: types.ScalarAttributeType(hashType)}},
	}
	if sort != "" {
		in.KeySchema = append(in.KeySchema, types.KeySchemaElement{AttributeName: &sort, KeyType: types.KeyTypeRange})
		in.AttributeDefinitions = append(in.AttributeDefinitions, types.AttributeDefinition{AttributeName: &sort, AttributeType: types.ScalarAttributeType(sortType)})
	}
	return in
}

// wantUntouched checks that a table has a number of items and no TTL.
func wantUntouched(t *testing.T, client *dynamodb.Client, table string, items int32) {
	t.Helper()
	out, err := client.Scan(t.Context(), &dynamodb.ScanInput{TableName: &table})
	if err != nil || out.Count != items {
		t.Errorf("the table of another program has %d items, %v; want %d", out.Count, err, items)
	}
	ttl, err := client.DescribeTimeToLive(t.Context(), &dynamodb.DescribeTimeToLiveInput{TableName: &table})
	if err != nil || ttl.TimeToLiveDescription.TimeToLiveStatus != types.TimeToLiveStatusDisabled {
		t.Errorf("the table of another program has a TTL: %+v, %v", ttl.TimeToLiveDescription, err)
	}
}
