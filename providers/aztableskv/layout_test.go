package aztableskv

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/kv"
)

// The rule: encode returns the documented entity, and the SDK can read it. record reads the
// entity too.
func TestEntityRoundTrip(t *testing.T) {
	t.Parallel()
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for _, rec := range []kv.Record{
		{Key: "a", Value: []byte{}, Token: strings.Repeat("_", kv.TokenLen)},
		{Key: "..", Value: []byte(`"\<>&` + "\u2028"), Expires: 1, Token: "ABCDEFGHIJKLMNOPQRST-_"},
		{Key: strings.Repeat("z", kv.MaxKeyLen), Value: all, Expires: kv.MaxExpiry.UnixMilli(), Token: "0123456789abcdefghijkl"},
		{Key: kv.KeyAlphabet, Value: bytes.Repeat([]byte{0xff, 0xfb}, kv.MaxValueLen/2), Expires: 1 << 53, Token: token},
		{Key: "p", Value: []byte{}, Token: token, Predecessors: strings.Repeat("~ !<>&", kv.MaxPredecessorsLen/6)},
	} {
		l := newLayout(16)
		body := l.encode(rec, 0)
		var sdk aztables.EDMEntity
		if err := json.Unmarshal(body, &sdk); err != nil {
			t.Fatal(err)
		}
		value, _ := sdk.Properties["v"].(aztables.EDMBinary)
		if sdk.PartitionKey != fmt.Sprintf("%02x", kv.Shard(rec.Key, 16)) || sdk.RowKey != rec.Key || !bytes.Equal(value, rec.Value) || len(sdk.Properties) != 4 ||
			sdk.Properties["x"] != aztables.EDMInt64(rec.Expires) || sdk.Properties["t"] != rec.Token || sdk.Properties["p"] != rec.Predecessors {
			t.Errorf("the SDK reads the entity of %q as %v", rec.Key, sdk)
		}
		// The SDK unmarshals and marshals the JSON of a response. Do the same.
		var properties map[string]any
		if err := json.Unmarshal(body, &properties); err != nil {
			t.Fatal(err)
		}
		properties["odata.etag"] = "W/\"datetime'2026'\""
		properties["Timestamp"] = "2026-01-01T00:00:00Z"
		body, err := json.Marshal(properties)
		if err != nil {
			t.Fatal(err)
		}
		e, err := newLayout(1).parse(body)
		if err != nil {
			t.Fatal(err)
		}
		got, err := newLayout(1).record(&e, rec.Key, true)
		if err != nil || got.Value == nil || !same(got, rec) || e.key() != rec.Key || e.version() != "W/\"datetime'2026'\"" {
			t.Errorf("%q is read as %v, %v", rec.Key, got, err)
		}
		short, err := newLayout(1).record(&e, rec.Key, false)
		if err != nil || short.Value != nil || short.Token != rec.Token || short.Predecessors != rec.Predecessors {
			t.Errorf("%q without its value is read as %v, %v", rec.Key, short, err)
		}
	}
}

func same(a, b kv.Record) bool {
	return a.Key == b.Key && bytes.Equal(a.Value, b.Value) && a.Expires == b.Expires && a.Token == b.Token && a.Predecessors == b.Predecessors
}

// The rule: a value above 64 KiB is stored in parts of 64 KiB: v, v1, v2 and so on. Each
// part is a Binary. A part may be empty only if it is the only one. A read returns the same
// value.
func TestValueInParts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		size  int
		parts []int
	}{
		{0, []int{0}},
		{1, []int{1}},
		{65535, []int{65535}},
		{65536, []int{65536}},
		{65537, []int{65536, 1}},
		{2 * 65536, []int{65536, 65536}},
		{384 << 10, []int{65536, 65536, 65536, 65536, 65536, 65536}},
	} {
		value := make([]byte, test.size)
		for i := range value {
			value[i] = byte(i >> 8)
		}
		rec := kv.Record{Key: "a", Value: value, Token: token}
		body := newLayout(1).encode(rec, 0)
		var sdk aztables.EDMEntity
		if err := json.Unmarshal(body, &sdk); err != nil {
			t.Fatal(err)
		}
		if got, want := len(sdk.Properties), len(test.parts)+3; got != want {
			t.Errorf("%d bytes: the entity has %d properties, want %d", test.size, got, want)
		}
		var whole []byte
		for i, size := range test.parts {
			part, _ := sdk.Properties[[]string{"v", "v1", "v2", "v3", "v4", "v5"}[i]].(aztables.EDMBinary)
			if len(part) != size {
				t.Errorf("%d bytes: part %d has %d, want %d", test.size, i, len(part), size)
			}
			whole = append(whole, part...)
		}
		if !bytes.Equal(whole, value) {
			t.Errorf("%d bytes: the parts together are not the value", test.size)
		}
		e, err := newLayout(1).parse(body)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := newLayout(1).record(&e, "a", true); err != nil || !same(got, rec) {
			t.Errorf("%d bytes come back as %d, %v", test.size, len(got.Value), err)
		}
	}
}

