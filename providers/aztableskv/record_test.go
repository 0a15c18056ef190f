package aztableskv

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/kv"
)

// The rule: what encode writes is the documented entity to any other program,
// and record reads it back.
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
		{Key: kv.KeyAlphabet, Value: bytes.Repeat([]byte{0xff, 0xfb}, kv.MaxValueLen/2), Expires: 1 << 53, Token: strings.Repeat("t", kv.TokenLen)},
	} {
		body := encode("0f", rec)
		var sdk aztables.EDMEntity
		if err := json.Unmarshal(body, &sdk); err != nil {
			t.Fatal(err)
		}
		value, _ := sdk.Properties["v"].(aztables.EDMBinary)
		if sdk.PartitionKey != "0f" || sdk.RowKey != rec.Key || !bytes.Equal(value, rec.Value) || len(sdk.Properties) != 3 ||
			sdk.Properties["x"] != aztables.EDMInt64(rec.Expires) || sdk.Properties["t"] != rec.Token {
			t.Errorf("the SDK reads the entity of %q as %v", rec.Key, sdk)
		}
		// As the SDK hands it over: unmarshalled and marshalled again.
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
		e, err := parse(body)
		if err != nil {
			t.Fatal(err)
		}
		got, err := e.record(rec.Key, true)
		if err != nil || !bytes.Equal(got.Value, rec.Value) || got.Value == nil || got.Expires != rec.Expires || got.Token != rec.Token ||
			text(e.rowKey) != rec.Key || text(e.etag) != "W/\"datetime'2026'\"" {
			t.Errorf("%q is read as %v, %v", rec.Key, got, err)
		}
		short, err := e.record(rec.Key, false)
		if err != nil || short.Value != nil || short.Token != rec.Token {
			t.Errorf("%q without its value is read as %v, %v", rec.Key, short, err)
		}
	}
}

// The rule: values decoded from one answer share no memory with it.
func TestDecodedValueIsACopy(t *testing.T) {
	t.Parallel()
	text := encode("00", kv.Record{Key: "a", Value: []byte("value"), Token: strings.Repeat("t", kv.TokenLen)})
	e, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := e.record("a", true)
	if err != nil {
		t.Fatal(err)
	}
	for i := range text {
		text[i] = 0
	}
	if string(rec.Value) != "value" || rec.Token != strings.Repeat("t", kv.TokenLen) {
		t.Errorf("the record changed to %q, %q with the answer", rec.Value, rec.Token)
	}
}

// The rule: no answer makes the parser panic, and one that is no flat JSON
// object is an error.
func FuzzParse(f *testing.F) {
	for _, body := range []string{
		`{"RowKey":"a","x":"1","x@odata.type":"Edm.Int64","v":"dg==","v@odata.type":"Edm.Binary","t":"tttttttttttttttttttttt"}`,
		`{}`, `{"a":1.5,"b":true,"c":null,"d":"\\","e":"\"}"}`, `{"a"`, `{"a":`, `{"a":{}}`, `{"a":[1]}`, `null`, ``, `{"a":"\\\"","b":-1}`, `{,}`, `{"a":1`, `{"a":"b"`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := parse(body)
		for _, withValue := range []bool{true, false} {
			if err != nil {
				break
			}
			rec, err := e.record("k", withValue)
			if failure, ok := errors.AsType[*kv.Error](err); err != nil && (!ok || failure.Kind != kv.ErrIncompatible) {
				t.Fatalf("the error is %v; want ErrIncompatible", err)
			}
			if err == nil && (rec.Key != "k" || len(rec.Token) != kv.TokenLen || rec.Expires < 0 || (rec.Value != nil) != withValue) {
				t.Fatalf("the record is %+v", rec)
			}
		}
		var want map[string]any
		if json.Unmarshal(body, &want) != nil {
			return // only JSON need be understood
		}
		compact, _ := json.Marshal(want)
		if want == nil || bytes.ContainsAny(compact[1:len(compact)-1], "{[") {
			return
		}
		if e, err = parse(compact); err != nil {
			t.Fatalf("parse(%s): %v", compact, err)
		}
		for name, literal := range map[string][]byte{"RowKey": e.rowKey, "odata.etag": e.etag, "v": e.value, "x": e.expires, "t": e.token} {
			s, ok := want[name].(string)
			if got := text(literal); ok && got != s || !ok && len(literal) > 0 && literal[0] == '"' {
				t.Fatalf("property %s of %s is read as %q", name, compact, got)
			}
		}
	})
}

