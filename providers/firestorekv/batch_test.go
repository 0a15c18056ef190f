package firestorekv

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/skykv/skykv/kv"
)

// getMany returns the results of a driver's GetMany. The keys are in the order of the results.
func getMany(ctx context.Context, d *driver, req kv.GetManyRequest) (keys []string, found map[string]kv.Found, failed map[string]error) {
	found, failed = make(map[string]kv.Found), make(map[string]error)
	for f, err := range d.GetMany(ctx, req) {
		keys = append(keys, f.Key)
		if err != nil {
			failed[f.Key] = err
		} else {
			found[f.Key] = f
		}
	}
	return keys, found, failed
}

// puts returns unconditional puts of keys.
func puts(keys ...string) kv.WriteManyRequest {
	var req kv.WriteManyRequest
	for _, key := range keys {
		req.Writes = append(req.Writes, kv.Write{Kind: kv.KindPut, Record: kv.Record{Key: key, Value: []byte(key), Token: testToken, Predecessors: "p"}})
	}
	return req
}

func manyKeys(n int) (keys []string) {
	for i := range n {
		keys = append(keys, fmt.Sprintf("key:%04d", i))
	}
	return keys
}

// TestGetManyYieldsEachKeyOnce reads present and absent keys, and one key whose document skykv
// did not write. Some responses end early.
func TestGetManyYieldsEachKeyOnce(t *testing.T) {
	t.Parallel()
	for _, withValue := range []bool{true, false} {
		f := &fake{cut: func(_ string, n int) int { return []int{-1, 30, 0}[n%3] }}
		d := driverAt(t, f.start(t))
		keys := manyKeys(1234)
		for _, res := range d.WriteMany(t.Context(), puts(keys[:1000]...)) {
			if res.Err != nil {
				t.Fatal(res.Err)
			}
		}
		f.put("00"+keys[0], nil)
		got, found, failed := getMany(t.Context(), d, kv.GetManyRequest{Keys: keys, WithValue: withValue})
		slices.Sort(got)
		if !slices.Equal(got, keys) {
			t.Fatalf("rule: every key is yielded once; got %d keys of %d", len(got), len(keys))
		}
		if len(failed) != 1 || !errors.Is(failed[keys[0]], kv.ErrIncompatible) {
			t.Errorf("rule: an error beside a key is about that key; got %v", failed)
		}
		for i, key := range keys[1:] {
			want := kv.Found{Record: kv.Record{Key: key}}
			if i+1 < 1000 {
				want.Exists = true
				want.Token, want.Predecessors, want.Version = testToken, "p", found[key].Version
				if withValue {
					want.Value = []byte(key)
				}
			}
			if !reflect.DeepEqual(found[key], want) || want.Exists && want.Version == "" {
				t.Fatalf("%q is %+v, want %+v", key, found[key], want)
			}
		}
		for _, req := range received[*pb.BatchGetDocumentsRequest](f) {
			if (req.GetMask() == nil) != withValue {
				t.Errorf("rule: values are not transferred unless they are wanted; the mask is %v", req.GetMask())
			}
		}
	}
}

// TestGetManyHandsOver: GetMany yields a key as soon as its result arrives. A slow or throttled
// key does not delay the other keys, in the same request or in another one.
func TestGetManyHandsOver(t *testing.T) {
	t.Parallel()
	keys := manyKeys(3 * groupReads)
	slow, throttled := keys[groupReads-1], keys[2*groupReads-1] // in two groups
	release := make(chan struct{})
	var tries atomic.Int32
	f := &fake{between: func(ctx context.Context, docName string) error {
		switch {
		case strings.HasSuffix(docName, throttled) && tries.Add(1) == 1:
			return status.Error(codes.ResourceExhausted, "quota")
		case strings.HasSuffix(docName, throttled), strings.HasSuffix(docName, slow):
			select {
			case <-release:
			case <-ctx.Done():
			}
		}
		return nil
	}}
	d := driverAt(t, f.start(t))
	left := len(keys)
	for found, err := range d.GetMany(t.Context(), kv.GetManyRequest{Keys: keys}) {
		if err != nil {
			t.Fatalf("%q: %v", found.Key, err)
		}
		if left--; left == 2 {
			close(release)
		}
	}
	if left != 0 { // a key that delays others has failed above, after the driver's timeout
		t.Errorf("%d keys were not yielded", left)
	}
}

// TestGetManyBreaksOff: the end of a loop over GetMany ends the requests that are still
// running.
func TestGetManyBreaksOff(t *testing.T) {
	t.Parallel()
	hung := make(chan error, parallelGroups)
	var hanging sync.WaitGroup
	hanging.Add(parallelGroups - 1)
	f := &fake{refuse: func(ctx context.Context, method string, n int) error {
		if n == 0 {
			hanging.Wait()
			return nil
		}
		hanging.Done()
		err := hang(ctx, method, n)
		hung <- err
		return err
	}}
	d := driverAt(t, f.start(t))
	for _, err := range d.GetMany(t.Context(), kv.GetManyRequest{Keys: manyKeys(2000)}) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	if n := len(d.underWay.all); n != 0 {
		t.Errorf("rule: an iterator that ends early leaves no call; %d calls are running", n)
	}
	for range parallelGroups - 1 {
		soon(t, hung, "the service learns that a loop was broken off")
	}
}

