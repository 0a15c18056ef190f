package aztableskv

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

var ifLive = kv.Condition{Kind: kv.CondLive}

func checking(key string, cond kv.Condition) kv.Write {
	return kv.Write{Kind: kv.KindCheck, Record: kv.Record{Key: key, Token: token}, Condition: cond}
}

// group is the prefix of the stored keys in these tests. It puts the keys into one partition.
const group = "g::"

// prepared is a driver on a table with live entries and an expired one. versions has their
// versions.
type prepared struct {
	*driver
	f        *fake
	versions map[string]string
}

// now is the time of a driver's atomic writes in these tests. The expired entry expires just
// before now.
const now = 1 << 41

func prepare(t *testing.T) prepared {
	t.Helper()
	f := newFake(t, "kv1")
	p := prepared{driver: fakeDriver(t, f), f: f, versions: make(map[string]string)}
	for _, key := range []string{"live", "live2", "live3", "expired"} {
		w := putting(group+key, kv.Condition{})
		w.Token = strings.Repeat("o", kv.TokenLen)
		if key == "expired" {
			w.Expires = now - 1
		}
		out, err := p.Write(t.Context(), kv.WriteRequest{Write: w})
		if err != nil {
			t.Fatal(err)
		}
		p.versions[key] = out.Version
	}
	f.take()
	return p
}

func (p prepared) find(t *testing.T, key string) kv.Found {
	t.Helper()
	found, err := p.Get(t.Context(), kv.GetRequest{Key: group + key, WithValue: true})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// The rule: an atomic write is one transaction. Before it, a touch without a version reads
// the entry. After it, the tombstones are removed. The versions in the result are those that
// a read returns.
func TestWriteAtomic(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		writes   func(p prepared) []kv.Write
		requests []string
		absent   []string // keys that have no entity afterwards
	}{
		{"puts", func(p prepared) []kv.Write {
			return []kv.Write{putting("g::a", kv.Condition{}), putting("g::b", ifAbsent), putting("g::live", ifVersion(p.versions["live"]))}
		}, []string{"POST batch"}, nil},
		{"deletion by version", func(p prepared) []kv.Write {
			return []kv.Write{putting("g::a", kv.Condition{}), deleting("g::live", ifVersion(p.versions["live"]))}
		}, []string{"POST batch"}, []string{"live"}},
		{"deletions", func(p prepared) []kv.Write {
			return []kv.Write{deleting("g::live", kv.Condition{}), deleting("g::absent", kv.Condition{}), deleting("g::expired", kv.Condition{})}
		}, []string{"POST batch", "POST batch"}, []string{"live", "absent", "expired"}},
		{"one deletion", func(p prepared) []kv.Write { return []kv.Write{deleting("g::live", kv.Condition{})} },
			[]string{"POST batch", "DELETE entity"}, []string{"live"}},
		{"touch by version", func(p prepared) []kv.Write {
			return []kv.Write{touching("g::live", ifVersion(p.versions["live"])), touching("g::expired", ifVersion(p.versions["expired"]))}
		}, []string{"POST batch"}, nil},
		{"touches", func(p prepared) []kv.Write {
			return []kv.Write{touching("g::live", ifLive), touching("g::live2", ifLive), putting("g::a", kv.Condition{})}
		}, []string{"GET list", "GET list", "POST batch"}, nil},
		{"checks", func(p prepared) []kv.Write {
			return []kv.Write{checking("g::live", ifVersion(p.versions["live"])), checking("g::absent", ifAbsent), putting("g::a", kv.Condition{})}
		}, []string{"POST batch", "DELETE entity"}, []string{"absent"}},
		{"all kinds", func(p prepared) []kv.Write {
			return []kv.Write{
				checking("g::live", ifVersion(p.versions["live"])), deleting("g::live2", kv.Condition{}), touching("g::live3", ifLive),
				checking("g::absent", ifAbsent), putting("g::a", ifAbsent), deleting("g::expired", ifVersion(p.versions["expired"])),
			}
		}, []string{"GET list", "POST batch", "POST batch"}, []string{"live2", "absent", "expired"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := prepare(t)
			writes := test.writes(p)
			before := slices.Clone(writes)
			out, err := p.WriteAtomic(t.Context(), kv.WriteManyRequest{Writes: writes, Now: now})
			if err != nil || !out.Done || len(out.Versions) != len(writes) {
				t.Fatalf("%+v, %v; want it done, with a version for each write", out, err)
			}
			if got := p.f.take(); !slices.Equal(got, test.requests) {
				t.Errorf("the requests are %q; want %q", got, test.requests)
			}
			for i, w := range writes {
				if w.Condition != before[i].Condition {
					t.Errorf("the driver changed the condition of %s", w.Key)
				}
				found := p.find(t, strings.TrimPrefix(w.Key, group))
				if want := !slices.Contains(test.absent, strings.TrimPrefix(w.Key, group)); found.Exists != want {
					t.Errorf("%s of %s: it is there: %t, want %t", w.Kind, w.Key, found.Exists, want)
				}
				switch w.Kind {
				case kv.KindPut, kv.KindTouch:
					if out.Versions[i] != found.Version || found.Token != w.Token || found.Expires != w.Expires || string(found.Value) != "v" {
						t.Errorf("%s of %s: version %q; a read finds %+v", w.Kind, w.Key, out.Versions[i], found)
					}
				default:
					if out.Versions[i] != "" {
						t.Errorf("%s of %s has version %q; want none", w.Kind, w.Key, out.Versions[i])
					}
				}
				if w.Kind == kv.KindCheck && found.Exists && (found.Version == w.Condition.Version || found.Token == w.Token || string(found.Value) != "v") {
					t.Errorf("a check leaves %+v; want another version, or a late repetition would be applied, and all else as it was", found)
				}
			}
		})
	}
}

