package provider

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
)

const form = "cloud://TABLE?region=R&shards=N&timeout=DURATION&max-value=BYTES&endpoint=URL"

func TestParseURL(t *testing.T) {
	t.Parallel()
	u, err := ParseURL("cloud", form, "cloud://orders/deep/path?region=eu-west-1&shards=4&endpoint=http://localhost:8000")
	if err != nil {
		t.Fatal(err)
	}
	shards, shardsErr := u.Int("shards", 16, 1, 99)
	endpoint, endpointErr := u.Endpoint("endpoint")
	if u.Host != "orders" || u.Path != "deep/path" || u.Get("region") != "eu-west-1" ||
		shards != 4 || shardsErr != nil || endpoint != "http://localhost:8000" || endpointErr != nil {
		t.Errorf("got %+v, %d %v, %q %v", u, shards, shardsErr, endpoint, endpointErr)
	}
	u, err = ParseURL("cloud", form, "cloud://orders")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := u.Int("shards", 16, 1, 99); n != 16 || err != nil {
		t.Errorf("rule: an absent parameter has its default; got %d, %v", n, err)
	}
	for raw, want := range map[string]time.Duration{"cloud://orders": time.Minute, "cloud://orders?timeout=1m30s": 90 * time.Second} {
		if u, err = ParseURL("cloud", form, raw); err != nil {
			t.Fatal(err)
		}
		if d, err := u.Duration("timeout", time.Minute); d != want || err != nil {
			t.Errorf("rule: a parameter is a duration as Go writes it, or has its default; the timeout in %s is %s, %v", raw, d, err)
		}
	}
	for raw, want := range map[string]int{"cloud://orders": 0, "cloud://orders?max-value=393216": 1, "cloud://orders?max-value=1": 1} {
		if u, err = ParseURL("cloud", form, raw); err != nil {
			t.Fatal(err)
		}
		if opts, err := u.StoreOptions(); len(opts) != want || err != nil {
			t.Errorf("rule: max-value is an option of the store; %s has %d, %v, want %d", raw, len(opts), err, want)
		}
	}
	for raw, path := range map[string]string{"file:app.db": "app.db", "file:///var/app.db": "/var/app.db", "file:a%20b.db": "a b.db", "file:./x/y.db": "./x/y.db"} {
		if u, err := ParseURL("local", "file:PATH", raw); err != nil || u.Path != path {
			t.Errorf("rule: a file's path is the part after the colon; %q returned %+v, %v", raw, u, err)
		}
	}
}