// The rule: if the parts do not form one value, the error is ErrIncompatible. A part that is
// null counts as absent. Other properties are ignored.
func TestForeignParts(t *testing.T) {
	t.Parallel()
	part := func(size int) string { return base64.StdEncoding.EncodeToString(make([]byte, size)) }
	full := part(65536)
	for _, test := range []struct {
		name  string
		parts map[string]any
		want  int // number of bytes of the value, or -1 if there is no value
	}{
		{"one", map[string]any{"v": part(3)}, 3},
		{"null", map[string]any{"v": part(3), "v1": nil, "v5": nil}, 3},
		{"others", map[string]any{"v": part(3), "v0": part(3), "v6": part(3), "v10": part(3), "vv": part(3), "v1x": part(3)}, 3},
		{"two", map[string]any{"v": full, "v1": part(1)}, 65537},
		{"short before the last", map[string]any{"v": part(65535), "v1": part(1)}, -1},
		{"short within", map[string]any{"v": full, "v1": part(1), "v2": part(1)}, -1},
		{"empty last", map[string]any{"v": full, "v1": ""}, -1},
		{"gap", map[string]any{"v": full, "v2": part(1)}, -1},
		{"no first", map[string]any{"v1": full}, -1},
		{"too long", map[string]any{"v": part(65537)}, -1},
		{"too long last", map[string]any{"v": full, "v1": part(65537)}, -1},
		{"not base64", map[string]any{"v": full, "v1": "-" + secretValue}, -1},
		{"not Binary", map[string]any{"v": full, "v1": part(1), "v1@odata.type": "Edm.String"}, -1},
	} {
		properties := map[string]any{"x": "0", "x@odata.type": typeInt64, "t": token, "p": ""}
		for name, value := range test.parts {
			if value != nil && !strings.Contains(name, "@") {
				properties[name+"@odata.type"] = typeBinary
			}
		}
		maps.Copy(properties, test.parts)
		e, err := newLayout(1).parse(entityJSON(t, "00", "a", properties))
		if err != nil {
			t.Fatal(err)
		}
		rec, err := newLayout(1).record(&e, "a", true)
		switch {
		case test.want >= 0 && (err != nil || len(rec.Value) != test.want):
			t.Errorf("%s: %d bytes, %v; want %d", test.name, len(rec.Value), err, test.want)
		case test.want < 0 && !errors.Is(err, kv.ErrIncompatible):
			t.Errorf("%s: %v; want ErrIncompatible", test.name, err)
		case test.want < 0:
			shows(t, err, secretValue)
		}
	}
}

// The rule: the emulator stores the largest value with the longest Predecessors, and returns
// them unchanged.
func TestLargestRecord(t *testing.T) {
	t.Parallel()
	client := azurite(t)
	d, err := newDriver("open", client, newTable(t, client), &Options{Retry: quick})
	if err != nil {
		t.Fatal(err)
	}
	rec := kv.Record{
		Key: "a", Value: bytes.Repeat([]byte("0123456789abcdef"), maxParts*maxPart/16),
		Token: token, Predecessors: strings.Repeat("p", kv.MaxPredecessorsLen),
	}
	out, err := d.Write(t.Context(), kv.WriteRequest{Write: kv.Write{Kind: kv.KindPut, Record: rec}})
	if err != nil || !out.Done {
		t.Fatalf("%+v, %v", out, err)
	}
	for _, withValue := range []bool{true, false} {
		found, err := d.Get(t.Context(), kv.GetRequest{Key: "a", WithValue: withValue})
		if want := rec; err != nil || !found.Exists || found.Version != out.Version || withValue && !same(found.Record, want) || found.Predecessors != rec.Predecessors {
			t.Errorf("with its value: %t, %d bytes come back as %d, %v", withValue, len(rec.Value), len(found.Value), err)
		}
	}
	rec.Value = []byte("short")
	if _, err := d.Write(t.Context(), kv.WriteRequest{Write: kv.Write{Kind: kv.KindPut, Record: rec}}); err != nil {
		t.Fatal(err)
	}
	if found, err := d.Get(t.Context(), kv.GetRequest{Key: "a", WithValue: true}); err != nil || string(found.Value) != "short" {
		t.Errorf("a short value over a long one comes back as %d bytes, %v", len(found.Value), err)
	}
}