// The rule: if a condition fails, nothing is written, and the outcome says so. The outcome
// has the entries that the driver itself read, if it read any.
func TestWriteAtomicUnderConditionsThatFail(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		bad      func(p prepared) kv.Write
		requests []string
		found    bool // whether the outcome has the entries
	}{
		{"put if absent", func(prepared) kv.Write { return putting("g::live", ifAbsent) }, []string{"POST batch"}, false},
		{"put if absent over an expired entry", func(prepared) kv.Write { return putting("g::expired", ifAbsent) }, []string{"POST batch"}, false},
		{"put by a stale version", func(prepared) kv.Write { return putting("g::live", ifVersion(noSuchTag)) }, []string{"POST batch"}, false},
		{"put by the version of nothing", func(prepared) kv.Write { return putting("g::absent", ifVersion(noSuchTag)) }, []string{"POST batch"}, false},
		{"deletion by a stale version", func(prepared) kv.Write { return deleting("g::live", ifVersion(noSuchTag)) }, []string{"POST batch"}, false},
		{"deletion by the version of nothing", func(prepared) kv.Write { return deleting("g::absent", ifVersion(noSuchTag)) }, []string{"POST batch"}, false},
		{"touch by a stale version", func(prepared) kv.Write { return touching("g::live", ifVersion(noSuchTag)) }, []string{"POST batch"}, false},
		{"touch by the version of nothing", func(prepared) kv.Write { return touching("g::absent", ifVersion(noSuchTag)) }, []string{"POST batch"}, false},
		{"touch of nothing", func(prepared) kv.Write { return touching("g::absent", ifLive) }, []string{"GET list"}, true},
		{"touch of an expired entry", func(prepared) kv.Write { return touching("g::expired", ifLive) }, []string{"GET list"}, true},
		{"check by a stale version", func(prepared) kv.Write { return checking("g::live", ifVersion(noSuchTag)) }, []string{"POST batch"}, false},
		{"check by the version of nothing", func(prepared) kv.Write { return checking("g::absent", ifVersion(noSuchTag)) }, []string{"POST batch"}, false},
		{"check for absence", func(prepared) kv.Write { return checking("g::live", ifAbsent) }, []string{"POST batch"}, false},
		{"check for absence over an expired entry", func(prepared) kv.Write { return checking("g::expired", ifAbsent) }, []string{"POST batch"}, false},
	} {
		for _, index := range []bool{true, false} {
			t.Run(fmt.Sprint(test.name, index), func(t *testing.T) {
				t.Parallel()
				p := prepare(t)
				p.f.noIndex = !index
				bad := test.bad(p)
				writes := []kv.Write{putting("g::a", kv.Condition{}), deleting("g::live2", kv.Condition{}), bad, touching("g::live3", ifVersion(p.versions["live3"]))}
				out, err := p.WriteAtomic(t.Context(), kv.WriteManyRequest{Writes: writes, Now: now})
				if err != nil || out.Done || out.MayHaveApplied {
					t.Fatalf("%+v, %v; want a condition that failed", out, err)
				}
				if got := p.f.take(); !slices.Equal(got, test.requests) {
					t.Errorf("the requests are %q; want %q", got, test.requests)
				}
				if test.found != (len(out.Found) == len(writes) && out.Found[2] != nil && out.Found[2].Key == bad.Key) {
					t.Errorf("the driver says that it found %+v", out.Found)
				}
				for key, version := range p.versions {
					if found := p.find(t, key); found.Version != version {
						t.Errorf("%s is %+v; want it unchanged", key, found)
					}
				}
				if p.find(t, "a").Exists || p.find(t, "absent").Exists {
					t.Error("a write of the transaction was carried out")
				}
			})
		}
	}
}

