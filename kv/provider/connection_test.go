package provider

import (
	"context"
	"errors"
	"testing"

	"github.com/skykv/skykv/kv"
)

func TestIdentity(t *testing.T) {
	t.Parallel()
	same := Identity("cloud", "http://localhost:8000", "eu", "cache")
	for _, endpoint := range []string{"http://LOCALHOST:8000/", "http://127.0.0.1:8000", "http://127.0.0.1:8000//", "http://[::1]:8000", "http://localhost.:8000", "http://user:secret@localhost:8000?sig=secret"} {
		if got := Identity("cloud", endpoint, "eu", "cache"); got != same {
			t.Errorf("rule: the spelling of an endpoint does not matter, and the identity has no secret; the identity of %q is %q, want %q", endpoint, got, same)
		}
	}
	for one, other := range map[string]string{
		"https://cloud.example":    "https://cloud.example:443/", // the default port of the scheme
		"http://[2001:db8::a]:80":  "http://[2001:0DB8:0:0::A]",
		"http://192.0.2.1:8000":    "http://[::ffff:192.0.2.1]:8000",
		"http://[fe80::1%25eth0]/": "http://[fe80:0::1%25eth0]",
	} {
		if a, b := Identity("cloud", one, "t"), Identity("cloud", other, "t"); a != b {
			t.Errorf("rule: different spellings of a host and port have the same result; got %q for %s and %q for %s", a, one, b, other)
		}
	}
	for _, other := range []string{
		Identity("cloud", "http://localhost:8001", "eu", "cache"), Identity("cloud", "http://localhost:8000/path", "eu", "cache"), Identity("cloud", "http://localhost", "eu", "cache"),
		Identity("cloud", "http://10.0.0.1:8000", "eu", "cache"), Identity("cloud", "", "eu", "cache"), Identity("cloud", "http://localhost:8000", "eu", "Cache"), Identity("fog", "http://localhost:8000", "eu", "cache"),
	} {
		if other == same {
			t.Errorf("rule: other stores have other identities; got %q", other)
		}
	}
	if Scheme(same) != "cloud" {
		t.Errorf("rule: an identity begins with the scheme; got %q", same)
	}
}

// connection is a type for a Connection that holds a nil pointer.
type connection struct{ Connection }

func TestConnect(t *testing.T) {
	t.Parallel()
	opened := 0
	set := Set{
		{Scheme: "plain", Form: "plain:", Open: func(_ context.Context, url string) (*kv.Store, error) {
			opened++
			return nil, errors.New(url)
		}},
		{Scheme: "cloud", Form: "cloud:", Connect: func(context.Context, string) (Connection, error) {
			return (*connection)(nil), kv.ErrPermission
		}},
	}
	c, err := set.Connect(t.Context(), "plain:x")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Open(t.Context()); err == nil || err.Error() != "plain:x" || opened != 1 || c.Identity() != "plain:x" {
		t.Errorf("rule: without Connect, each Open of a connection opens the URL, which is its identity; got %v, %d times, and %q", err, opened, c.Identity())
	}
	if c, err := set.Connect(t.Context(), "cloud:x"); c != nil || !errors.Is(err, kv.ErrPermission) {
		t.Errorf("rule: an error comes without a connection; got %v, %v", c, err)
	}
	if _, err := set.Connect(t.Context(), "absent:x"); !errors.Is(err, kv.ErrInvalidOption) {
		t.Errorf("rule: an unknown scheme is ErrInvalidOption; got %v", err)
	}
}
