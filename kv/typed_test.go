package kv_test

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

type user struct {
	Name   string
	Logins int
}

func TestJSONSaysNothingOfValues(t *testing.T) {
	t.Parallel()
	const secret = "hunter2-4711"
	store := memkv.New()
	users := kv.JSON[user](store)
	for key, value := range map[string]string{
		"syntax": secret,
		"type":   `{"Logins":"` + secret + `"}`,
		"number": `{"Name":4711}`,
	} {
		if _, err := store.Put(t.Context(), "u:"+key, []byte(value)); err != nil {
			t.Fatal(err)
		}
		_, err := users.Get(t.Context(), "u:"+key)
		if !errors.Is(err, kv.ErrInvalidValue) {
			t.Errorf("rule: a value that is not JSON of the type is ErrInvalidValue; %s returned %v", key, err)
			continue
		}
		for ; err != nil; err = unwrapFirst(err) {
			if strings.Contains(err.Error(), "4711") {
				t.Errorf("rule: no message holds a value; %s returned %q", key, err)
			}
		}
	}
	if _, err := users.Put(t.Context(), "u:good", user{"Ann", 3}); err != nil {
		t.Fatal(err)
	}
	var good, bad int
	for e, err := range users.Scan(t.Context(), "u:") {
		switch {
		case err == nil && e.Value == user{"Ann", 3}:
			good++
		case errors.Is(err, kv.ErrInvalidValue) && e.Key != "":
			bad++
		}
	}
	if good != 1 || bad != 3 {
		t.Errorf("rule: a scan names a value that is not JSON and goes on after it; %d good, %d bad", good, bad)
	}
	entries, err := users.GetMany(t.Context(), []string{"u:good", "u:syntax", "u:absent"})
	if len(entries) != 1 || !errors.Is(err, kv.ErrInvalidValue) {
		t.Errorf("rule: a batch holds what could be decoded; got %v, %v", entries, err)
	}
	page, err := users.ScanPage(t.Context(), "u:", 10, "")
	if len(page.Entries) != 1 || !errors.Is(err, kv.ErrInvalidValue) {
		t.Fatalf("rule: a page ends at a value that is not JSON; got %v, %v", page.Entries, err)
	}
	if page, err = users.ScanPage(t.Context(), "u:", 10, page.Next); !errors.Is(err, kv.ErrInvalidValue) || !strings.Contains(err.Error(), "u:syntax") {
		t.Errorf("rule: Next continues after a value that is not JSON; got %v, %v", page.Entries, err)
	}
	keys, err := users.ScanPage(t.Context(), "u:", 10, "", kv.KeysOnly())
	if err != nil || len(keys.Entries) != 4 || keys.Next != "" {
		t.Errorf("rule: a keys-only page decodes no value; got %v, %v", keys, err)
	}
}

func TestJSONNamesItsType(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	if _, err := store.Put(t.Context(), "k", []byte("no JSON")); err != nil {
		t.Fatal(err)
	}
	for want, get := range map[string]func() error{
		"interface {}": func() error { _, err := kv.JSON[any](store).Get(t.Context(), "k"); return err },
		"kv_test.user": func() error { _, err := kv.JSON[user](store).Get(t.Context(), "k"); return err },
	} {
		if err := get(); err == nil || !strings.HasSuffix(err.Error(), "cannot be decoded as "+want) {
			t.Errorf("rule: an ErrInvalidValue names the wanted type, %s; got %v", want, err)
		}
	}
}

func TestJSONRefusesWhatCannotBeEncoded(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	_, err := kv.JSON[chan int](store).Put(t.Context(), "k", nil)
	if exists, _ := store.Exists(t.Context(), "k"); !errors.Is(err, kv.ErrInvalidValue) || exists {
		t.Errorf("rule: a value that cannot be encoded is ErrInvalidValue and writes nothing; got %v", err)
	}
}

func unwrapFirst(err error) error {
	if errs, ok := err.(interface{ Unwrap() []error }); ok {
		return errs.Unwrap()[len(errs.Unwrap())-1]
	}
	return errors.Unwrap(err)
}