// The rule: an atomic write that cannot be one transaction, or that has an invalid version, is
// refused before any request.
func TestWriteAtomicRefuses(t *testing.T) {
	t.Parallel()
	p := prepare(t)
	other := ""
	for i := 0; other == ""; i++ {
		if key := fmt.Sprintf("h%d::a", i); p.layout.shard(key) != p.layout.shard("g::a") {
			other = key
		}
	}
	for _, test := range []struct {
		name string
		bad  kv.Write
		want error
	}{
		{"a key of another shard", putting(other, kv.Condition{}), kv.ErrInvalidOption},
		{"a version that is none", putting("g::b", ifVersion("*")), kv.ErrInvalidVersion},
		{"a check of a version that is none", checking("g::b", ifVersion("*")), kv.ErrInvalidVersion},
		{"a check without a condition", checking("g::b", kv.Condition{}), kv.ErrUnsupported},
		{"a check for a live entry", checking("g::b", ifLive), kv.ErrUnsupported},
		{"a touch without a condition", touching("g::b", kv.Condition{}), kv.ErrUnsupported},
		{"a deletion if absent", deleting("g::b", ifAbsent), kv.ErrUnsupported},
		{"no write", kv.Write{Record: kv.Record{Key: "g::b"}}, kv.ErrUnsupported},
	} {
		out, err := p.WriteAtomic(t.Context(), kv.WriteManyRequest{Writes: []kv.Write{putting("g::a", kv.Condition{}), test.bad}, Now: now})
		if e, ok := errors.AsType[*kv.Error](err); !ok || !errors.Is(err, test.want) || e.MayHaveApplied || out.Done {
			t.Errorf("%s: %+v, %v; want %v", test.name, out, err, test.want)
		}
	}
	if got := p.f.take(); len(got) > 0 {
		t.Errorf("the requests are %q; want none", got)
	}
}

