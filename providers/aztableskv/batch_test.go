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

// putting and deleting return writes like those that the store makes.
func putting(key string, cond kv.Condition) kv.Write {
	return kv.Write{Kind: kv.KindPut, Record: kv.Record{Key: key, Value: []byte("v"), Token: token}, Condition: cond}
}

func deleting(key string, cond kv.Condition) kv.Write {
	return kv.Write{Kind: kv.KindDelete, Record: kv.Record{Key: key, Token: token}, Condition: cond}
}

// The rule: deleting absent keys is not an error, although an absent key makes its
// transaction fail. This is so for any number of absent keys, at any place in the batch. If
// few keys are absent, there are fewer requests than keys.
func TestDeleteManyAbsent(t *testing.T) {
	t.Parallel()
	items := sameShard(300, []byte("v"))
	keys := keysOf(items)
	for _, test := range []struct {
		name   string
		absent func(i int) bool
		most   int // greatest number of requests
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
			if _, err := s.PutMany(t.Context(), there); err != nil {
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

// The rule: if the service refuses one write, only that write fails, with the service's code
// in its error. The other writes of its transaction are applied.
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
				_, err := s.PutMany(t.Context(), items)
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

// The rule: the driver finds the refusal of a transaction inside a response with status 202
// and without an error code in its header. It repeats the transaction if the refusal is
// temporary. If the transaction is refused every time, all its writes fail.
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
		_, err := s.PutMany(t.Context(), items)
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
		if _, err := s.PutMany(t.Context(), items); test.fault.status >= 500 && err != nil {
			t.Errorf("%s, passing: %v", test.fault.code, err)
		}
	}
}

// The rule: if the response to a transaction cannot be read, the error is ErrIndeterminate.
func TestUnreadableTransaction(t *testing.T) {
	t.Parallel()
	// The last of these texts is truncated within its first line.
	for _, text := range []string{"garbage\r\n", "", "--batchresponse_1"} {
		f := newFake(t, "kv1")
		s := f.store(nil)
		f.setFault(func(r *http.Request) fault { return fault{status: 202, plain: true, text: text} })
		_, err := s.PutMany(t.Context(), sameShard(3, nil))
		if !errors.Is(err, kv.ErrIndeterminate) {
			t.Errorf("response %q: %v; want ErrIndeterminate", text, err)
		}
	}
}

// The rule: if the service refuses a transaction as a whole, with status 202 and a JSON body,
// the driver makes the writes one by one.
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
	if _, err := s.PutMany(t.Context(), items); err != nil {
		t.Error(err)
	}
	if got, want := f.take(), []string{"POST batch", "PUT entity", "PUT entity", "PUT entity"}; !slices.Equal(got, want) {
		t.Errorf("the requests are %q, want %q", got, want)
	}
}

// longSAS is a SAS with the longest name of a stored policy. The URL of every operation in a
// transaction has the SAS.
var longSAS = "sv=2019-02-02&ss=t&srt=sco&sp=rwdlacu&se=2030-01-01T00%3A00%3A00Z&st=2020-01-01T00%3A00%3A00Z&spr=https&si=" +
	strings.Repeat("p", 64) + "&sig=" + strings.Repeat("s", 60)

// The rule: a transaction with the longest keys, with values of kv.MaxValueLen bytes, and with a
// SAS, is below the service's limit of 4 MiB.
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
	client, err := aztables.NewServiceClientWithNoCredential("http://account.example/?"+longSAS,
		&aztables.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: f}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(t.Context(), client, "kv1", claiming(nil))
	if err != nil {
		t.Fatal(err)
	}
	f.take()
	if _, err := s.PutMany(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	if got := f.take(); len(got) != 1 {
		t.Errorf("the requests are %q; want one transaction", got)
	}
	if f.largest > 4<<20 || f.largest < 3<<20 {
		t.Errorf("the transaction has %d bytes; allowed are %d", f.largest, 4<<20)
	}
}

