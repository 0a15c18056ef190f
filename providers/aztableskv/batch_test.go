package aztableskv

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/kv"
)

// putting and deleting are writes as the store makes them.
func putting(key string, cond kv.Condition) kv.Write {
	return kv.Write{Kind: kv.KindPut, Record: kv.Record{Key: key, Value: []byte("v"), Token: token}, Condition: cond}
}

func deleting(key string, cond kv.Condition) kv.Write {
	return kv.Write{Kind: kv.KindDelete, Record: kv.Record{Key: key, Token: token}, Condition: cond}
}

// The rule: deleting absent keys is no error, in any number and mixture, though
// each makes its transaction fail; and it takes fewer requests than keys where
// few are absent.
func TestDeleteManyAbsent(t *testing.T) {
	t.Parallel()
	items := sameShard(300, []byte("v"))
	keys := keysOf(items)
	for _, test := range []struct {
		name   string
		absent func(i int) bool
		most   int // requests
	}{
		{"none", func(int) bool { return false }, 3},
		{"the first", func(i int) bool { return i == 0 }, 4},
		{"the sixth", func(i int) bool { return i == 5 }, 5},
		{"two near the front", func(i int) bool { return i == 2 || i == 7 }, 7},
		{"the first three", func(i int) bool { return i < 3 }, 103},
		{"the last", func(i int) bool { return i == 299 }, 4},
		{"one in the middle", func(i int) bool { return i == 150 }, 5},
		{"every twentieth", func(i int) bool { return i%20 == 10 }, 33},
		{"every second", func(i int) bool { return i%2 == 0 }, 303},
		{"all", func(int) bool { return true }, 303},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, "kv1")
			s := f.store(nil)
			var there []kv.Item
			for i, item := range items {
				if !test.absent(i) {
					there = append(there, item)
				}
			}
			if err := s.PutMany(t.Context(), there); err != nil {
				t.Fatal(err)
			}
			if got, want := len(f.take()), (len(there)+99)/100; got != want {
				t.Errorf("putting %d items makes %d requests; want %d", len(there), got, want)
			}
			if err := s.DeleteMany(t.Context(), keys); err != nil {
				t.Fatal(err)
			}
			if got := len(f.take()); got > test.most {
				t.Errorf("deleting 300 keys makes %d requests; want %d at most", got, test.most)
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			if n := len(f.entities); n != 1 {
				t.Errorf("%d entities are left; want the layout record alone", n)
			}
		})
	}
}

// The rule: a write that the service refuses fails alone, with the service's
// code in its error; the others of its transaction are written.
func TestFailedTransactionIsSplit(t *testing.T) {
	t.Parallel()
	items := sameShard(250, []byte(secretValue))
	for _, bad := range [][]int{{0}, {7}, {8}, {99}, {120}, {249}, {30, 31, 130}, {9, 19, 29, 39, 49, 59}} {
		for _, index := range []bool{true, false} {
			t.Run(fmt.Sprint(bad, index), func(t *testing.T) {
				t.Parallel()
				f := newFake(t, "kv1")
				s := f.store(nil)
				f.refused = make(map[string]*failure)
				for _, i := range bad {
					f.refused[items[i].Key] = &failure{400, "EntityTooLarge", "text with " + secretValue}
				}
				f.noIndex = !index
				err := s.PutMany(t.Context(), items)
				batch, ok := errors.AsType[*kv.BatchError](err)
				if !ok {
					t.Fatalf("%v; want a *BatchError", err)
				}
				want := make(map[string]bool)
				for _, i := range bad {
					want[items[i].Key] = true
				}
				for key, err := range batch.Failed {
					answer, ok := errors.AsType[*azcore.ResponseError](err)
					switch {
					case !want[key]:
						t.Errorf("%s failed with %v; only %v are refused", key, err, bad)
					case !ok || answer.ErrorCode != "EntityTooLarge" || answer.StatusCode != 400:
						t.Errorf("%s failed with %v; want the service's code", key, err)
					case errors.Is(err, kv.ErrIndeterminate):
						t.Errorf("%s is indeterminate: %v; the service refused it", key, err)
					}
					shows(t, err, secretValue)
				}
				if len(batch.Failed) != len(bad) {
					t.Errorf("%d keys failed, want %d", len(batch.Failed), len(bad))
				}
				for _, item := range items {
					if got := f.has("03", item.Key); got == want[item.Key] {
						t.Errorf("entity %s is there: %t", item.Key, got)
					}
				}
			})
		}
	}
}

// The rule: a transaction that the service turns away inside of its answer, with
// status 202 and no error code, is repeated; and fails as a whole in the end.
func TestThrottledTransaction(t *testing.T) {
	t.Parallel()
	items := sameShard(50, []byte("v"))
	for _, test := range []struct {
		fault         fault
		kind          error
		indeterminate bool
	}{
		{fault{status: 503, code: "ServerBusy"}, kv.ErrThrottled, false},
		{fault{status: 500, code: "OperationTimedOut"}, kv.ErrUnavailable, true},
		{fault{status: 404, code: "TableNotFound"}, kv.ErrNotProvisioned, false},
		{fault{status: 403, code: "AuthorizationPermissionMismatch"}, kv.ErrPermission, false},
	} {
		f := newFake(t, "kv1")
		s := f.store(nil)
		f.setFault(func(r *http.Request) fault { return test.fault })
		err := s.PutMany(t.Context(), items)
		batch, ok := errors.AsType[*kv.BatchError](err)
		if !ok || len(batch.Failed) != len(items) {
			t.Fatalf("%s: %v; want a *BatchError of all keys", test.fault.code, err)
		}
		for _, err := range batch.Failed {
			if !errors.Is(err, test.kind) || errors.Is(err, kv.ErrIndeterminate) != test.indeterminate {
				t.Errorf("%s: %v; want %v, ErrIndeterminate: %t", test.fault.code, err, test.kind, test.indeterminate)
			}
		}
		want := 1
		if test.fault.status >= 500 {
			want = 4
		}
		if got := f.take(); len(got) != want || slices.ContainsFunc(got, func(r string) bool { return r != "POST batch" }) {
			t.Errorf("%s: the requests are %q; want the transaction %d times", test.fault.code, got, want)
		}
		n := 0
		f.setFault(func(r *http.Request) fault {
			if n++; n < 4 {
				return test.fault
			}
			return fault{}
		})
		if err := s.PutMany(t.Context(), items); test.fault.status >= 500 && err != nil {
			t.Errorf("%s, passing: %v", test.fault.code, err)
		}
	}
}