// The rule: if a transaction fails, but not because of a condition, WriteAtomic returns an
// error. MayHaveApplied is false in this error if the service refused the transaction.
func TestWriteAtomicErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		fault          fault
		kind           error
		mayHaveApplied bool
	}{
		{fault{status: 503, code: "ServerBusy"}, kv.ErrThrottled, false},
		{fault{status: 500, code: "OperationTimedOut"}, kv.ErrUnavailable, true},
		{fault{status: 404, code: "TableNotFound"}, kv.ErrNotProvisioned, false},
		{fault{status: 403, code: "AuthorizationPermissionMismatch"}, kv.ErrPermission, false},
		{fault{status: 413, code: "RequestBodyTooLarge", index: -1}, nil, false},
		{fault{status: 400, code: "InvalidDuplicateRow"}, nil, false},
		// The failure names the write with index 0, which has no condition that could fail.
		{fault{status: 409, code: "EntityAlreadyExists"}, nil, false},
	} {
		p := prepare(t)
		p.f.setFault(func(*http.Request) fault { return test.fault })
		out, err := p.WriteAtomic(t.Context(), kv.WriteManyRequest{Writes: []kv.Write{putting("g::a", kv.Condition{}), putting("g::b", ifAbsent)}, Now: now})
		e, ok := errors.AsType[*kv.Error](err)
		if !ok || e.Kind != test.kind || e.MayHaveApplied != test.mayHaveApplied || out.Done {
			t.Errorf("%s: %+v, %v; want kind %v, MayHaveApplied: %t", test.fault.code, out, err, test.kind, test.mayHaveApplied)
		}
	}
}

// The rule: if the read before a touch fails, the error names the key, and says that nothing
// was applied.
func TestWriteAtomicThatCannotRead(t *testing.T) {
	t.Parallel()
	for want, prepareFault := range map[error]func(p prepared){
		kv.ErrIncompatible: func(p prepared) {
			p.f.write(fakeKey{p.layout.partition("g::live"), "g::live"}, rawProperties(t, map[string]any{"name": "Ann"}))
		},
		kv.ErrPermission: func(p prepared) {
			p.f.setFault(func(*http.Request) fault { return fault{status: 403, code: "AuthorizationPermissionMismatch"} })
		},
	} {
		p := prepare(t)
		prepareFault(p)
		out, err := p.WriteAtomic(t.Context(), kv.WriteManyRequest{Writes: []kv.Write{putting("g::a", kv.Condition{}), touching("g::live", ifLive)}, Now: now})
		if e, ok := errors.AsType[*kv.Error](err); !ok || e.Kind != want || e.Key != "g::live" || e.MayHaveApplied || out.Done {
			t.Errorf("%+v, %#v; want %v of the key g::live", out, err, want)
		}
		if got := p.f.take(); !slices.Equal(got, []string{"GET list"}) {
			t.Errorf("the requests are %q; want the read alone", got)
		}
	}
}

// mixedOps returns operations of every kind that stores a token, and a deletion by version.
func mixedOps(version, version2 kv.Version) []kv.Op {
	return []kv.Op{
		kv.PutOp("g::a", []byte("new"), kv.IfNotExists()), kv.PutOp("g::live", []byte("new"), kv.IfVersion(version)), kv.PutOp("g::expired", []byte("new"), kv.IfNotExists()),
		kv.TouchOp("g::live2", kv.TTL(time.Hour)), kv.DeleteOp("g::live3", kv.IfVersion(version2)), kv.DeleteOp("g::live4"), kv.CheckOp("g::absent", kv.IfNotExists()),
	}
}

// atomicStore returns a store with the entries that mixedOps expects, and their versions.
func atomicStore(t *testing.T) (f *fake, s *kv.Store, version, version2 kv.Version) {
	t.Helper()
	f = newFake(t, "kv1")
	s = f.store(nil)
	for _, key := range []string{"live", "live2", "live3", "live4"} {
		v, err := s.Put(t.Context(), group+key, []byte("old"))
		if err != nil {
			t.Fatal(err)
		}
		switch key {
		case "live":
			version = v
		case "live3":
			version2 = v
		}
	}
	if _, err := s.With(kv.Clock(func() time.Time { return time.UnixMilli(1) })).Put(t.Context(), "g::expired", []byte("old"), kv.TTL(time.Second)); err != nil {
		t.Fatal(err)
	}
	f.take()
	return f, s, version, version2
}