// The rule: a batch of larger values is split into transactions of at most 4 MiB. The
// largest AtomicWrite is one transaction.
func TestTransactionsOfLargeValues(t *testing.T) {
	t.Parallel()
	f := newFake(t, "kv1")
	s := f.store(nil).With(kv.MaxValue(kv.MaxLargeValueLen))
	var items []kv.Item
	for i := range 30 {
		items = append(items, kv.Item{Key: fmt.Sprintf("%s::%d", strings.Repeat("k", 400), i), Value: bytes.Repeat([]byte{0xff}, kv.MaxLargeValueLen)})
	}
	if _, err := s.PutMany(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	if got := f.take(); len(got) != 5 || f.largest > 4<<20 {
		t.Errorf("30 values of 384 KiB take %d requests of at most %d bytes; want 5 transactions of at most %d", len(got), f.largest, 4<<20)
	}
	f.largest = 0
	var ops []kv.Op
	for _, item := range items[:7] {
		ops = append(ops, kv.PutOp(item.Key, item.Value))
	}
	last := kv.MaxAtomicBytes - 7*(kv.MaxLargeValueLen+len(items[0].Key)) - len(items[29].Key)
	ops = append(ops, kv.PutOp(items[29].Key, items[29].Value[:last]))
	if _, err := s.AtomicWrite(t.Context(), ops...); err != nil {
		t.Fatal(err)
	}
	if got := f.take(); len(got) != 1 || f.largest > 4<<20 || f.largest < 3<<20 {
		t.Errorf("an AtomicWrite of MaxAtomicBytes makes the requests %q of at most %d bytes; want one of at most %d", got, f.largest, 4<<20)
	}
}

// The rule: if a page is much larger than the pages before it, the page is requested again
// with fewer entities.
func TestLargeValuesAfterSmallOnes(t *testing.T) {
	t.Parallel()
	f := newFake(t, "kv1")
	s, _ := hostile(t, f, &Options{Shards: 1, Retry: quick})
	var items []kv.Item
	for i := range 170 {
		value := []byte("small")
		if i >= 150 {
			value = bytes.Repeat([]byte{0xff}, kv.MaxLargeValueLen)
		}
		items = append(items, kv.Item{Key: fmt.Sprintf("key:%03d", i), Value: value})
	}
	if _, err := s.With(kv.MaxValue(kv.MaxLargeValueLen)).PutMany(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	f.queries = nil
	n := 0
	for e, err := range s.Scan(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		if e.Key != items[n].Key || !bytes.Equal(e.Value, items[n].Value) {
			t.Fatalf("entry %d is %s with %d bytes; want %s with %d", n, e.Key, len(e.Value), items[n].Key, len(items[n].Value))
		}
		n++
	}
	var got []string
	for _, query := range f.queries[:min(len(f.queries), 3)] {
		got = append(got, query.Get("$top"))
	}
	if n != len(items) || !slices.Equal(got, []string{"100", "640", "80"}) {
		t.Errorf("the scan yields %d of %d entries, and its first pages are of %q entities; want 100, 640 and, in place of that, 80", n, len(items), got)
	}
}

// The rule: a batch of any size, over all shards, is written completely. Each transaction is
// in one partition, and has either puts or deletions.
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

// fakeDriver returns a driver on the fake's table.
func fakeDriver(t testing.TB, f *fake) *driver {
	t.Helper()
	d, err := newDriver("open", f.client(), f.table, &Options{Retry: quick})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// oneShard returns n keys of one shard.
func oneShard(n int) []string { return keysOf(sameShard(n, nil)) }

var (
	ifAbsent  = kv.Condition{Kind: kv.CondAbsent}
	noSuchTag = `W/"datetime'2001-01-01T00%3A00%3A00.0000000Z'"`
)

func ifVersion(version string) kv.Condition {
	return kv.Condition{Kind: kv.CondVersion, Version: version}
}

func touching(key string, cond kv.Condition) kv.Write {
	return kv.Write{Kind: kv.KindTouch, Record: kv.Record{Key: key, Expires: 1 << 42, Token: token}, Condition: cond}
}

// mixedBatch prepares a table, and returns a batch with puts, deletions and touches under
// every condition that the driver supports. Some conditions hold and fewer fail, because
// WriteMany stops making transactions if many fail. Every write has its own token.
func mixedBatch(t *testing.T, d *driver) []kv.Write {
	t.Helper()
	var writes []kv.Write
	key := func(kind string, i int) string { return fmt.Sprintf("%s-%02d", kind, i) }
	version := func(key string) string {
		found, err := d.Get(t.Context(), kv.GetRequest{Key: key})
		if err != nil || !found.Exists {
			t.Fatalf("%s: %+v, %v", key, found, err)
		}
		return found.Version
	}
	var before []kv.Write
	for i := range 12 {
		for _, kind := range []string{"there", "stale", "there-del", "stale-del", "replaced", "deleted", "touched"} {
			before = append(before, putting(key(kind, i), kv.Condition{}))
		}
		expired := putting(key("expired", i), kv.Condition{})
		expired.Expires = 1
		before = append(before, expired)
	}
	for i, result := range d.WriteMany(t.Context(), kv.WriteManyRequest{Writes: before}) {
		if !result.Done || result.Err != nil {
			t.Fatalf("%s: %+v", before[i].Key, result)
		}
	}
	for i := range 12 {
		writes = append(writes, putting(key("absent", i), ifAbsent), putting(key("there", i), ifVersion(version(key("there", i)))), putting(key("new", i), kv.Condition{}),
			deleting(key("there-del", i), ifVersion(version(key("there-del", i)))), putting(key("replaced", i), kv.Condition{}), deleting(key("deleted", i), kv.Condition{}),
			touching(key("touched", i), ifVersion(version(key("touched", i)))))
		if i%4 == 3 { // the conditions of these fail; gone-any has no condition, but no entity to delete
			writes = append(writes, putting(key("expired", i), ifAbsent), putting(key("stale", i), ifVersion(noSuchTag)), deleting(key("stale-del", i), ifVersion(noSuchTag)),
				putting(key("gone", i), ifVersion(noSuchTag)), deleting(key("gone-del", i), ifVersion(noSuchTag)), deleting(key("gone-any", i), kv.Condition{}),
				touching(key("stale", i)+"-touch", ifVersion(noSuchTag)), touching(key("there", i+100), kv.Condition{Kind: kv.CondLive}), touching(key("expired", i-1), kv.Condition{Kind: kv.CondLive}))
		}
	}
	for i := range writes {
		writes[i].Token = fmt.Sprintf("%0*d", kv.TokenLen, i)
	}
	return writes
}

// The rule: a conditional write has the same effect and the same result in a batch as alone.
// The version in the result is the one that a read returns.
func TestWriteManyUnderConditions(t *testing.T) {
	t.Parallel()
	drivers := map[string]func(t *testing.T) *driver{
		"fake": func(t *testing.T) *driver { return fakeDriver(t, newFake(t, "kv1")) },
		"azurite": func(t *testing.T) *driver {
			client := azurite(t)
			d, err := newDriver("open", client, newTable(t, client), &Options{Shards: 2, Retry: quick})
			if err != nil {
				t.Fatal(err)
			}
			return d
		},
	}
	for name, open := range drivers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			batch, single := open(t), open(t)
			writes, alone := mixedBatch(t, batch), mixedBatch(t, single)
			for i, got := range batch.WriteMany(t.Context(), kv.WriteManyRequest{Writes: writes}) {
				out, err := single.Write(t.Context(), kv.WriteRequest{Write: alone[i]})
				if err != nil {
					t.Fatal(err)
				}
				w := writes[i]
				if got.Err != nil || got.Done != out.Done || got.Exists != out.Exists || got.Found.Key != out.Found.Key ||
					got.Found.Token != out.Found.Token || got.Found.Expires != out.Found.Expires || got.MayHaveApplied != out.MayHaveApplied {
					t.Errorf("%s of %s under %s is %+v in a batch, %+v alone", w.Kind, w.Key, w.Condition.Kind, got, out)
				}
				found, err := batch.Get(t.Context(), kv.GetRequest{Key: w.Key})
				if err != nil {
					t.Fatal(err)
				}
				written := got.Done && w.Kind != kv.KindDelete
				if (found.Token == w.Token) != written || written && (got.Version == "" || got.Version != found.Version) || !written && got.Version != "" {
					t.Errorf("%s of %s under %s: done %t, version %q; a read finds token %s, version %q", w.Kind, w.Key, w.Condition.Kind, got.Done, got.Version, found.Token, found.Version)
				}
				if !got.Done && (got.Found.Version != found.Version || got.Exists != found.Exists) {
					t.Errorf("%s of %s under %s failed over %+v; a read finds %+v", w.Kind, w.Key, w.Condition.Kind, got.Found, found)
				}
			}
		})
	}
}

