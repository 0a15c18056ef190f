package dynamokv

import (
	"fmt"
	"strings"
	"testing"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

func layoutJSON(format, shards string) string {
	return fmt.Sprintf(`{"pk":{"S":"layout"},"sk":{"S":"skykv"},"format":%s,"shards":%s}`, format, shards)
}

var (
	layout16  = layoutJSON(`{"N":"2"}`, `{"N":"16"}`)
	alienJSON = strings.TrimSuffix(layout16, "}") + `,"layout":{"S":"alien"}}`
)

func TestNewChecksTheLayout(t *testing.T) {
	t.Parallel()
	found := func(item string) answer { return ok(`{"Item":` + item + `}`) }
	absent := ok(`{}`)
	denied := refuse(400, "AccessDeniedException", "not authorized")
	get, put, scan := "GetItem", "PutItem", "Scan"
	theirs := ok(`{"Items":[{"pk":{"S":"a"}}],"Count":1}`)
	bucket := `{"Items":[{"pk":{"S":"bucket_2"},"sk":{"S":"user:42"},"version":{"S":"` + hexVersion + `"}%s}],"Count":1}`
	platforms, broken := ok(fmt.Sprintf(bucket, "")), ok(fmt.Sprintf(bucket, `,"ttl":{"S":"1"}`))
	const unnamed, skykv, alien = provider.Layout(""), provider.LayoutSkykv, provider.LayoutAlien
	for _, test := range []struct {
		name    string
		layout  provider.Layout
		shards  int
		answers []answer
		ops     []string
		kind    error
		parts   []string
	}{
		{"there", unnamed, 0, []answer{found(layout16)}, []string{get}, nil, nil},
		{"exists, 16 wanted", unnamed, 16, []answer{found(layout16)}, []string{get}, nil, nil},
		{"absent", skykv, 0, []answer{absent, noItems, ok("{}")}, []string{get, scan, put}, nil, nil},
		{"absent, created by another program", skykv, 0, []answer{absent, noItems, conditionFailed(layout16)}, []string{get, scan, put}, nil, nil},
		{"absent, lost response", skykv, 0, []answer{absent, noItems, cut, conditionFailed(layout16)}, []string{get, scan, put, put}, nil, nil},
		{"absent, created differently by another program", skykv, 4, []answer{absent, noItems, conditionFailed(layout16)}, []string{get, scan, put}, kv.ErrIncompatible, []string{"16 shards", "opened with 4"}},
		{"absent, and a response about another key", skykv, 0, []answer{absent, noItems, conditionFailed(itemJSON("key", "value", token, 0))}, []string{get, scan, put}, kv.ErrUnavailable, []string{"another key"}},
		{"absent, first used by another program", skykv, 0, []answer{absent, theirs, found(layout16)}, []string{get, scan, get}, nil, nil},
		{"absent, and reading the items is not permitted", skykv, 0, []answer{absent, denied, ok("{}")}, []string{get, scan, put}, nil, nil},
		{"absent, and no layout named", unnamed, 0, []answer{absent, noItems}, []string{get, scan}, kv.ErrNotProvisioned, []string{`"table"`, "is empty", "Ensure", "layout=skykv or layout=alien"}},
		{"absent, no layout named, and reading the items is not permitted", unnamed, 0, []answer{absent, denied}, []string{get, scan}, kv.ErrNotProvisioned, []string{"Ensure"}},
		{"absent, no layout named, and first used by another program", unnamed, 0, []answer{absent, theirs, found(layout16)}, []string{get, scan, get}, nil, nil},
		{"another program's table, and no layout named", unnamed, 0, []answer{absent, theirs, absent}, []string{get, scan, get}, kv.ErrIncompatible, []string{`"table"`, "belongs to another program"}},
		{"another program's table", skykv, 0, []answer{absent, theirs, absent}, []string{get, scan, get}, kv.ErrIncompatible, []string{`"table"`, "belongs to another program"}},
		{"the platform's table", alien, 0, []answer{absent, platforms, ok("{}")}, []string{get, scan, put}, nil, nil},
		{"the platform's table, first used in the other layout", alien, 0, []answer{absent, platforms, conditionFailed(layout16)}, []string{get, scan, put}, kv.ErrIncompatible, []string{`layout "skykv"`, "want layout=skykv"}},
		{"the platform's table, in skykv's layout", skykv, 0, []answer{absent, platforms, absent}, []string{get, scan, get}, kv.ErrIncompatible, []string{"Alien platform", "want layout=alien"}},
		{"a table that is not quite the platform's", alien, 0, []answer{absent, broken, absent}, []string{get, scan, get}, kv.ErrIncompatible, []string{"belongs to another program"}},
		{"an empty table for both sides", alien, 16, []answer{absent, noItems, ok("{}")}, []string{get, scan, put}, nil, nil},
		{"in use by both sides", alien, 0, []answer{found(alienJSON)}, []string{get}, nil, nil},
		{"in use by both sides, in skykv's layout", skykv, 0, []answer{found(alienJSON)}, []string{get}, kv.ErrIncompatible, []string{`layout "alien"`, "want layout=alien"}},
		{"in use by both sides, and no layout named", unnamed, 0, []answer{found(alienJSON)}, []string{get}, kv.ErrIncompatible, []string{"want layout=alien"}},
		{"in skykv's layout, for both sides", alien, 0, []answer{found(layout16)}, []string{get}, kv.ErrIncompatible, []string{"want layout=skykv"}},
		{"other shards", unnamed, 4, []answer{found(layout16)}, []string{get}, kv.ErrIncompatible, []string{`"table"`, "16 shards", "opened with 4"}},
		{"other format", unnamed, 0, []answer{found(layoutJSON(`{"N":"3"}`, `{"N":"16"}`))}, []string{get}, kv.ErrIncompatible, []string{"format 3", "knows format 2"}},
		{"format 1", unnamed, 0, []answer{found(layoutJSON(`{"N":"1"}`, `{"N":"16"}`))}, []string{get}, kv.ErrIncompatible, []string{"format 1", "knows format 2"}},
		{"something else", unnamed, 0, []answer{found(`{"pk":{"S":"layout"},"sk":{"S":"skykv"}}`)}, []string{get}, kv.ErrIncompatible, []string{"not a layout record"}},
		{"something else with the same names", unnamed, 0, []answer{found(layoutJSON(`{"S":"2"}`, `{"S":"16"}`))}, []string{get}, kv.ErrIncompatible, []string{"not a layout record"}},
		{"missing table", unnamed, 0, []answer{refuse(400, "ResourceNotFoundException", "Requested resource not found")}, []string{get}, kv.ErrNotProvisioned, []string{`"table"`, "Ensure"}},
		{"other primary key", unnamed, 0, []answer{refuse(400, "ValidationException", "The provided key element does not match the schema")}, []string{get}, kv.ErrIncompatible, []string{"pk and sk, both strings"}},
		{"reading denied", unnamed, 0, []answer{denied}, []string{get}, kv.ErrPermission, []string{"not authorized"}},
		{"creation denied", skykv, 0, []answer{absent, noItems, denied}, []string{get, scan, put}, kv.ErrPermission, []string{"no layout record", "not authorized"}},
		{"throttled", unnamed, 0, []answer{refuse(400, "ThrottlingException", "slow down")}, []string{get, get, get}, kv.ErrThrottled, nil},
		{"unavailable", unnamed, 0, []answer{cut}, []string{get, get, get}, kv.ErrUnavailable, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, test.answers...)
			store, err := New(t.Context(), f.client(), "table", &Options{Layout: test.layout, Shards: test.shards})
			switch {
			case test.kind != nil:
				wantError(t, "New", err, test.kind, false, append(test.parts, "open")...)
			case err != nil:
				t.Errorf("New: %v", err)
			case store.Info().Shards != 16 || store.Info().Name != map[bool]string{false: "dynamodb", true: "dynamodb-alien"}[test.layout == alien]:
				t.Errorf("the store is %+v", store.Info())
			}
			f.wantOps(t, test.ops...)
			if f.call(0).body["ConsistentRead"] != true {
				t.Error("rule: the layout record is read consistently")
			}
			for i, op := range test.ops {
				if op == put && f.call(i).body["ConditionExpression"] != "attribute_not_exists(sk)" {
					t.Error("rule: the layout record is created only if it is absent")
				}
			}
		})
	}
}

