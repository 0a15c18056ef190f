package kv_test

import (
	"errors"
	"testing"

	"github.com/skykv/skykv/kv"
)

// The rule: a message is one line, and names the operation, the key, the provider, the kind
// and the cause.
func TestMessages(t *testing.T) {
	t.Parallel()
	cause := errors.Join(errors.New("first attempt failed"), errors.New("quota exceeded"))
	for _, c := range []struct {
		err  kv.Error
		want string
	}{
		{kv.Error{}, "kv:"},
		{kv.Error{Op: "get", Key: "a", Provider: "mem", Kind: kv.ErrNotFound}, `kv: get "a" on mem: not found`},
		{kv.Error{Op: "get", Key: "a", Provider: "mem/tenant:", Kind: kv.ErrNotFound}, `kv: get "a" on mem/tenant: not found`},
		{kv.Error{Op: "put", Provider: "mem", Kind: kv.ErrUnavailable, MayHaveApplied: true, Err: errors.New("reset")}, "kv: put on mem: it is unknown whether the write was applied: unavailable: reset"},
		{kv.Error{Op: "open", Kind: kv.ErrUnavailable, Err: cause}, "kv: open: unavailable: first attempt failed; quota exceeded"},
		{kv.Error{Op: "open", Err: &kv.Error{Op: "get", Err: cause}}, "kv: open: kv: get: first attempt failed; quota exceeded"},
		{kv.Error{Err: errors.New("No token.\nTried:\r\n\n\tone\n-------\n\ttwo\n")}, "kv: No token. Tried: one; two"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("rule: a message is one line with all parts; got %q, want %q", got, c.want)
		}
	}
	if err := (&kv.Error{Err: cause}); !errors.Is(err, cause) {
		t.Error("rule: the cause itself stays as it is")
	}
}
