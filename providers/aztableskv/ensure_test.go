package aztableskv

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/skykv/skykv/internal/testing/emulator"
	"github.com/skykv/skykv/internal/trust"
	"github.com/skykv/skykv/kv"
)

// The rule: EnsureWith creates the table and its layout record. It does not change an
// existing table or record, and refuses a different number of shards.
func TestEnsureWith(t *testing.T) {
	t.Parallel()
	client := azurite(t)
	table := newTableName()
	opts := &Options{Shards: 4}
	if err := EnsureWith(t.Context(), client, table, opts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.DeleteTable(context.Background(), table, nil) })
	if _, err := client.NewClient(table).GetEntity(t.Context(), layoutPartition, layoutRow, nil); err != nil {
		t.Errorf("the layout record: %v", err)
	}
	s, err := New(t.Context(), client, table, opts)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), "a", []byte("1")); err != nil {
		t.Fatal(err)
	}
	if err := EnsureWith(t.Context(), client, table, opts); err != nil {
		t.Errorf("the second time: %v", err)
	}
	if e, err := s.Get(t.Context(), "a"); err != nil || string(e.Value) != "1" {
		t.Errorf("after EnsureWith the entry is %q, %v", e.Value, err)
	}
	if err := EnsureWith(t.Context(), client, table, nil); !errors.Is(err, kv.ErrIncompatible) || !strings.Contains(err.Error(), "has 4 shards and was opened with 16") {
		t.Errorf("with another number of shards: %v; want ErrIncompatible with both numbers", err)
	}
}

// The rule: EnsureWith does not try to create anything that exists. So if the table exists,
// EnsureWith needs no permission to create tables.
func TestEnsureWithRequests(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		table string // the name of the existing table, if there is one
		want  []string
	}{
		{"no table", "", []string{"GET list", "POST table", "GET list", "GET list", "POST entity"}},
		{"no layout record", "kv1", []string{"GET list", "GET list", "POST entity"}},
	} {
		f := newFake(t, test.table)
		if err := EnsureWith(t.Context(), f.client(), "kv1", &Options{Retry: quick}); err != nil || f.table != "kv1" {
			t.Errorf("%s: %v", test.name, err)
		}
		if got := f.take(); !slices.Equal(got, test.want) {
			t.Errorf("%s: the requests are %q, want %q", test.name, got, test.want)
		}
		if err := EnsureWith(t.Context(), f.client(), "kv1", nil); err != nil {
			t.Errorf("%s, the second time: %v", test.name, err)
		}
		if got := f.take(); !slices.Equal(got, []string{"GET list"}) {
			t.Errorf("%s, the second time: the requests are %q; want one read", test.name, got)
		}
	}
}

// The rule: if the table cannot be created, EnsureWith returns ErrUnavailable while an earlier
// table is being deleted, and ErrPermission if the permission is missing.
func TestEnsureWithFails(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		fault fault
		want  error
	}{
		{fault{status: 409, code: "TableBeingDeleted"}, kv.ErrUnavailable},
		{fault{status: 403, code: "AuthorizationPermissionMismatch"}, kv.ErrPermission},
	} {
		f := newFake(t, "")
		f.setFault(func(r *http.Request) fault {
			if r.Method == "POST" {
				return test.fault
			}
			return fault{}
		})
		err := EnsureWith(t.Context(), f.client(), "kv1", nil)
		if !errors.Is(err, test.want) || errors.Is(err, kv.ErrNotProvisioned) || !strings.HasPrefix(err.Error(), "kv: ensure on aztables:") {
			t.Errorf("%s: %v; want %v", test.fault.code, err, test.want)
		}
	}
}

// The rule: Ensure does the same as EnsureWith, by URL.
func TestEnsure(t *testing.T) {
	clearEnvironment(t)
	endpoint := emulator.AzureTables(t)
	table := newTableName()
	url := "aztables://" + emulator.AzureAccount + "/" + table + "?shards=3&endpoint=" + endpoint
	for range 2 {
		if err := Ensure(t.Context(), url); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { azurite(t).DeleteTable(context.Background(), table, nil) })
	s, err := Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := Ensure(t.Context(), strings.Replace(url, "shards=3", "shards=5", 1)); !errors.Is(err, kv.ErrIncompatible) {
		t.Errorf("with another number of shards: %v; want ErrIncompatible", err)
	}
	if err := Ensure(t.Context(), "aztables://account/a-b"); !errors.Is(err, kv.ErrInvalidOption) {
		t.Errorf("a malformed URL: %v; want ErrInvalidOption", err)
	}
}

// clearEnvironment removes the credentials and the trusted hosts from the environment.
func clearEnvironment(t *testing.T) {
	t.Helper()
	for _, name := range []string{envConnectionString, envKey, envSAS, trust.EnvHosts} {
		t.Setenv(name, "")
	}
}

// trusting puts a connection string into the environment, with the endpoint and a key of the
// account "account". A store may then send the key to the endpoint.
func trusting(t *testing.T, endpoint string) {
	t.Helper()
	clearEnvironment(t)
	t.Setenv(envConnectionString, "AccountName=account;AccountKey="+someKey+";TableEndpoint="+endpoint)
}