// TestLoopBodyHoldsNoStream: while a loop's body runs, no stream of the connection is open.
func TestLoopBodyHoldsNoStream(t *testing.T) {
	t.Parallel()
	f := new(fake)
	d := driverAt(t, f.start(t))
	keys := manyKeys(4 * groupReads)
	req := puts(keys...)
	for i := range req.Writes {
		req.Writes[i].Value = make([]byte, kv.MaxValueLen) // more than the connection's windows
	}
	d.WriteMany(t.Context(), req)
	check := func(what string) {
		t.Helper()
		for f.open.Load() > 0 {
			select {
			case <-f.ended:
			case <-time.After(time.Minute):
				t.Fatalf("rule: no stream is open while an iterator yields; %s has %d open streams", what, f.open.Load())
			}
		}
	}
	for _, err := range d.GetMany(t.Context(), kv.GetManyRequest{Keys: keys, WithValue: true}) {
		if err != nil {
			t.Fatal(err)
		}
		check("GetMany")
	}
	n := 0
	for _, err := range d.Scan(t.Context(), kv.ScanRequest{From: "-", To: "~", Limit: 640, WithValue: true}) {
		if err != nil {
			t.Fatal(err)
		}
		check("Scan")
		n++
	}
	if n != len(keys) {
		t.Errorf("the scan yielded %d records, want %d", n, len(keys))
	}
	largest := 0
	for _, q := range received[*pb.RunQueryRequest](f)[1:] {
		largest = max(largest, int(q.GetStructuredQuery().GetLimit().GetValue()))
	}
	if largest == 0 || largest*kv.MaxValueLen > pageBytes {
		t.Errorf("rule: a page has about %d bytes at most; with values of %d bytes one was of up to %d documents", pageBytes, kv.MaxValueLen, largest)
	}
}

// The function conditions makes puts, deletions and a touch in one batch, with and without
// conditions. Each result must be the same as if the write was made alone.
func conditions(t *testing.T, d *driver) {
	t.Helper()
	ctx := t.Context()
	put := func(key, value string, cond kv.Condition) kv.Write {
		return kv.Write{Kind: kv.KindPut, Record: kv.Record{Key: key, Value: []byte(value), Token: testToken}, Condition: cond}
	}
	remove := func(key string, cond kv.Condition) kv.Write {
		return kv.Write{Kind: kv.KindDelete, Record: kv.Record{Key: key, Token: testToken}, Condition: cond}
	}
	absent := kv.Condition{Kind: kv.CondAbsent}
	version := func(v string) kv.Condition { return kv.Condition{Kind: kv.CondVersion, Version: v} }
	prepare := func(prefix string) (writes []kv.Write) {
		var current []string
		for _, res := range d.WriteMany(ctx, puts(prefix+"a", prefix+"b", prefix+"c", prefix+"d", prefix+"e", prefix+"f", prefix+"m")) {
			if res.Err != nil || !res.Done || res.Version == "" {
				t.Fatalf("rule: a put of a batch reports its version; got %+v", res)
			}
			current = append(current, res.Version)
		}
		return []kv.Write{
			put(prefix+"a", "new", version(current[0])),
			put(prefix+"b", "new", version("1")),
			put(prefix+"c", "new", absent),
			remove(prefix+"d", version(current[3])),
			remove(prefix+"e", version("1")),
			put(prefix+"f", "new", kv.Condition{}),
			put(prefix+"g", "new", absent),
			put(prefix+"h", "new", version("1")),
			remove(prefix+"i", version("1")),
			remove(prefix+"j", kv.Condition{}),
			remove(prefix+"m", absent),
			remove(prefix+"n", absent),
			put(prefix+"k", "new", version("no version")),
			{Kind: kv.KindTouch, Record: kv.Record{Key: prefix + "l", Token: testToken}, Condition: kv.Condition{Kind: kv.CondLive}},
		}
	}
	// Keys and versions always differ, so make them equal.
	plain := func(res kv.WriteResult, prefix string) string {
		res.Found.Key = strings.TrimPrefix(res.Found.Key, prefix)
		for _, v := range []*string{&res.Version, &res.Found.Version} {
			if *v != "" {
				*v = "a version"
			}
		}
		return fmt.Sprintf("%+v", res)
	}
	var single []kv.WriteResult
	for _, w := range prepare("one:") {
		out, err := d.Write(ctx, kv.WriteRequest{Write: w})
		single = append(single, kv.WriteResult{Outcome: out, Err: err})
	}
	writes := prepare("many:")
	batch := d.WriteMany(ctx, kv.WriteManyRequest{Writes: writes})
	if len(batch) != len(single) {
		t.Fatalf("%d results of %d writes", len(batch), len(single))
	}
	done := 0
	for i, res := range batch {
		if got, want := plain(res, "many:"), plain(single[i], "one:"); got != want {
			t.Errorf("rule: a write of a batch ends as a single one does; write %d, %s under %s, is\n%s, want\n%s", i, writes[i].Kind, writes[i].Condition.Kind, got, want)
		}
		if res.Done {
			done++
		}
		found, err := d.Get(ctx, kv.GetRequest{Key: writes[i].Key, WithValue: true})
		if err != nil {
			t.Fatal(err)
		}
		if want := res.Done && writes[i].Kind == kv.KindPut; (string(found.Value) == "new") != want || want && found.Version != res.Version {
			t.Errorf("rule: a write is applied if it is Done, and returns what it stored; write %d is %+v, stored is %+v", i, res, found)
		}
	}
	if done != 6 {
		t.Errorf("%d writes are done, want 6", done)
	}
}

