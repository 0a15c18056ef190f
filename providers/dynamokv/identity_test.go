package dynamokv

import "testing"

// The rule: all URLs of a table have the same identity, and no other table has it.
func TestIdentity(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "", "AWS_REGION": "eu-west-1", "AWS_PROFILE": "",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_ENDPOINT_URL": "", "AWS_ENDPOINT_URL_DYNAMODB": "",
	} {
		t.Setenv(name, value)
	}
	identity := func(url string) string {
		t.Helper()
		c, err := Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.Identity()
	}
	seen := make(map[string]string)
	for _, urls := range [][]string{
		{"dynamodb://cache", "dynamodb://cache?region=eu-west-1", "dynamodb://cache?shards=16&timeout=3s", "dynamodb://cache?endpoint=https://dynamodb.eu-west-1.amazonaws.com"},
		{"dynamodb://cache?region=eu-west-2"},
		{"dynamodb://Cache"},
		{"dynamodb://cache?endpoint=http://localhost:8000", "dynamodb://cache?region=eu-west-1&endpoint=http%3A%2F%2F127.0.0.1%3A8000%2F"},
		{"dynamodb://cache?endpoint=http://localhost:8000&region=eu-west-2"},
		{"dynamodb://cache?endpoint=http://localhost:8001"},
	} {
		want := identity(urls[0])
		if other := seen[want]; other != "" {
			t.Errorf("%s and %s have the same identity, %q", urls[0], other, want)
		}
		seen[want] = urls[0]
		for _, url := range urls[1:] {
			if got := identity(url); got != want {
				t.Errorf("the identity of %s is %q; want the identity of %s, %q", url, got, urls[0], want)
			}
		}
	}
}