// The rule: a record comes back as it was stored, under a row key that is its key: that
// is one to one, and in order.
func FuzzRecord(f *testing.F) {
	f.Add("key", []byte("value"), int64(1_700_000_000_000))
	f.Add("..", []byte{}, int64(0))
	f.Add("__x__", []byte("\"\\\xff"), int64(1))
	f.Fuzz(func(t *testing.T, key string, value []byte, expires int64) {
		if kv.ValidateKey(key) != nil || expires < 0 || value == nil {
			return
		}
		in := kv.Record{Key: key, Value: value, Expires: expires, Token: strings.Repeat("t", kv.TokenLen)}
		e, err := parse(encode("0f", in))
		if err != nil || text(e.rowKey) != key {
			t.Fatalf("the row key of %q is %q, %v", key, e.rowKey, err)
		}
		out, err := e.record(key, true)
		if err != nil || string(out.Value) != string(value) || out.Value == nil || out.Expires != expires || out.Token != in.Token {
			t.Fatalf("%+v came back as %+v, %v", in, out, err)
		}
		for what, body := range map[string][]byte{"entity": encode("0f", in), "key": encodeKey("0f", key)} {
			var sdk aztables.EDMEntity
			if err := json.Unmarshal(body, &sdk); err != nil || sdk.RowKey != key || sdk.PartitionKey != "0f" {
				t.Fatalf("the SDK reads the %s of %q as %+v, %v", what, key, sdk.Entity, err)
			}
		}
	})
}

// The rule: what is not skykv's is ErrIncompatible, with no value in the message.
func TestForeignRecords(t *testing.T) {
	t.Parallel()
	for _, properties := range append(foreign, map[string]any{
		"v": "not base64: " + secretValue, "v@odata.type": typeBinary, "x": "0", "x@odata.type": typeInt64, "t": strings.Repeat("t", kv.TokenLen),
	}, map[string]any{
		"v": "dg==", "v@odata.type": typeBinary, "x": secretValue, "x@odata.type": typeInt64, "t": strings.Repeat("t", kv.TokenLen),
	}) {
		e, err := parse(entityJSON(t, "00", "a", properties))
		if err != nil {
			t.Fatal(err)
		}
		_, err = e.record("a", true)
		if !errors.Is(err, kv.ErrIncompatible) {
			t.Errorf("%v: %v; want ErrIncompatible", properties, err)
		}
		shows(t, err, secretValue)
	}
}

// The rule: what is sent as If-Match is one ETag, which matches one state of an
// entity at most.
func FuzzVersion(f *testing.F) {
	etag := regexp.MustCompile(`^(W/)?"[!#-~]*"$`)
	for _, version := range []string{`W/"datetime'2026-01-01T00%3A00%3A00.0000001Z'"`, `"1"`, "*", `"`, "x\ny", `"a","b"`, "\"\u00e4\"", "\"\xff\""} {
		f.Add(version)
	}
	f.Fuzz(func(t *testing.T, version string) {
		match, err := ifMatch(kv.Condition{Version: version})
		switch {
		case version == "" && (match != nil || err != nil):
			t.Fatalf("no version gives %v, %v", match, err)
		case version != "" && etag.MatchString(version) && (err != nil || string(*match) != version):
			t.Fatalf("version %q gives %v; it is an ETag", version, err)
		case version != "" && !etag.MatchString(version) && !errors.Is(err, kv.ErrInvalidVersion):
			t.Fatalf("version %q gives %v; want ErrInvalidVersion: it is no ETag", version, err)
		}
	})
}