// The rule: the value and the token of a record share no memory with the response.
func TestDecodedValueIsACopy(t *testing.T) {
	t.Parallel()
	text := newLayout(1).encode(kv.Record{Key: "a", Value: []byte("value"), Token: token}, 0)
	e, err := newLayout(1).parse(text)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := newLayout(1).record(&e, "a", true)
	if err != nil {
		t.Fatal(err)
	}
	for i := range text {
		text[i] = 0
	}
	if string(rec.Value) != "value" || rec.Token != token {
		t.Errorf("the record changed to %q, %q with the response", rec.Value, rec.Token)
	}
}

// The rule: no response makes the parser panic. If a response is a flat JSON object, the
// parser reads its properties as package json does.
func FuzzParse(f *testing.F) {
	for _, body := range append([]string{
		`{"RowKey":"a","x":"1","x@odata.type":"Edm.Int64","v":"dg==","v@odata.type":"Edm.Binary","t":"tttttttttttttttttttttt","p":""}`,
		`{"RowKey":"a","Value":"dg==","CreatedAt":"2023-11-14T22:13:20.123+00:00","ExpiresAt":"2023-11-14T22:13:20.123456789+00:00","skykv_t":"tttttttttttttttttttttt 2023-11-14T22:13:20.123+00:00 2023-11-14T22:13:20.123456789+00:00","skykv_p":""}`,
		`{"RowKey":"a","Value":"","CreatedAt":"2023-11-14T22:13:20Z","ExpiresAt":1}`,
		`{}`, `{"a":1.5,"b":true,"c":null,"d":"\\","e":"\"}"}`, `{"a"`, `{"a":`, `{"a":{}}`, `{"a":[1]}`, `null`, ``, `{"a":"\\\"","b":-1}`, `{,}`, `{"a":1`, `{"a":"b"`,
	}, shapeless...) {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := newLayout(1).parse(body)
		for _, withValue := range []bool{true, false} {
			if err != nil {
				break
			}
			rec, err := newLayout(1).record(&e, "k", withValue)
			if failure, ok := errors.AsType[*kv.Error](err); err != nil && (!ok || failure.Kind != kv.ErrIncompatible) {
				t.Fatalf("the error is %v; want ErrIncompatible", err)
			}
			if err == nil && (rec.Key != "k" || len(rec.Token) != kv.TokenLen || rec.Expires < 0 || (rec.Value != nil) != withValue) {
				t.Fatalf("the record is %+v", rec)
			}
		}
		fuzzAlien(t, body)
		var want map[string]any
		if json.Unmarshal(body, &want) != nil {
			return // if the body is not valid JSON, the parser may return any result
		}
		compact, _ := json.Marshal(want)
		if want == nil || bytes.ContainsAny(compact[1:len(compact)-1], "{[") {
			return
		}
		shared, err := alienLayout.parse(compact)
		if err != nil {
			t.Fatalf("parse(%s): %v", compact, err)
		}
		_, isText := want[propAlienExpires].(string)
		if rec, err := alienLayout.record(&shared, "k", false); err == nil && !isText && (want[propAlienExpires] != nil || rec.Expires != 0) {
			t.Fatalf("in layout alien, %s expires at %d", compact, rec.Expires)
		}
		if e, err = newLayout(1).parse(compact); err != nil {
			t.Fatalf("parse(%s): %v", compact, err)
		}
		for name, literal := range map[string][]byte{"RowKey": e.rowKey, "odata.etag": e.etag, "v": e.values[0], "v5": e.values[5], "x": e.expires, "t": e.token, "p": e.predecessors} {
			s, ok := want[name].(string)
			if got, isText := text(literal); isText != ok || got != s {
				t.Fatalf("property %s of %s is read as %q", name, compact, got)
			}
		}
	})
}

// fuzzAlien parses an entity in the layout of the Alien platform, and checks the result.
func fuzzAlien(t *testing.T, body []byte) {
	e, err := alienLayout.parse(body)
	if err != nil {
		return
	}
	for _, withValue := range []bool{true, false} {
		rec, err := alienLayout.record(&e, "k", withValue)
		if failure, ok := errors.AsType[*kv.Error](err); err != nil && (!ok || failure.Kind != kv.ErrIncompatible) {
			t.Fatalf("in layout alien, the error is %v; want ErrIncompatible", err)
		}
		if err != nil {
			continue
		}
		if rec.Key != "k" || len(rec.Token)%kv.TokenLen != 0 || rec.Token == "" && rec.Predecessors != "" || rec.Expires > kv.MaxExpiry.UnixMilli() || (rec.Value != nil) != withValue {
			t.Fatalf("in layout alien, the record is %+v", rec)
		}
	}
}