// wantMixed checks that the operations of mixedOps were carried out.
func wantMixed(t *testing.T, s *kv.Store, versions []kv.Version) {
	t.Helper()
	for i, key := range []string{"a", "live", "expired", "live2", "live3", "live4", "absent"} {
		e, err := s.Get(t.Context(), group+key)
		if i > 3 {
			if !errors.Is(err, kv.ErrNotFound) {
				t.Errorf("%s: %v; want ErrNotFound", key, err)
			}
			continue
		}
		if err != nil || e.Version != versions[i] || (string(e.Value) == "new") != (key != "live2") || e.ExpiresAt.IsZero() != (key != "live2") {
			t.Errorf("%s is %+v, %v; want what was written, and version %v", key, e, err, versions[i])
		}
	}
}

// The rule: if a transaction is applied but its response is lost, or is truncated anywhere,
// the atomic write succeeds. It recognises the transaction by the tokens, and returns the
// stored versions.
func TestWriteAtomicLostAnswer(t *testing.T) {
	t.Parallel()
	faults := make(map[string]fault)
	for name, fault := range lost {
		faults[name] = fault
	}
	for n := range 14 {
		faults[fmt.Sprintf("cut off after %d/14", n)] = fault{edit: func(body string) string { return body[:len(body)*n/14] }}
	}
	for name, first := range faults {
		f, s, version, version2 := atomicStore(t)
		transactions := 0
		f.setFault(func(r *http.Request) fault {
			if r.URL.Path == "/$batch" {
				// The service refuses the first transaction, because there is an expired
				// entry.
				if transactions++; transactions == 2 {
					return first
				}
			}
			return fault{}
		})
		versions, err := s.AtomicWrite(t.Context(), mixedOps(version, version2)...)
		if err != nil || transactions < 2 {
			t.Errorf("%s: %v after %d transactions; want success after 2 or more", name, err, transactions)
			continue
		}
		wantMixed(t, s, versions)
	}
}

// The rule: the token of one write proves that all writes were applied. Deletions by version
// and checks by version store no token. If the response to an atomic write of only these is
// lost, the error is ErrIndeterminate.
func TestWriteAtomicProofs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		ops  func(version kv.Version) []kv.Op
		want error
	}{
		{"a put", func(v kv.Version) []kv.Op {
			return []kv.Op{kv.DeleteOp("g::live3", kv.IfVersion(v)), kv.PutOp("g::a", nil)}
		}, nil},
		{"a touch", func(v kv.Version) []kv.Op {
			return []kv.Op{kv.DeleteOp("g::live3", kv.IfVersion(v)), kv.TouchOp("g::live", kv.TTL(time.Hour))}
		}, nil},
		{"a deletion", func(v kv.Version) []kv.Op {
			return []kv.Op{kv.DeleteOp("g::live3", kv.IfVersion(v)), kv.DeleteOp("g::live")}
		}, nil},
		{"a check for absence", func(v kv.Version) []kv.Op {
			return []kv.Op{kv.DeleteOp("g::live3", kv.IfVersion(v)), kv.CheckOp("g::a", kv.IfNotExists())}
		}, nil},
		{"a put beside a check by version", func(v kv.Version) []kv.Op {
			return []kv.Op{kv.CheckOp("g::live3", kv.IfVersion(v)), kv.PutOp("g::a", nil)}
		}, nil},
		{"deletions by version", func(v kv.Version) []kv.Op { return []kv.Op{kv.DeleteOp("g::live3", kv.IfVersion(v))} }, kv.ErrIndeterminate},
		{"checks by version", func(v kv.Version) []kv.Op { return []kv.Op{kv.CheckOp("g::live3", kv.IfVersion(v))} }, kv.ErrIndeterminate},
	} {
		f, s, _, version := atomicStore(t)
		n := 0
		f.setFault(func(r *http.Request) fault {
			if r.URL.Path == "/$batch" {
				if n++; n == 1 {
					return fault{serve: true, cut: true}
				}
			}
			return fault{}
		})
		if _, err := s.AtomicWrite(t.Context(), test.ops(version)...); !errors.Is(err, test.want) || errors.Is(err, kv.ErrConditionFailed) {
			t.Errorf("%s: %v; want %v", test.name, err, test.want)
		}
	}
}

