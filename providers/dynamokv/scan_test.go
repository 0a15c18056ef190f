package dynamokv

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/skykv/skykv/kv"
)

// page responds to a Query.
func page(last string, items ...string) answer {
	if last != "" {
		last = fmt.Sprintf(`,"LastEvaluatedKey":{"pk":{"S":"3"},"sk":{"S":%q}}`, last)
	}
	return ok(fmt.Sprintf(`{"Items":[%s],"Count":%d%s}`, strings.Join(items, ","), len(items), last))
}

var all = kv.ScanRequest{Shard: 3, From: "a", To: "z~", Limit: 7, WithValue: true}

func TestScanRequest(t *testing.T) {
	t.Parallel()
	f := newFake(t, page(""))
	d := f.driver(t)
	r := all
	for range d.Scan(t.Context(), r) {
		t.Error("a record of an empty page")
	}
	r.Now, r.WithValue = 1234, false
	for range d.Scan(t.Context(), r) {
		t.Error("a record of an empty page")
	}
	type object = map[string]any
	values := object{":p": object{"S": "3"}, ":from": object{"S": "a"}, ":to": object{"S": "z~"}}
	want := object{
		"TableName": "table", "ConsistentRead": true, "Limit": 7.0,
		"KeyConditionExpression":    "pk = :p AND sk BETWEEN :from AND :to",
		"ExpressionAttributeValues": values,
	}
	if got := f.call(0).body; !reflect.DeepEqual(got, want) {
		t.Errorf("request:\n%v; want\n%v", got, want)
	}
	values[":now"], values[":n"] = object{"N": "1234"}, object{"S": "N"}
	want["FilterExpression"] = "attribute_not_exists(x) OR x > :now OR NOT attribute_type(x, :n)"
	want["ProjectionExpression"] = "sk, x, t, p"
	if got := f.call(1).body; !reflect.DeepEqual(got, want) {
		t.Errorf("request without values and the expired:\n%v; want\n%v", got, want)
	}
}

func TestScanCrossesEmptyPages(t *testing.T) {
	t.Parallel()
	f := newFake(t,
		page("b", itemJSON("b", "1", token, 0)),
		page("c"), page("d"), page("e"), page("f"), page("g"), page("h"), page("i"), page("j"), page("k"),
		page("l", itemJSON("l", "2", token, 9)),
		page(""))
	var keys []string
	for rec, err := range f.driver(t).Scan(t.Context(), all) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, rec.Key+string(rec.Value))
	}
	if fmt.Sprint(keys) != "[b1 l2]" {
		t.Errorf("rule: an empty page need not be the last; got %v, want [b1 l2]", keys)
	}
	var starts []string
	var limits []int
	for i := range f.ops() {
		body := f.call(i).body
		limits = append(limits, int(body["Limit"].(float64)))
		if start, ok := body["ExclusiveStartKey"].(map[string]any); ok {
			starts = append(starts, start["sk"].(map[string]any)["S"].(string))
		}
	}
	if fmt.Sprint(starts) != "[b c d e f g h i j k l]" {
		t.Errorf("pages started after %v", starts)
	}
	if want := "[7 7 14 28 56 112 224 448 896 1000 1000 1000]"; fmt.Sprint(limits) != want {
		t.Errorf("rule: sequences of expired items are read in larger pages; page sizes %v, want %v", limits, want)
	}
}

func TestScanEndsWithTheLoop(t *testing.T) {
	t.Parallel()
	f := newFake(t, page("b", itemJSON("a", "1", token, 0), itemJSON("b", "2", token, 0)))
	for range f.driver(t).Scan(t.Context(), all) {
		break
	}
	f.wantOps(t, "Query")
}

func TestScanReportsForeignItemsAndGoesOn(t *testing.T) {
	t.Parallel()
	f := newFake(t, page("", itemJSON("b", "1", token, 0), `{"pk":{"S":"3"},"sk":{"S":"c"},"note":{"S":"payload"}}`, itemJSON("d", "2", token, 0)))
	var got []string
	for rec, err := range f.driver(t).Scan(t.Context(), all) {
		if err != nil {
			if !errors.Is(err, kv.ErrIncompatible) {
				t.Errorf("%q: %v; want ErrIncompatible", rec.Key, err)
			}
			rec.Key += "!"
		}
		got = append(got, rec.Key)
	}
	if fmt.Sprint(got) != "[b c! d]" {
		t.Errorf("rule: an error with a key is about that record alone; got %v, want [b c! d]", got)
	}
}

func TestScanEndsWithAnError(t *testing.T) {
	t.Parallel()
	f := newFake(t, page("b", itemJSON("b", "1", token, 0)), refuse(400, "AccessDeniedException", "no"))
	var got []string
	for rec, err := range f.driver(t).Scan(t.Context(), all) {
		got = append(got, fmt.Sprintf("%s %v", rec.Key, errors.Is(err, kv.ErrPermission)))
	}
	if fmt.Sprint(got) != "[b false  true]" {
		t.Errorf("rule: an error with an empty key ends the scan; got %q", got)
	}
}