// The Update of a typed view returns the entry as it is after the change. It changes nothing
// if it cannot decode the old value.
func TestTypedUpdate(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	users := kv.JSON[user](store)
	login := func(old kv.EntryOf[user], exists bool) (kv.ChangeOf[user], error) {
		if !exists {
			old.Value.Name = "Ann"
		}
		old.Value.Logins++
		return kv.ChangeOf[user]{Value: old.Value, TTL: time.Hour}, nil
	}
	var last kv.EntryOf[user]
	for n := 1; n <= 3; n++ {
		e, err := users.Update(t.Context(), "u", login)
		if err != nil || e.Key != "u" || e.Value != (user{"Ann", n}) || e.Version == last.Version || time.Until(e.ExpiresAt) < 59*time.Minute {
			t.Fatalf("rule: Update returns the value that it stored, with its version and expiry; update %d returned %+v, %v", n, e, err)
		}
		last = e
	}
	for name, change := range map[string]kv.ChangeOf[user]{"Leave": {Leave: true, Value: user{"Bob", 9}}, "Persist": {Value: user{"Ann", 3}, Persist: true}} {
		e, err := users.Update(t.Context(), "u", func(kv.EntryOf[user], bool) (kv.ChangeOf[user], error) { return change, nil })
		if err != nil || e.Value != (user{"Ann", 3}) || e.ExpiresAt.IsZero() != change.Persist && name == "Persist" {
			t.Errorf("rule: an update with %s returns the entry as it is; got %+v, %v", name, e, err)
		}
	}
	if got, err := users.Get(t.Context(), "u"); err != nil || got.Value != (user{"Ann", 3}) {
		t.Errorf("rule: Update returns the stored entry; got %+v, %v", got, err)
	}
	if e, err := users.Update(t.Context(), "u", func(kv.EntryOf[user], bool) (kv.ChangeOf[user], error) { return kv.ChangeOf[user]{Delete: true}, nil }); err != nil || e != (kv.EntryOf[user]{Key: "u"}) {
		t.Errorf("rule: an update that deletes returns no entry; got %+v, %v", e, err)
	}
	mine := errors.New("mine")
	if _, err := users.Update(t.Context(), "u", func(kv.EntryOf[user], bool) (kv.ChangeOf[user], error) { return kv.ChangeOf[user]{}, mine }); err != mine {
		t.Errorf("rule: Update returns the function's error as it is; got %v", err)
	}
	if _, err := users.Update(t.Context(), "u", nil); !errors.Is(err, kv.ErrInvalidOption) {
		t.Errorf("rule: an update without a function is ErrInvalidOption; got %v", err)
	}
	if _, err := store.Put(t.Context(), "bad", []byte("no JSON")); err != nil {
		t.Fatal(err)
	}
	if _, err := users.Update(t.Context(), "bad", login); !errors.Is(err, kv.ErrInvalidValue) {
		t.Errorf("rule: an update of a value that cannot be decoded is ErrInvalidValue; got %v", err)
	}
	if e, err := store.Get(t.Context(), "bad"); string(e.Value) != "no JSON" || err != nil {
		t.Errorf("rule: an update of a value that cannot be decoded changes nothing; the entry is %q, %v", e.Value, err)
	}
}

// The function of an update may modify the entry that it receives, also if it then leaves the
// entry as it is.
func TestTypedUpdateLeaves(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	lists := kv.JSON[[]string](store)
	if _, err := lists.Put(t.Context(), "l", []string{"a"}); err != nil {
		t.Fatal(err)
	}
	e, err := lists.Update(t.Context(), "l", func(old kv.EntryOf[[]string], _ bool) (kv.ChangeOf[[]string], error) {
		old.Value[0] = "b"
		return kv.ChangeOf[[]string]{Leave: true}, nil
	})
	stored, getErr := lists.Get(t.Context(), "l")
	if err != nil || getErr != nil || !reflect.DeepEqual(e, stored) {
		t.Errorf("rule: Update returns the entry as it is after the change; it returns %+v, %v, and Get %+v, %v", e, err, stored, getErr)
	}
}

func TestTypedGetAndDelete(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	users := kv.JSON[user](store)
	if _, err := users.Put(t.Context(), "u", user{"Ann", 1}); err != nil {
		t.Fatal(err)
	}
	if e, err := users.GetAndDelete(t.Context(), "u"); err != nil || e.Value != (user{"Ann", 1}) || e.Version.IsZero() {
		t.Errorf("rule: GetAndDelete returns the deleted entry; got %+v, %v", e, err)
	}
	if e, err := users.GetAndDelete(t.Context(), "u"); !errors.Is(err, kv.ErrNotFound) || e != (kv.EntryOf[user]{}) {
		t.Errorf("rule: GetAndDelete of an absent key is ErrNotFound; got %+v, %v", e, err)
	}
	if _, err := store.Put(t.Context(), "bad", []byte("no JSON")); err != nil {
		t.Fatal(err)
	}
	if _, err := users.GetAndDelete(t.Context(), "bad"); !errors.Is(err, kv.ErrInvalidValue) {
		t.Errorf("rule: a value that cannot be decoded is ErrInvalidValue; got %v", err)
	}
	if ok, err := store.Exists(t.Context(), "bad"); ok || err != nil {
		t.Errorf("rule: an entry whose value cannot be decoded is deleted; it exists: %v, %v", ok, err)
	}
}

func TestTypedAtomicWrite(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	users, numbers := kv.JSON[user](store), kv.JSON[float64](store)
	versions, err := users.AtomicWrite(t.Context(), users.PutOp("g::ann", user{"Ann", 1}, kv.IfNotExists()), numbers.PutOp("g::count", 1))
	if err != nil || len(versions) != 2 {
		t.Fatalf("rule: one write may have the operations of several views; got %v, %v", versions, err)
	}
	if e, err := users.Get(t.Context(), "g::ann"); err != nil || e.Value != (user{"Ann", 1}) || e.Version != versions[0] {
		t.Errorf("rule: a PutOp stores the encoded value; got %+v, %v", e, err)
	}
	_, err = users.AtomicWrite(t.Context(), users.PutOp("g::ann", user{"Ann", 2}), numbers.PutOp("g::count", math.NaN()))
	if e, ok := errors.AsType[*kv.Error](err); !ok || !errors.Is(err, kv.ErrInvalidValue) || e.Key != "g::count" {
		t.Errorf("rule: a value that cannot be encoded is ErrInvalidValue, with its key; got %v", err)
	}
	if e, err := users.Get(t.Context(), "g::ann"); err != nil || e.Version != versions[0] {
		t.Errorf("rule: a value that cannot be encoded makes the whole write fail; got %+v, %v", e, err)
	}
}