// The rule: if the first attempt is lost and the second is refused, the result is unknown. If
// the service refused both, the result is known.
func TestWriteAtomicRefusedAfterLoss(t *testing.T) {
	t.Parallel()
	for first, want := range map[*fault]error{
		{cut: true}:                       kv.ErrIndeterminate,
		{status: 503, code: "ServerBusy"}: kv.ErrConditionFailed,
	} {
		f, s, _, _ := atomicStore(t)
		n := 0
		f.setFault(func(r *http.Request) fault {
			if n++; n == 1 {
				return *first
			}
			return fault{}
		})
		_, err := s.AtomicWrite(t.Context(), kv.PutOp("g::a", nil), kv.PutOp("g::live", nil, kv.IfNotExists()))
		if !errors.Is(err, want) || errors.Is(err, kv.ErrIndeterminate) && errors.Is(err, kv.ErrConditionFailed) {
			t.Errorf("after %+v: %v; want %v", *first, err, want)
		}
	}
}

// The rule: tombstones that cannot be removed do not make the atomic write fail. Reads and scans
// treat them as absent. A sweep keeps them for an hour, and then deletes them.
func TestTombstonesThatStay(t *testing.T) {
	t.Parallel()
	f, s, version, version2 := atomicStore(t)
	n := 0
	f.setFault(func(r *http.Request) fault {
		if r.URL.Path != "/$batch" {
			return fault{}
		}
		if n++; n > 2 { // 1: refused because of the expired entry; 2: carried out; 3: removes the tombstones
			return fault{status: 403, code: "AuthorizationPermissionMismatch"}
		}
		return fault{}
	})
	versions, err := s.AtomicWrite(t.Context(), mixedOps(version, version2)...)
	if err != nil || n != 3 {
		t.Fatalf("%v after %d transactions; want success after 3", err, n)
	}
	f.setFault(nil)
	shard := fmt.Sprintf("%02x", kv.Shard("g::a", DefaultShards))
	if !f.has(shard, "g::live4") || !f.has(shard, "g::absent") {
		t.Fatal("there are no tombstones")
	}
	wantMixed(t, s, versions)
	entries := 0
	for _, err := range s.Scan(t.Context(), group) {
		if entries++; err != nil {
			t.Fatal(err)
		}
	}
	if entries != 4 {
		t.Errorf("a scan has %d entries; want 4", entries)
	}
	for hours, want := range []int{0, 2} {
		last, err := SweepWith(t.Context(), f.client(), "kv1", &provider.SweepOptions{Clock: func() time.Time {
			return time.Now().Add(time.Duration(hours)*time.Hour + time.Duration(hours)*time.Minute)
		}})
		if err != nil || last.Deleted != want {
			t.Errorf("a sweep %d hours later: %+v, %v; want %d deleted", hours, last, err, want)
		}
	}
}