func TestParseURLRefuses(t *testing.T) {
	t.Parallel()
	for raw, says := range map[string]string{
		"cloud://orders?regoin=eu":               `"regoin" is unknown`,
		"cloud://orders?shards=4&secret4711":     "a parameter is unknown",
		"cloud://orders?shards=4&Se/cret4711==":  "a parameter is unknown",
		"cloud://orders?shards=4&Secret4711==":   "a parameter is unknown",
		"cloud://orders?Secret4711=":             "a parameter is unknown",
		"cloud://orders?region=":                 `"region" must have one value`,
		"cloud://orders?region=a&region=b":       `"region" must have one value`,
		"cloud://hunter2:4711@orders":            "credentials",
		"cloud://orders#4711":                    "fragment",
		"other://orders":                         `the scheme is "other"`,
		"":                                       "the scheme is missing",
		"orders":                                 "the scheme is missing",
		"AKIA4711AKIA4711AKIA:secret":            "the scheme is missing",
		"cloud://orders?%zz4711":                 "cannot be parsed",
		"cloud://[4711":                          "cannot be parsed",
		"cloud://orders?region=a;shards=4711":    "cannot be parsed",
		"cloud://orders?shards=4711":             `"shards" must be a number from 1 to 99`,
		"cloud://orders?shards=many4711":         `"shards" must be a number from 1 to 99`,
		"cloud://orders?timeout=4711":            `"timeout" must be a positive duration such as 10s`,
		"cloud://orders?timeout=-4711s":          `"timeout" must be a positive duration such as 10s`,
		"cloud://orders?timeout=0s":              `"timeout" must be a positive duration such as 10s`,
		"cloud://orders?max-value=0":             `"max-value" must be a number from 1 to 393216`,
		"cloud://orders?max-value=-4711":         `"max-value" must be a number from 1 to 393216`,
		"cloud://orders?max-value=4711KiB":       `"max-value" must be a number from 1 to 393216`,
		"cloud://orders?max-value=393217":        `"max-value" must be a number from 1 to 393216`,
		"cloud://orders?max-value=":              `"max-value" must have one value`,
		"cloud://orders?max-values=4711":         `"max-values" is unknown`,
		"cloud://orders?endpoint=4711":           `"endpoint" must be a URL`,
		"cloud://orders?endpoint=http://4711@h/": `"endpoint" must be a URL`,
	} {
		u, err := ParseURL("cloud", form, raw)
		if err == nil {
			_, err = u.Int("shards", 16, 1, 99)
		}
		if err == nil {
			_, err = u.Duration("timeout", time.Minute)
		}
		if err == nil {
			_, err = u.StoreOptions()
		}
		if err == nil {
			_, err = u.Endpoint("endpoint")
		}
		if !errors.Is(err, kv.ErrInvalidOption) {
			t.Errorf("rule: an unknown part is ErrInvalidOption; %q returned %v", raw, err)
			continue
		}
		if !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), form) {
			t.Errorf("rule: an error names what was wrong and what is wanted; %q returned %q", raw, err)
		}
		if strings.Contains(err.Error(), "4711") {
			t.Errorf("rule: no message repeats what may be a secret; %q returned %q", raw, err)
		}
	}
}

func TestScheme(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"mem:": "mem", "MEM:": "MEM", "file:a:b": "file", "mongodb+srv://u:p@h": "mongodb+srv", "a1.b-c:": "a1.b-c",
		"": "", ":": "", "mem": "", "1st:": "", "+x:": "", "a b:": "", "a=b:c": "", "ä:": "", "a/b:c": "", "abcdefghijklmnopq:": "",
	} {
		if got := Scheme(raw); got != want {
			t.Errorf("rule: a scheme is a letter and up to 15 letters, digits, +, . and - before a colon; the scheme of %q is %q, got %q", raw, want, got)
		}
	}
}

func TestNoParametersAreNone(t *testing.T) {
	t.Parallel()
	if _, err := ParseURL("mem", "mem:", "mem:?=x"); !errors.Is(err, kv.ErrInvalidOption) {
		t.Errorf("rule: an unknown part is ErrInvalidOption, also a parameter without a name; got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("cloud://orders?region=a")
	f.Add("cloud:orders")
	f.Add("cloud://orders/a%2fb?shards=16&endpoint=http://localhost:8000")
	f.Add("cloud://user:secret@orders#part")
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := ParseURL("cloud", form, raw)
		if err != nil && !errors.Is(err, kv.ErrInvalidOption) || err == nil && u == nil {
			t.Fatalf("%q returned %v, %v", raw, u, err)
		}
		if err != nil {
			return
		}
		if n, err := u.Int("shards", 16, 1, 99); err == nil && (n < 1 || n > 99) || err != nil && !errors.Is(err, kv.ErrInvalidOption) {
			t.Fatalf("the shards of %q are %d, %v", raw, n, err)
		}
		endpoint, err := u.Endpoint("endpoint")
		if parsed, wrong := url.Parse(endpoint); err == nil && endpoint != "" && (wrong != nil || parsed.Host == "" || parsed.User != nil) || err != nil && !errors.Is(err, kv.ErrInvalidOption) {
			t.Fatalf("the endpoint of %q is %q, %v", raw, endpoint, err)
		}
	})
}
