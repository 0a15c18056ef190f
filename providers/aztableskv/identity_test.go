package aztableskv

import (
	"strings"
	"testing"
)

// The rule: all URLs of a table have the same identity, and no other table has it.
func TestIdentity(t *testing.T) {
	t.Setenv(envConnectionString, "")
	t.Setenv(envSAS, "")
	identity := func(url string) string {
		t.Helper()
		key := "a2V5"
		if strings.Contains(url, azuriteAccount.name) { // this account needs no key in the environment
			key = ""
		}
		t.Setenv(envKey, key)
		c, err := Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.Identity()
	}
	seen := make(map[string]string)
	for _, urls := range [][]string{
		{"aztables://account/cache", "aztables://account/Cache?shards=16&timeout=3s", "aztables://account/cache?endpoint=https://account.table.core.windows.net", "aztables://account/cache?endpoint=https%3A%2F%2FAccount.table.core.windows.net%3A443"},
		{"aztables://account/other"},
		{"aztables://account2/cache"},
		{"aztables://devstoreaccount1/cache?endpoint=http://127.0.0.1:10002/devstoreaccount1", "aztables://devstoreaccount1/cache?endpoint=http://localhost:10002/devstoreaccount1/"},
		{"aztables://devstoreaccount1/cache?endpoint=http://localhost:10003/devstoreaccount1"},
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