// The rule: conditional writes are sent in transactions. Each failed condition costs at most
// three more requests: a transaction of the writes before it, a read, and a transaction of
// the writes after it. If many conditions fail, the writes are made one by one.
func TestWriteManyUnderConditionsRequests(t *testing.T) {
	t.Parallel()
	keys := oneShard(100)
	for _, test := range []struct {
		name  string
		there func(i int) bool
		want  int
	}{
		{"all hold", func(int) bool { return false }, 1},
		{"one in the middle fails", func(i int) bool { return i == 50 }, 4},
		{"the first fails", func(i int) bool { return i == 0 }, 3},
		{"all fail", func(int) bool { return true }, 3 + 2 + 2*98},
	} {
		f := newFake(t, "kv1")
		d := fakeDriver(t, f)
		var before, writes []kv.Write
		for i, key := range keys {
			if test.there(i) {
				before = append(before, putting(key, kv.Condition{}))
			}
			writes = append(writes, putting(key, ifAbsent))
		}
		d.WriteMany(t.Context(), kv.WriteManyRequest{Writes: before})
		f.take()
		results := d.WriteMany(t.Context(), kv.WriteManyRequest{Writes: writes})
		if got := f.take(); len(got) != test.want {
			t.Errorf("%s: %d requests, want %d", test.name, len(got), test.want)
		}
		for i, result := range results {
			if result.Err != nil || result.Done == test.there(i) || result.Exists != test.there(i) {
				t.Errorf("%s: write %d is %+v", test.name, i, result)
			}
		}
	}
}