func TestConditionsInBatches(t *testing.T) {
	t.Parallel()
	conditions(t, driverAt(t, new(fake).start(t)))
}

func TestConditionsInBatchesOnEmulator(t *testing.T) {
	t.Parallel()
	for _, shards := range []int{1, 16} {
		_, d := emulatorStore(t, shards)
		conditions(t, d)
	}
}

// TestRequestsOfConditions: WriteMany reads the records that made conditions fail with few
// requests, and without values.
func TestRequestsOfConditions(t *testing.T) {
	t.Parallel()
	f := new(fake)
	d := driverAt(t, f.start(t))
	req := puts(manyKeys(150)...)
	d.WriteMany(t.Context(), req)
	for i := range req.Writes {
		req.Writes[i].Condition.Kind = kv.CondAbsent
	}
	f.reset()
	for _, res := range d.WriteMany(t.Context(), req) {
		if res.Err != nil || res.Done || !res.Exists || res.Found.Token != testToken || res.MayHaveApplied {
			t.Fatalf("a put-if-absent of a key that has a record is %+v", res)
		}
	}
	if got, want := f.count(), "2 BatchGetDocuments, 1 BatchWrite"; got != want {
		t.Errorf("made %s, want %s", got, want)
	}
	for _, read := range received[*pb.BatchGetDocumentsRequest](f) {
		if read.GetMask() == nil {
			t.Error("rule: the read after a failed condition transfers no value")
		}
	}
}

// TestLostBatchOfConditions: if the response to an earlier attempt was lost, a failed
// condition reports MayHaveApplied.
func TestLostBatchOfConditions(t *testing.T) {
	t.Parallel()
	f := &fake{lose: onCall("BatchWrite", 0, errLost)}
	d := driverAt(t, f.start(t))
	req := puts("a", "b")
	req.Writes[0].Condition.Kind = kv.CondAbsent
	results := d.WriteMany(t.Context(), req)
	if a := results[0]; a.Err != nil || a.Done || !a.Exists || a.Found.Token != testToken || !a.MayHaveApplied {
		t.Errorf("rule: a put-if-absent that finds its own first attempt reports it, and MayHaveApplied; got %+v", a)
	}
	if b := results[1]; b.Err != nil || !b.Done || b.Version == "" {
		t.Errorf("an unconditional put that was repeated is %+v", b)
	}
	f.refuse = always("BatchGetDocuments", status.Error(codes.PermissionDenied, "denied"))
	f.reset()
	f.lose = onCall("BatchWrite", 0, errLost)
	req = puts("c")
	req.Writes[0].Condition.Kind = kv.CondAbsent
	if err := d.WriteMany(t.Context(), req)[0].Err; !errors.Is(err, kv.ErrPermission) || !errors.Is(err, kv.ErrIndeterminate) {
		t.Errorf("rule: if the read after a failed condition fails, an earlier attempt that may have been applied makes the error indeterminate; got %v", err)
	}
}

// TestUnsupportedWritesSendNothing: the driver returns ErrUnsupported for a write or a condition
// that it does not support, before any I/O.
func TestUnsupportedWritesSendNothing(t *testing.T) {
	t.Parallel()
	f := new(fake)
	d := driverAt(t, f.start(t))
	touch := kv.Write{Kind: kv.KindTouch, Record: kv.Record{Key: "a", Token: testToken}}
	check := kv.Write{Kind: kv.KindCheck, Record: kv.Record{Key: "b", Token: testToken}, Condition: kv.Condition{Kind: kv.CondAbsent}}
	for _, w := range []kv.Write{touch, check} {
		_, err := d.Write(t.Context(), kv.WriteRequest{Write: w})
		errs := map[string]error{"Write": err, "WriteMany": d.WriteMany(t.Context(), kv.WriteManyRequest{Writes: []kv.Write{w}})[0].Err}
		if w.Kind == kv.KindTouch {
			_, errs["WriteAtomic"] = d.WriteAtomic(t.Context(), kv.WriteManyRequest{Writes: []kv.Write{w, check}})
		}
		for what, err := range errs {
			if !errors.Is(err, kv.ErrUnsupported) || errors.Is(err, kv.ErrIndeterminate) {
				t.Errorf("rule: a write that the driver cannot do is ErrUnsupported; %s of %s: %v", what, w.Kind, err)
			}
		}
	}
	if got := f.count(); got != "" {
		t.Errorf("rule: the driver refuses it before any I/O; made %s", got)
	}
}