// The rule: in an AtomicWrite, a put-if-absent replaces a tombstone that was left, and a check
// for absence holds. DeletePrefix does not count tombstones.
func TestTombstonesAreAbsent(t *testing.T) {
	t.Parallel()
	p := prepare(t)
	s := kv.New(p.driver)
	for _, key := range []string{"tomb", "tomb2"} {
		w := putting(group+key, kv.Condition{})
		w.Record = tombstone(w)
		w.Value = []byte{}
		if _, err := p.Write(t.Context(), kv.WriteRequest{Write: w}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.AtomicWrite(t.Context(), kv.PutOp("g::tomb", []byte("new"), kv.IfNotExists()), kv.CheckOp("g::tomb2", kv.IfNotExists())); err != nil {
		t.Error(err)
	}
	if e, err := s.Get(t.Context(), "g::tomb"); err != nil || string(e.Value) != "new" {
		t.Errorf("%+v, %v; want what was put", e, err)
	}
	if n, err := s.DeletePrefix(t.Context(), "g::tomb"); err != nil || n != 1 {
		t.Errorf("DeletePrefix counts %d, %v; want the entry alone", n, err)
	}
}

// The rule: concurrent atomic writes of the same keys all succeed, if no write can make the
// condition of another one fail. They succeed even though they find each other's tombstones.
func TestOverlappingAtomicWrites(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T) *kv.Store{
		"fake": func(t *testing.T) *kv.Store { return newFake(t, "kv1").store(nil) },
		"azurite": func(t *testing.T) *kv.Store {
			client := azurite(t)
			s, err := New(t.Context(), client, newTable(t, client), claiming(&Options{Retry: quick}))
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			if _, err := s.Put(t.Context(), "g::live", []byte("v")); err != nil {
				t.Fatal(err)
			}
			const callers, each = 4, 3
			failed := make(chan error, callers)
			for i := range callers {
				go func() {
					for n := range each {
						if _, err := s.AtomicWrite(t.Context(),
							kv.TouchOp("g::live", kv.TTL(time.Hour)), kv.DeleteOp("g::gone"), kv.CheckOp("g::absent", kv.IfNotExists()),
							kv.PutOp(fmt.Sprintf("g::%d-%d", i, n), nil, kv.IfNotExists())); err != nil {
							failed <- err
							return
						}
					}
					failed <- nil
				}()
			}
			for range callers {
				if err := <-failed; err != nil {
					t.Error(err)
				}
			}
			n := 0
			for _, err := range s.Scan(t.Context(), group) {
				if n++; err != nil {
					t.Fatal(err)
				}
			}
			if n != callers*each+1 {
				t.Errorf("there are %d entries; want %d", n, callers*each+1)
			}
		})
	}
}

// The rule: the largest AtomicWrite is below the service's limit of 4 MiB, even with a SAS.
func TestLargestAtomicWriteFits(t *testing.T) {
	t.Parallel()
	f := newFake(t, "kv1")
	f.store(nil)
	client, err := aztables.NewServiceClientWithNoCredential("http://account.example/?"+longSAS, &aztables.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: f}})
	if err != nil {
		t.Fatal(err)
	}
	d, err := newDriver("open", client, "kv1", nil)
	if err != nil {
		t.Fatal(err)
	}
	value := bytes.Repeat([]byte{0xff}, kv.MaxAtomicBytes/kv.MaxAtomicWrites-kv.MaxKeyLen)
	var writes []kv.Write
	for i := range kv.MaxAtomicWrites {
		w := putting(fmt.Sprintf("%s%s%06d", group, strings.Repeat("k", kv.MaxKeyLen-len(group)-6), i), ifVersion(noSuchTag))
		w.Value = value
		writes = append(writes, w)
	}
	if out, err := d.WriteAtomic(t.Context(), kv.WriteManyRequest{Writes: writes, Now: now}); err != nil || out.Done {
		t.Errorf("%+v, %v; want conditions that failed", out, err)
	}
	if f.largest > 4<<20 || f.largest < 4_000_000 {
		t.Errorf("the transaction has %d bytes; it must have at most %d", f.largest, 4<<20)
	}
}