// The rule: if the transaction of a conditional put is applied but its response is lost, the put
// is not reported as done. Its result has the stored entry, which has the token of this put, and
// says that the put may have been applied.
func TestWriteManyUnderConditionsLostAnswer(t *testing.T) {
	t.Parallel()
	for name, fault1 := range lost {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, "kv1")
			d := fakeDriver(t, f)
			keys := oneShard(20)
			results := d.WriteMany(t.Context(), kv.WriteManyRequest{Writes: []kv.Write{putting(keys[0], kv.Condition{}), putting(keys[1], kv.Condition{})}})
			writes := []kv.Write{putting(keys[0], ifVersion(results[0].Version)), deleting(keys[1], ifVersion(results[1].Version))}
			for _, key := range keys[2:] {
				writes = append(writes, putting(key, ifAbsent))
			}
			for i := range writes {
				writes[i].Token = fmt.Sprintf("%0*d", kv.TokenLen, i)
			}
			n := 0
			f.setFault(func(*http.Request) fault {
				if n++; n == 1 {
					return fault1
				}
				return fault{}
			})
			for i, result := range d.WriteMany(t.Context(), kv.WriteManyRequest{Writes: writes}) {
				w := writes[i]
				own := result.Found.Token == w.Token
				if result.Err != nil || result.Done || !result.MayHaveApplied || own != (w.Kind == kv.KindPut) || result.Exists != own {
					t.Errorf("%s of %s under %s: %+v; want the outcome of one that may have been applied, with its own token", w.Kind, w.Key, w.Condition.Kind, result)
				}
			}
		})
	}
}