func TestNewRefusesBeforeIO(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, table string
		opts        *Options
		part        string
	}{
		{"no table", "", nil, "3 to 255 bytes"},
		{"short table", "ab", nil, "3 to 255 bytes"},
		{"long table", strings.Repeat("t", 256), nil, "3 to 255 bytes"},
		{"table with a slash", "a/table", nil, `"a/table"`},
		{"table of another alphabet", "täble", nil, "a-z A-Z 0-9 _ - ."},
		{"negative shards", "table", &Options{Shards: -1}, "-1; want 1 to 256"},
		{"many shards", "table", &Options{Shards: 257}, "257; want 1 to 256"},
		{"unknown layout", "table", &Options{Layout: "Alien"}, `"Alien"; want skykv or alien`},
		{"other shards than the layout has", "table", &Options{Layout: provider.LayoutAlien, Shards: 8}, "8; want 16, or 0, in layout alien"},
	} {
		f := newFake(t, ok("{}"))
		_, err := New(t.Context(), f.client(), test.table, test.opts)
		wantError(t, "New with "+test.name, err, kv.ErrInvalidOption, false, test.part)
		err = EnsureWith(t.Context(), f.client(), test.table, test.opts)
		wantError(t, "EnsureWith with "+test.name, err, kv.ErrInvalidOption, false, test.part)
		f.wantOps(t)
	}
	_, err := New(t.Context(), nil, "table", nil)
	wantError(t, "New with a nil client", err, kv.ErrInvalidOption, false, "nil", "dynamodb.NewFromConfig")
}

func TestNewTakesAnARN(t *testing.T) {
	t.Parallel()
	arn := "arn:aws:dynamodb:us-east-1:123456789012:table/other-account"
	f := newFake(t, ok(`{"Item":`+layout16+`}`))
	if _, err := New(t.Context(), f.client(), arn, nil); err != nil {
		t.Fatal(err)
	}
	if got := f.call(0).body["TableName"]; got != arn {
		t.Errorf("TableName: %v", got)
	}
}
