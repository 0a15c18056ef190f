package kv_test

import (
	"errors"
	"strings"
	"testing"

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
			t.Errorf("rule: a value that is not JSON of the type is ErrInvalidValue; %s gave %v", key, err)
			continue
		}
		for ; err != nil; err = unwrapFirst(err) {
			if strings.Contains(err.Error(), "4711") {
				t.Errorf("rule: no message holds a value; %s gave %q", key, err)
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
		t.Errorf("rule: a scan names a value that is not JSON and goes on past it; %d good, %d bad", good, bad)
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
		t.Errorf("rule: Next continues past a value that is not JSON; got %v, %v", page.Entries, err)
	}
	keys, err := users.ScanPage(t.Context(), "u:", 10, "", kv.KeysOnly())
	if err != nil || len(keys.Entries) != 4 || keys.Next != "" {
		t.Errorf("rule: a keys-only page looks at no value; got %v, %v", keys, err)
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
			t.Errorf("rule: an ErrInvalidValue names the type that the value is not of, %s; got %v", want, err)
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
