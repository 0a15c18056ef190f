package firestorekv

import "testing"

// The rule: all URLs of a collection have the same identity, and no other collection has it.
func TestIdentity(t *testing.T) {
	t.Parallel()
	identity := func(url string) string {
		t.Helper()
		c, err := parseURL(url)
		if err != nil {
			t.Fatal(err)
		}
		return c.Identity()
	}
	seen := make(map[string]string)
	for _, urls := range [][]string{
		{"firestore://project/kv", "firestore://project/kv?database=(default)&shards=1", "firestore://project/kv?database=%28default%29", "firestore://project/kv?endpoint=https://private.googleapis.com"},
		{"firestore://project/kv?database=orders"},
		{"firestore://project/other"},
		{"firestore://project-2/kv"},
		{"firestore://project/kv?endpoint=http://localhost:8080", "firestore://project/kv?endpoint=http%3A%2F%2F127.0.0.1%3A8080%2F"},
		{"firestore://project/kv?endpoint=http://localhost:8081"},
	} {
		want := identity(urls[0])
		if other := seen[want]; other != "" {
			t.Errorf("%s and %s have the same identity, %q", urls[0], other, want)
		}
		seen[want] = urls[0]
		for _, url := range urls[1:] {
			if got := identity(url); got != want {
				t.Errorf("the identity of %s is %q; want that of %s, %q", url, got, urls[0], want)
			}
		}
	}
}
