package kv_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skykv/skykv/conformance"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// driverOf returns the driver of a store as middleware receives it.
func driverOf(store *kv.Store) (driver kv.Driver) {
	store.With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { driver = d; return d }))
	return driver
}

// slow delays the reads of some keys.
type slow struct {
	kv.Driver
	delays map[string]time.Duration
}

func (d slow) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	req.Meter.Add(1, 2)
	select {
	case <-time.After(d.delays[req.Key]):
		return d.Driver.Get(ctx, req)
	case <-ctx.Done():
		return kv.Found{}, ctx.Err()
	}
}

func (d slow) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	req.Meter.Add(1, 2)
	return d.Driver.Write(ctx, req)
}

func TestGetEachYieldsEachKeyAsItArrives(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memkv.New()
		put(t, store, "hot", "1")
		put(t, store, "cold", "2")
		d := slow{driverOf(store), map[string]time.Duration{"hot": time.Minute}}
		meter := kv.NewMeter(nil)
		began := time.Now()
		var order []string
		for found, err := range kv.GetEach(t.Context(), d, kv.GetManyRequest{Keys: []string{"hot", "absent", "cold"}, WithValue: true, Meter: meter}, 2) {
			if err != nil {
				t.Fatal(err)
			}
			order = append(order, fmt.Sprint(found.Key, " ", found.Exists, " ", time.Since(began)))
		}
		if want := []string{"absent false 0s", "cold true 0s", "hot true 1m0s"}; !slices.Equal(order, want) {
			t.Errorf("rule: each key is yielded as soon as its response arrives, also a key without a record; got %q, want %q", order, want)
		}
		if meter.Requests() != 3 || meter.Attempts() != 6 {
			t.Errorf("rule: a meter counts the requests of every key; got %d and %d", meter.Requests(), meter.Attempts())
		}
	})
}

func TestGetEachPassesOnWhatIsPermitted(t *testing.T) {
	t.Parallel()
	for _, stale := range []bool{false, true} {
		d := &staleness{driverOf(memkv.New()), make(map[string]bool)}
		for _, err := range kv.GetEach(t.Context(), d, kv.GetManyRequest{Keys: []string{"key"}, Stale: stale}, 1) {
			if err != nil {
				t.Fatal(err)
			}
		}
		if want := fmt.Sprint("Get ", stale); len(d.seen) != 1 || !d.seen[want] {
			t.Errorf("rule: GetEach makes its reads as they are requested; it makes %v, want %s", d.seen, want)
		}
	}
}

func TestGetEachLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // synctest waits for every goroutine
		d := slow{driverOf(memkv.New()), map[string]time.Duration{"b": time.Hour, "c": time.Hour}}
		began := time.Now()
		for range kv.GetEach(t.Context(), d, kv.GetManyRequest{Keys: []string{"a", "b", "c", "d"}}, 3) {
			break
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("rule: a loop that ends early ends the running reads; it took %s", took)
		}
	})
}

func TestWriteEachReportsInOrder(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	put(t, store, "taken", "1")
	token := func(i int) string { return kv.AttemptToken("AAAAAAAAAAAAAAAAAAAAAA", i) }
	meter := kv.NewMeter(nil)
	outer := kv.NewMeter(meter)
	results := kv.WriteEach(t.Context(), slow{Driver: driverOf(store)}, kv.WriteManyRequest{Meter: outer, Writes: []kv.Write{
		{Kind: kv.KindPut, Record: kv.Record{Key: "new", Value: []byte{}, Token: token(1)}, Condition: kv.Condition{Kind: kv.CondAbsent}},
		{Kind: kv.KindPut, Record: kv.Record{Key: "taken", Value: []byte{}, Token: token(2)}, Condition: kv.Condition{Kind: kv.CondAbsent}},
		{Kind: kv.KindDelete, Record: kv.Record{Key: "absent", Token: token(3)}},
		{Kind: 250, Record: kv.Record{Key: "x", Token: token(4)}},
	}}, 2)
	if len(results) != 4 || !results[0].Done || results[0].Version != token(1) || results[1].Done || !results[1].Exists || !results[2].Done || !errors.Is(results[3].Err, kv.ErrUnsupported) {
		t.Errorf("rule: WriteEach returns the result of each write, in the order of the writes; got %+v", results)
	}
	if meter.Requests() != 4 || outer.Attempts() != 8 {
		t.Errorf("rule: an outer meter counts what its inner meter counts; got %d and %d", meter.Requests(), outer.Attempts())
	}
}

// forgetful is a driver that leaves out the last result of every WriteMany.
type forgetful struct{ kv.Driver }

func (d forgetful) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	results := d.Driver.WriteMany(ctx, req)
	return results[:len(results)-1]
}

func TestWhatABatchDoesNotAnswerIsNotBelieved(t *testing.T) {
	t.Parallel()
	store := memkv.New().With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return forgetful{d} }))
	_, err := store.PutMany(t.Context(), []kv.Item{{Key: "a"}, {Key: "b"}})
	batch, ok := errors.AsType[*kv.BatchError](err)
	if !ok || len(batch.Failed) != 1 || !errors.Is(batch.Failed["b"], kv.ErrIndeterminate) {
		t.Errorf("rule: a write without a result from the driver is ErrIndeterminate; got %v", err)
	}
}

func TestExampleDriverPassesTheSuite(t *testing.T) {
	t.Parallel()
	conformance.Run(t, conformance.Config{New: func(context.Context) (*kv.Store, error) { return kv.New(new(listDriver)), nil }})
}