// The rule: a write that the driver does not support is refused before any request, alone and
// in a batch. In a batch, a write with an invalid version is refused too, and the other writes
// are carried out.
func TestUnknownWrites(t *testing.T) {
	t.Parallel()
	f := newFake(t, "kv1")
	d := fakeDriver(t, f)
	var writes []kv.Write
	for kind := range kv.WriteKind(8) {
		for cond := range kv.ConditionKind(8) {
			if kind == kv.KindPut && cond <= kv.CondVersion || kind == kv.KindDelete && (cond == kv.CondNone || cond == kv.CondVersion) ||
				kind == kv.KindTouch && (cond == kv.CondVersion || cond == kv.CondLive) {
				continue
			}
			w := putting(fmt.Sprintf("k-%d-%d", kind, cond), kv.Condition{Kind: cond, Version: noSuchTag})
			w.Kind = kind
			writes = append(writes, w)
		}
	}
	for _, w := range writes {
		if out, err := d.Write(t.Context(), kv.WriteRequest{Write: w}); !errors.Is(err, kv.ErrUnsupported) || errors.Is(err, kv.ErrIndeterminate) || out.Done {
			t.Errorf("%s under %s: %+v, %v; want ErrUnsupported", w.Kind, w.Condition.Kind, out, err)
		}
	}
	writes = append(writes, putting("forged", ifVersion("*")))
	good := putting("good", kv.Condition{})
	results := d.WriteMany(t.Context(), kv.WriteManyRequest{Writes: append(slices.Clone(writes), good)})
	for i, w := range writes {
		want := kv.ErrUnsupported
		if w.Key == "forged" {
			want = kv.ErrInvalidVersion
		}
		if r := results[i]; !errors.Is(r.Err, want) || errors.Is(r.Err, kv.ErrIndeterminate) || r.Done {
			t.Errorf("in a batch, %s under %s: %+v; want %v", w.Kind, w.Condition.Kind, r, want)
		}
	}
	if last := results[len(writes)]; !last.Done || last.Err != nil {
		t.Errorf("a put beside them: %+v", last)
	}
	if got := f.take(); !slices.Equal(got, []string{"PUT entity"}) {
		t.Errorf("the requests are %q; want that of the put", got)
	}
}

