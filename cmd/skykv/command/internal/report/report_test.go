package report

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func failing() *Run {
	r := &Run{Suite: "v1.2.3", Go: "go1.26 linux/amd64", URL: "dynamodb://cache?region=eu-central-1", Provider: "dynamodb", Shards: 16, Started: time.Date(2027, 1, 31, 12, 0, 0, 0, time.UTC), Seconds: 12.5}
	r.Add("put/good", "Put stores.", nil, "", 3*time.Millisecond)
	r.Add("put/bad", "Put & Get <agree>.", []string{"put.go:7: got <nil>; want \"x\"", "put.go:9: another"}, "", 2*time.Second)
	r.Add("scan/good", "Scans end.", nil, "", time.Millisecond)
	return r
}

func TestPage(t *testing.T) {
	t.Parallel()
	page := string(failing().HTML())
	for _, want := range []string{
		"1 of 3 cases failed", "Put &amp; Get &lt;agree&gt;.", "got &lt;nil&gt;; want &#34;x&#34;", "put.go:9: another",
		"<code>dynamodb://cache?region=eu-central-1</code>", "dynamodb, 16 shards", "skykv v1.2.3, go1.26 linux/amd64", "skykv conformance &#39;dynamodb://cache?region=eu-central-1&#39;", "faults (lost, late and refused requests) were not run", "31 January 2027, 12:00:00 UTC", "2 of 3, 66.7%", "12.5s",
		`<span>put</span><span class="bad">1 of 2</span>`, `<span>scan</span><span class="good">1 of 1</span>`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not contain %q", want)
		}
	}
	if strings.Contains(page, "<script") || strings.Contains(page, "src=") || strings.Contains(page, "href=") {
		t.Error("rule: the page needs no other file")
	}
	whole := &Run{Provider: "file", Shards: 1, URL: "file:it's.db"}
	whole.Add("put/good", "Put stores.", nil, "", time.Millisecond)
	if page := string(whole.HTML()); !strings.Contains(page, `skykv conformance &#39;file:it&#39;\&#39;&#39;s.db&#39;`) {
		t.Errorf("rule: the store's URL is one argument of the command; the page is %s", page)
	}
	if page := string(whole.HTML()); !strings.Contains(page, "1 of 1 case passed") || strings.Contains(page, "Broken rules") || !strings.Contains(page, "file, 1 shard<") {
		t.Errorf("the page of a run without failures is %s", page)
	}
}

// The rule: cases that are left out are listed with the missing feature. They do not count
// as passed.
func TestLeftOut(t *testing.T) {
	t.Parallel()
	r := &Run{Provider: "dynamodb-alien", Shards: 16}
	r.Add("put/good", "Put stores.", nil, "", time.Millisecond)
	r.Add("expiry/slow", "Slow clocks see it.", nil, "it has <no> grace", time.Millisecond)
	r.Add("expiry/good", "It expires.", nil, "", time.Millisecond)
	page := string(r.HTML())
	for _, want := range []string{"2 of 2 cases passed", "1 case was left out", "2 of 2, 100.0%", "<code>expiry/slow</code>: it has &lt;no&gt; grace. The rule: Slow clocks see it.", `<span class="good">1 of 1, 1 left out</span>`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not contain %q:\n%s", want, page)
		}
	}
	if got := Matrix([]*Run{r}); !strings.Contains(got, "| all | **2 of 2, 1 left out** |") || !strings.Contains(got, "| expiry | 1 of 1, 1 left out |") {
		t.Errorf("the matrix does not say which cases are left out:\n%s", got)
	}
	r.Add("expiry/bad", "It is absent.", []string{"it is an error"}, "it has no grace", time.Millisecond)
	if page := string(r.HTML()); !strings.Contains(page, "1 of 3 cases failed") || !strings.Contains(page, "it is an error") {
		t.Errorf("rule: a store that does not refuse a missing feature as documented has failed; the page is\n%s", page)
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(failing())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"provider":"dynamodb","shards":16,"started":"2027-01-31T12:00:00Z","seconds":12.5,"passed":2,"failed":1,"cases":[`,
		`{"name":"put/good","rule":"Put stores.","passed":true,"seconds":0.003}`, `"passed":false,"failures":["put.go:7`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the JSON does not contain %q: %s", want, text)
		}
	}
}
