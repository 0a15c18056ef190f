package conformance

import (
	"errors"
	"strings"
	"time"

	"github.com/skykv/skykv/kv"
)

// want describes the entry that a read must return. A zero version is not compared.
type want struct {
	value     string
	version   kv.Version
	expiresAt time.Time
}

// wantEntry compares an entry with w. The argument how names the operation that returned the entry.
func (t *trial) wantEntry(how string, e kv.Entry, key string, w want) {
	if e.Key != key {
		t.Errorf("%s: the entry's key is %s; want %s", how, short(e.Key), short(key))
	}
	if e.Value == nil {
		t.Errorf("%s of %s: the value is nil; want %s", how, short(key), short(w.value))
	} else if string(e.Value) != w.value {
		t.Errorf("%s of %s: the value is %s; want %s", how, short(key), short(string(e.Value)), short(w.value))
	}
	t.wantMeta(how, e, key, w)
}

// wantMeta compares only the version and the expiry of an entry.
func (t *trial) wantMeta(how string, e kv.Entry, key string, w want) {
	if e.Version.IsZero() {
		t.Errorf("%s of %s: the version is empty", how, short(key))
	} else if !w.version.IsZero() && e.Version != w.version {
		t.Errorf("%s of %s: the version is not the version of the last write", how, short(key))
	}
	if w.expiresAt.IsZero() != e.ExpiresAt.IsZero() || !e.ExpiresAt.Equal(w.expiresAt) {
		t.Errorf("%s of %s: it expires at %s; want %s", how, short(key), instant(e.ExpiresAt), instant(w.expiresAt))
	}
}

// wantLive checks that Get, Exists, GetMany, Scan and ScanPage find the entry of key, as w
// describes.
func (t *trial) wantLive(key string, w want) {
	if e, err := t.Get(t.ctx, key); err != nil {
		t.Errorf("Get(%s): %v", short(key), err)
	} else {
		t.wantEntry("Get", e, key, w)
	}
	if ok, err := t.Exists(t.ctx, key); err != nil || !ok {
		t.Errorf("Exists(%s) = %v, %v; want true", short(key), ok, err)
	}
	if e, ok := t.getMany(key)[key]; !ok {
		t.Errorf("GetMany of %s: the entry is missing", short(key))
	} else {
		t.wantEntry("GetMany", e, key, w)
	}
	if entries := t.scan(key, kv.Limit(1)); len(entries) == 0 {
		t.Errorf("Scan of %s: the entry is missing", short(key))
	} else {
		t.wantEntry("Scan", entries[0], key, w)
	}
	if page := t.page(key, 1, "", kv.KeysOnly()); len(page.Entries) == 0 || page.Entries[0].Key != key {
		t.Errorf("ScanPage of %s: the entry is missing", short(key))
	} else {
		t.wantMeta("ScanPage", page.Entries[0], key, w)
	}
}

// wantGone checks that Get, Exists, GetMany, Scan and ScanPage find no entry under key.
func (t *trial) wantGone(key string) {
	if _, err := t.Get(t.ctx, key); !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("Get(%s): %v; want ErrNotFound", short(key), err)
	}
	if ok, err := t.Exists(t.ctx, key); err != nil || ok {
		t.Errorf("Exists(%s) = %v, %v; want false", short(key), ok, err)
	}
	if _, ok := t.getMany(key)[key]; ok {
		t.Errorf("GetMany of %s: there is an entry", short(key))
	}
	if entries := t.scan(key, kv.Limit(1)); len(entries) > 0 && entries[0].Key == key {
		t.Errorf("Scan of %s: there is an entry", short(key))
	}
	if page := t.page(key, 1, "", kv.KeysOnly()); len(page.Entries) > 0 && page.Entries[0].Key == key {
		t.Errorf("ScanPage of %s: there is an entry", short(key))
	}
}

