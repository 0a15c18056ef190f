package conformance

import (
	"errors"
	"strings"
	"time"

	"github.com/skykv/skykv/kv"
)

func errorCases() []testCase {
	return []testCase{
		rule("errors/described",
			"An error is a *kv.Error with the operation, the provider and the key, and its message names the key.",
			func(t *trial) {
				v := t.put("key", "value")
				t.put("key", "value")
				_, err := t.Get(t.ctx, "no-such-key")
				t.wantError("Get", err, kv.ErrNotFound)
				t.wantDescribed("Get", err, "no-such-key")
				_, err = t.Put(t.ctx, "key", nil, kv.IfNotExists())
				t.wantDescribed("Put with IfNotExists", err, "key")
				_, err = t.Put(t.ctx, "key", nil, kv.IfVersion(v))
				t.wantDescribed("Put with IfVersion", err, "key")
				t.wantDescribed("Delete with IfVersion", t.Delete(t.ctx, "key", kv.IfVersion(v)), "key")
				_, err = t.Put(t.ctx, "key", nil, kv.TTL(-1))
				t.wantDescribed("Put with a negative TTL", err, "key")
				_, err = t.ScanPage(t.ctx, "prefix", 1, "damaged")
				t.wantDescribed("ScanPage with a damaged cursor", err, "prefix")
			}),
		rule("errors/one-meaning",
			"An error matches exactly one sentinel.",
			func(t *trial) {
				sentinels := []error{
					kv.ErrNotFound, kv.ErrConditionFailed, kv.ErrInvalidKey, kv.ErrValueTooLarge, kv.ErrInvalidOption, kv.ErrInvalidCursor,
					kv.ErrInvalidVersion, kv.ErrInvalidValue, kv.ErrUnsupported, kv.ErrNotProvisioned, kv.ErrIncompatible, kv.ErrPermission,
					kv.ErrThrottled, kv.ErrUnavailable, kv.ErrIndeterminate, kv.ErrClosed,
				}
				t.put("key", "value")
				for want, call := range map[error]func() error{
					kv.ErrNotFound:        func() error { _, err := t.Get(t.ctx, "absent"); return err },
					kv.ErrConditionFailed: func() error { _, err := t.Put(t.ctx, "key", nil, kv.IfNotExists()); return err },
					kv.ErrInvalidKey:      func() error { _, err := t.Get(t.ctx, "no key"); return err },
					kv.ErrValueTooLarge:   func() error { _, err := t.Put(t.ctx, "key", make([]byte, kv.MaxValueLen+1)); return err },
					kv.ErrInvalidOption:   func() error { _, err := t.Put(t.ctx, "key", nil, kv.TTL(0)); return err },
					kv.ErrInvalidCursor:   func() error { _, err := t.ScanPage(t.ctx, "", 1, "damaged"); return err },
					kv.ErrInvalidVersion:  func() error { return t.Delete(t.ctx, "key", kv.IfVersion(kv.Version{})) },
				} {
					err := call()
					for _, sentinel := range sentinels {
						if errors.Is(err, sentinel) != (sentinel == want) {
							t.Errorf("the error %v matches %q: %v", err, sentinel, errors.Is(err, sentinel))
						}
					}
				}
			}),
		rule("errors/no-value-in-them",
			"No message contains a value, not even the message of a wrapped error.",
			func(t *trial) {
				value := []byte(secret)
				v := t.put("key", secret)
				t.put("key", secret)
				long := []byte(strings.Repeat(secret, kv.MaxValueLen/len(secret)+1))
				for what, call := range map[string]func() error{
					"Put with IfNotExists":      func() error { _, err := t.Put(t.ctx, "key", value, kv.IfNotExists()); return err },
					"Put with IfVersion":        func() error { _, err := t.Put(t.ctx, "key", value, kv.IfVersion(v)); return err },
					"Put of an invalid key":     func() error { _, err := t.Put(t.ctx, "no key", value); return err },
					"Put of a value too long":   func() error { _, err := t.Put(t.ctx, "key", long); return err },
					"Put with an invalid TTL":   func() error { _, err := t.Put(t.ctx, "key", value, kv.TTL(-1)); return err },
					"Put with the zero version": func() error { _, err := t.Put(t.ctx, "key", value, kv.IfVersion(kv.Version{})); return err },
					"Delete with IfVersion":     func() error { return t.Delete(t.ctx, "key", kv.IfVersion(v)) },
					"PutMany of a bad key": func() error {
						_, err := t.PutMany(t.ctx, []kv.Item{{Key: "key", Value: value}, {Key: "no key", Value: value}})
						return err
					},
					"PutMany of a long value": func() error { _, err := t.PutMany(t.ctx, []kv.Item{{Key: "key", Value: long}}); return err },
				} {
					err := call()
					if err == nil {
						t.Errorf("%s: no error", what)
					}
					t.wantNoSecret(what, err)
				}
			}),
		rule("errors/nothing-beside-them",
			"A call that returns an error returns the zero result: no entry, no version, not true.",
			func(t *trial) {
				t.put("key", "old", kv.TTL(time.Second))
				t.clock.advance(time.Second)
				for _, key := range []string{"absent", "key", "no key"} {
					if e, err := t.Get(t.ctx, key); err == nil || e.Key != "" || e.Value != nil || !e.Version.IsZero() || !e.ExpiresAt.IsZero() {
						t.Errorf("Get(%q) = %+v, %v; want the zero Entry and an error", key, e, err)
					}
				}
				if ok, err := t.Exists(t.ctx, "no key"); ok || err == nil {
					t.Errorf("Exists of an invalid key = %v, %v; want false and an error", ok, err)
				}
			}),
	}
}

// wantDescribed checks that err is a *kv.Error that names the key.
func (t *trial) wantDescribed(what string, err error, key string) {
	e, ok := errors.AsType[*kv.Error](err)
	if !ok {
		t.Errorf("%s: the error %v is not a *kv.Error", what, err)
		return
	}
	if e.Op == "" || e.Provider != t.Info().Name || e.Key != key {
		t.Errorf("%s: the error has Op %q, Provider %q, Key %q; want the operation, %q and %q", what, e.Op, e.Provider, e.Key, t.Info().Name, key)
	}
	if key != "" && !strings.Contains(err.Error(), key) {
		t.Errorf("%s: the message %q does not name the key %q", what, err, key)
	}
}