// The rule: a transaction was carried out if its response has a successful part for each
// operation, with an ETag unless the operation is a deletion, and has the closing boundary.
// The transaction failed if the response has a part with a failure, and has the closing
// boundary. After any other response in parts, the error of each write is ErrIndeterminate.
func TestTransactionAnswers(t *testing.T) {
	t.Parallel()
	keys := oneShard(3)
	puts := []kv.Write{putting(keys[0], ifAbsent), putting(keys[1], ifAbsent), putting(keys[2], ifAbsent)}
	deletes := []kv.Write{deleting(keys[0], kv.Condition{}), deleting(keys[1], kv.Condition{})}
	// submit first stores an entry under each key of the parameter there. It then carries out
	// the writes as one transaction, and changes the response with edit.
	submit := func(writes []kv.Write, there []string, edit func(string) string) (results []kv.WriteResult, requests []string) {
		f := newFake(t, "kv1")
		d := fakeDriver(t, f)
		for _, key := range there {
			d.Write(t.Context(), kv.WriteRequest{Write: putting(key, kv.Condition{})})
		}
		f.take()
		f.setFault(func(r *http.Request) fault {
			if r.URL.Path == "/$batch" {
				return fault{edit: edit}
			}
			return fault{}
		})
		results = d.WriteMany(t.Context(), kv.WriteManyRequest{Writes: writes})
		return results, f.take()
	}
	open := func(what string, results []kv.WriteResult, requests []string) {
		t.Helper()
		for i, r := range results {
			if r.Done || !errors.Is(r.Err, kv.ErrUnavailable) || !errors.Is(r.Err, kv.ErrIndeterminate) {
				t.Errorf("%s: write %d is %+v; want ErrUnavailable and ErrIndeterminate", what, i, r)
			}
		}
		if !slices.Equal(requests, []string{"POST batch"}) {
			t.Errorf("%s: the requests are %q; want the transaction alone", what, requests)
		}
	}

	// Truncate the response after n bytes.
	for _, there := range [][]string{nil, {keys[1]}} { // first a transaction that is carried out, then one that fails
		var whole string
		submit(puts, there, func(body string) string { whole = body; return body })
		closing := strings.LastIndex(whole, "--changesetresponse_1--") + len("--changesetresponse_1--")
		if closing < 100 {
			t.Fatalf("the response is %q", whole)
		}
		for n := range len(whole) + 1 {
			if n > 40 && n < closing-60 && n%7 != 0 { // all positions here are alike
				continue
			}
			results, requests := submit(puts, there, func(body string) string { return body[:n] })
			if n < closing {
				open(fmt.Sprintf("a response of %d bytes, truncated after %d", len(whole), n), results, requests)
				continue
			}
			for i, r := range results {
				if holds := !slices.Contains(there, keys[i]); r.Err != nil || r.Done != holds || (r.Version != "") != holds {
					t.Errorf("a response of %d bytes, truncated after %d, after its parts: write %d is %+v", len(whole), n, i, r)
				}
			}
		}
	}

	etag := func(body string, i int) string { return strings.SplitAfter(body, "ETag: ")[i+1] }
	for _, test := range []struct {
		name   string
		writes []kv.Write
		edit   func(string) string
	}{
		{"a part is missing", puts, func(body string) string {
			parts := strings.SplitAfter(body, "--changesetresponse_1\r\n")
			return strings.Join(slices.Delete(parts, 1, 2), "")
		}},
		{"a part is there twice", puts, func(body string) string {
			parts := strings.SplitAfter(body, "--changesetresponse_1\r\n")
			return strings.Join(slices.Insert(parts, 1, parts[1]), "")
		}},
		{"no parts", puts, func(body string) string {
			head, _, _ := strings.Cut(body, "--changesetresponse_1\r\n")
			return head + "--changesetresponse_1--\r\n--batchresponse_1--\r\n"
		}},
		{"an ETag is missing", puts, func(body string) string { return strings.Replace(body, "ETag:", "X-Tag:", 1) }},
		{"an ETag is empty", puts, func(body string) string {
			tag, _, _ := strings.Cut(etag(body, 1), "\r\n")
			return strings.Replace(body, tag, "", 1)
		}},
		{"an ETag is malformed", puts, func(body string) string {
			tag, _, _ := strings.Cut(etag(body, 1), "\r\n")
			return strings.Replace(body, tag, "*", 1)
		}},
		{"a redirection", puts, func(body string) string { return strings.Replace(body, "204 No Content", "302 Found", 1) }},
		{"to be continued", puts, func(body string) string { return strings.Replace(body, "204 No Content", "100 Continue", 1) }},
		{"no HTTP", puts, func(body string) string { return strings.Replace(body, "HTTP/1.1", "SMTP", 1) }},
		{"another boundary", puts, func(body string) string {
			return strings.Replace(body, "boundary=changesetresponse_1", "boundary=changesetresponse_2", 1)
		}},
		{"no boundary", puts, func(body string) string { return strings.Replace(body, "; boundary=changesetresponse_1", "", 1) }},
		{"a deletion too few", deletes, func(body string) string {
			parts := strings.SplitAfter(body, "--changesetresponse_1\r\n")
			return strings.Join(slices.Delete(parts, 1, 2), "")
		}},
	} {
		there := keys[:2]
		if test.writes[0].Kind == kv.KindPut {
			there = nil
		}
		results, requests := submit(test.writes, there, test.edit)
		open(test.name, results, requests)
	}
	for i, r := range first(submit(deletes, keys[:2], func(body string) string { return body })) {
		if !r.Done || r.Err != nil || r.Version != "" {
			t.Errorf("deletion %d, whose part has no ETag, is %+v; want it done", i, r)
		}
	}
}

func first(results []kv.WriteResult, _ []string) []kv.WriteResult { return results }