// wantValue checks the value of key by one Get.
func (t *trial) wantValue(key, value string) {
	e, err := t.Get(t.ctx, key)
	switch {
	case err != nil:
		t.Errorf("Get(%s): %v", short(key), err)
	case string(e.Value) != value:
		t.Errorf("Get(%s): the value is %s; want %s", short(key), short(string(e.Value)), short(value))
	}
}

// wantAbsent checks by one Get that key has no entry.
func (t *trial) wantAbsent(key string) {
	if _, err := t.Get(t.ctx, key); !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("Get(%s): %v; want ErrNotFound", short(key), err)
	}
}

// wantKeys checks that entries have exactly these keys, in this order.
func (t *trial) wantKeys(how string, entries []kv.Entry, keys []string) {
	for i, e := range entries {
		if i == len(keys) {
			t.Errorf("%s: %d entries; want %d: %s is unexpected", how, len(entries), len(keys), short(e.Key))
			return
		}
		if e.Key != keys[i] {
			t.Errorf("%s: entry %d of %d is %s; want %s", how, i, len(entries), short(e.Key), short(keys[i]))
			return
		}
	}
	if len(entries) < len(keys) {
		t.Errorf("%s: %d entries; want %d: %s is missing", how, len(entries), len(keys), short(keys[len(entries)]))
	}
}

// wantContent scans the store, and checks that it has these keys and no others.
func (t *trial) wantContent(keys ...string) {
	t.wantKeys("Scan of everything", t.scan("", kv.KeysOnly()), keys)
}

// wantError checks that err matches target, and that err does not match ErrIndeterminate,
// unless that is the target. The argument what names the call in the failure.
func (t *trial) wantError(what string, err, target error) {
	switch {
	case !errors.Is(err, target):
		t.Errorf("%s: the error is %v; want one that matches %q", what, err, target)
	case target != kv.ErrIndeterminate && errors.Is(err, kv.ErrIndeterminate):
		t.Errorf("%s: the error %v also matches ErrIndeterminate", what, err)
	}
}

// wantRefused checks that call returns an error that matches target, and that call does not
// reach the driver.
func (t *trial) wantRefused(what string, target error, call func() error) {
	before := t.driver.calls.Load()
	err := call()
	t.wantError(what, err, target)
	if t.driver.calls.Load() != before {
		t.Errorf("%s: the call reached the driver, though it could be refused before any I/O", what)
	}
}

// scanError runs a scan that must yield one error and nothing else.
func (t *trial) scanError(prefix string, opts ...kv.ScanOption) error {
	var first error
	n := 0
	for e, err := range t.Scan(t.ctx, prefix, opts...) {
		n++
		if err == nil {
			t.Errorf("Scan(%s) yields an entry, %s", short(prefix), short(e.Key))
			continue
		}
		if e.Key != "" {
			t.Errorf("Scan(%s): the error that ends it comes with an entry, %s", short(prefix), short(e.Key))
		}
		first = err
	}
	if n > 1 {
		t.Errorf("Scan(%s) yields %d times; want only the error", short(prefix), n)
	}
	return first
}

// secret is part of some values. No error message may contain it.
const secret = "secret-value"

// wantNoSecret checks that the message of err, and of every error that it wraps, does not
// contain the secret.
func (t *trial) wantNoSecret(what string, err error) {
	if err == nil {
		return
	}
	if strings.Contains(err.Error(), secret) {
		t.Errorf("%s: the message %q holds the value", what, err)
	}
	switch err := err.(type) {
	case interface{ Unwrap() error }:
		t.wantNoSecret(what, err.Unwrap())
	case interface{ Unwrap() []error }:
		for _, wrapped := range err.Unwrap() {
			t.wantNoSecret(what, wrapped)
		}
	}
}

func only(t *trial, entries []kv.Entry) kv.Entry {
	if len(entries) != 1 {
		t.Fatalf("%d entries; want 1", len(entries))
	}
	return entries[0]
}