// The rule: an answer to a transaction that cannot be read leaves its fate open.
func TestUnreadableTransaction(t *testing.T) {
	t.Parallel()
	// The last is an answer that was cut off within its first line.
	for _, text := range []string{"garbage\r\n", "", "--batchresponse_1"} {
		f := newFake(t, "kv1")
		s := f.store(nil)
		f.setFault(func(r *http.Request) fault { return fault{status: 202, plain: true, text: text} })
		err := s.PutMany(t.Context(), sameShard(3, nil))
		if !errors.Is(err, kv.ErrIndeterminate) {
			t.Errorf("answer %q: %v; want ErrIndeterminate", text, err)
		}
	}
}

// The rule: a transaction that the service refuses as such, with a JSON body under
// status 202, is made write by write.
func TestRefusedTransaction(t *testing.T) {
	t.Parallel()
	f := newFake(t, "kv1")
	s := f.store(nil)
	f.setFault(func(r *http.Request) fault {
		if r.URL.Path == "/$batch" {
			return fault{status: 202, plain: true, text: `{"odata.error":{"code":"InvalidInput","message":{"value":"bad"}}}`}
		}
		return fault{}
	})
	items := sameShard(3, nil)
	if err := s.PutMany(t.Context(), items); err != nil {
		t.Error(err)
	}
	if got, want := f.take(), []string{"POST batch", "PUT entity", "PUT entity", "PUT entity"}; !slices.Equal(got, want) {
		t.Errorf("the requests are %q, want %q", got, want)
	}
}

// The rule: a transaction of the longest keys and values, through a SAS, stays
// below the service's 4 MiB, so that none need be split for its size.
func TestLargestTransactionFits(t *testing.T) {
	t.Parallel()
	var items []kv.Item
	for i := 0; len(items) < maxTransaction; i++ {
		key := fmt.Sprintf("%s%06d", strings.Repeat("k", kv.MaxKeyLen-6), i)
		if kv.Shard(key, DefaultShards) == 3 {
			items = append(items, kv.Item{Key: key, Value: bytes.Repeat([]byte{0xff}, kv.MaxValueLen)})
		}
	}
	f := newFake(t, "kv1")
	f.store(nil)
	client, err := aztables.NewServiceClientWithNoCredential("http://account.example/?"+
		"sv=2019-02-02&ss=t&srt=sco&sp=rwdlacu&se=2030-01-01T00%3A00%3A00Z&st=2020-01-01T00%3A00%3A00Z&spr=https&si="+strings.Repeat("p", 64)+"&sig="+strings.Repeat("s", 60),
		&aztables.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: f}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(t.Context(), client, "kv1", nil)
	if err != nil {
		t.Fatal(err)
	}
	f.take()
	if err := s.PutMany(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	if got := f.take(); len(got) != 1 {
		t.Errorf("the requests are %q; want one transaction", got)
	}
	if f.largest > 4<<20 || f.largest < 3<<20 {
		t.Errorf("the transaction has %d bytes; allowed are %d", f.largest, 4<<20)
	}
}

// The rule: a batch of any size over all shards is written as a whole, each
// transaction in one partition, and puts and deletions of one batch do not meet.
func TestManyShards(t *testing.T) {
	t.Parallel()
	f := newFake(t, "kv1")
	s := f.store(nil)
	writes := []kv.Write{}
	want := make(map[string]bool)
	for i := range 2500 {
		key := fmt.Sprintf("k%d", i)
		if i%3 == 0 {
			writes = append(writes, deleting(key, kv.Condition{}))
			continue
		}
		writes = append(writes, putting(key, kv.Condition{}))
		want[key] = true
	}
	d, err := newDriver("open", f.client(), "kv1", &Options{Retry: quick})
	if err != nil {
		t.Fatal(err)
	}
	for i, result := range d.WriteMany(t.Context(), kv.WriteManyRequest{Writes: writes}) {
		if result.Err != nil || !result.Done {
			t.Fatalf("%s: %+v", writes[i].Key, result)
		}
	}
	if requests := f.take(); slices.Contains(requests, "PUT entity") {
		t.Error("absent keys that were to be deleted made transactions with puts fail")
	}
	got := make(map[string]bool)
	for e, err := range s.Scan(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		got[e.Key] = true
	}
	if !maps.Equal(got, want) {
		t.Errorf("%d entries are there; want %d", len(got), len(want))
	}
	entries, err := s.GetMany(t.Context(), slices.Collect(maps.Keys(want)))
	if err != nil || len(entries) != len(want) {
		t.Errorf("GetMany returns %d entries, %v; want %d", len(entries), err, len(want))
	}
}