// The rule: a read returns a record as it was stored. The RowKey is the key, so each key has
// one entity, and keys and entities have the same order.
func FuzzRecord(f *testing.F) {
	f.Add("key", []byte("value"), int64(1_700_000_000_000))
	f.Add("..", []byte{}, int64(0))
	f.Add("__x__", []byte("\"\\\xff"), int64(1))
	f.Fuzz(func(t *testing.T, key string, value []byte, expires int64) {
		if kv.ValidateKey(key) != nil || expires < 0 || value == nil {
			return
		}
		in := kv.Record{Key: key, Value: value, Expires: expires, Token: token}
		l := newLayout(16)
		e, err := newLayout(1).parse(l.encode(in, 0))
		if err != nil || e.key() != key {
			t.Fatalf("the row key of %q is %q, %v", key, e.rowKey, err)
		}
		out, err := newLayout(1).record(&e, key, true)
		if err != nil || out.Value == nil || !same(out, in) {
			t.Fatalf("%+v came back as %+v, %v", in, out, err)
		}
		for what, body := range map[string][]byte{"entity": l.encode(in, 0), "key": l.encodeKey(key)} {
			var sdk aztables.EDMEntity
			if err := json.Unmarshal(body, &sdk); err != nil || sdk.RowKey != key || sdk.PartitionKey != fmt.Sprintf("%02x", kv.Shard(key, 16)) {
				t.Fatalf("the SDK reads the %s of %q as %+v, %v", what, key, sdk.Entity, err)
			}
		}
		if in.Expires > kv.MaxExpiry.UnixMilli() { // no store writes such an expiry
			return
		}
		out, err = decodeAlien(t, alienLayout.encode(in, expires/2), true)
		if err != nil || out.Value == nil || !same(out, in) {
			t.Fatalf("in layout alien, %+v came back as %+v, %v", in, out, err)
		}
		in.Value = nil
		if out, err = decodeAlien(t, alienLayout.encodeMetadata(in, expires/2), false); err != nil || !same(out, in) {
			t.Fatalf("in layout alien, a touch to %+v came back as %+v, %v", in, out, err)
		}
	})
}

// The rule: if skykv did not write an entity, the error is ErrIncompatible. The message does
// not contain the value.
func TestForeignRecords(t *testing.T) {
	t.Parallel()
	for _, properties := range append(foreign, map[string]any{
		"v": "not base64: " + secretValue, "v@odata.type": typeBinary, "x": "0", "x@odata.type": typeInt64, "t": token, "p": "",
	}, map[string]any{
		"v": "dg==", "v@odata.type": typeBinary, "x": secretValue, "x@odata.type": typeInt64, "t": token, "p": "",
	}) {
		e, err := newLayout(1).parse(entityJSON(t, "00", "a", properties))
		if err != nil {
			t.Fatal(err)
		}
		_, err = newLayout(1).record(&e, "a", true)
		if !errors.Is(err, kv.ErrIncompatible) {
			t.Errorf("%v: %v; want ErrIncompatible", properties, err)
		}
		shows(t, err, secretValue)
	}
}

// The rule: If-Match has exactly one ETag, which matches at most one state of an entity.
func FuzzVersion(f *testing.F) {
	etag := regexp.MustCompile(`^(W/)?"[!#-~]*"$`)
	for _, version := range []string{`W/"datetime'2026-01-01T00%3A00%3A00.0000001Z'"`, `"1"`, "*", `"`, "x\ny", `"a","b"`, "\"\u00e4\"", "\"\xff\""} {
		f.Add(version)
	}
	f.Fuzz(func(t *testing.T, version string) {
		for _, w := range []kv.Write{putting("a", kv.Condition{Kind: kv.CondVersion, Version: version}), deleting("a", kv.Condition{Kind: kv.CondVersion, Version: version})} {
			action, err := newLayout(1).action(w, 0)
			switch {
			case etag.MatchString(version) && (err != nil || action.IfMatch == nil || string(*action.IfMatch) != version):
				t.Fatalf("version %q gives %v; it is an ETag", version, err)
			case !etag.MatchString(version) && !errors.Is(err, kv.ErrInvalidVersion):
				t.Fatalf("version %q gives %v; want ErrInvalidVersion: it is no ETag", version, err)
			}
		}
	})
}
