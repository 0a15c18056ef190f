package kv_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// counted is a driver that counts how often it is closed.
type counted struct {
	kv.Driver
	closed int
	ends   bool // Close does not close the wrapped driver
	err    error
}

func (d *counted) Close() error {
	d.closed++
	if d.ends {
		return d.err
	}
	return errors.Join(d.err, d.Driver.Close())
}

func TestCloseReachesEveryLinkOnce(t *testing.T) {
	t.Parallel()
	for _, ends := range []bool{false, true} {
		for closing := range 5 {
			base := &counted{ends: true, err: errors.New("the base fails to close")}
			wrap := func(d *counted) kv.StoreOption {
				return kv.Wrap(kv.Level1, func(next kv.Driver) kv.Driver { d.Driver = next; return d })
			}
			store := kv.New(base.over(memkv.New()))
			a, b, c := &counted{ends: ends}, &counted{ends: ends}, &counted{ends: ends}
			first := store.With(wrap(a))
			second := first.With(wrap(b), kv.Clock(time.Now))
			sibling := store.With(wrap(c))
			view, err := second.Namespace("ns:")
			if err != nil {
				t.Fatal(err)
			}
			stores := []*kv.Store{store, first, second, sibling, view}
			if err := stores[closing].Close(); !errors.Is(err, base.err) {
				t.Errorf("rule: Close returns the errors of its drivers; got %v", err)
			}
			for i, s := range stores {
				if err := s.Close(); err != nil {
					t.Errorf("rule: a later Close returns nil; store %d returns %v", i, err)
				}
				if _, err := s.Get(t.Context(), "a"); !errors.Is(err, kv.ErrClosed) {
					t.Errorf("rule: stores close together; after Close of store %d, store %d returns %v", closing, i, err)
				}
			}
			for name, d := range map[string]*counted{"the driver": base, "a": a, "b": b, "c": c} {
				if d.closed != 1 {
					t.Errorf("rule: Close of any store closes every driver and middleware of all derived stores once; %s was closed %d times", name, d.closed)
				}
			}
			late := &counted{}
			store.With(wrap(late))
			if late.closed != 1 {
				t.Errorf("rule: middleware over a closed store is closed at once; it was closed %d times", late.closed)
			}
		}
	}
}

// The method over makes d wrap the driver of store.
func (d *counted) over(store *kv.Store) *counted {
	store.With(kv.Wrap(kv.Level1, func(next kv.Driver) kv.Driver { d.Driver = next; return d }))
	return d
}

func TestViewsLeaveNothingBehind(t *testing.T) {
	store := memkv.New()
	inUse := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := inUse()
	for range 1_000_000 {
		view, err := store.Namespace("tenant-7:")
		if err != nil {
			t.Fatal(err)
		}
		_ = view.With(kv.Clock(time.Now))
	}
	if after := inUse(); after > before+1<<20 {
		t.Errorf("rule: views without middleware leave no memory in use; a million take %d KiB", (after-before)>>10)
	}
	runtime.KeepAlive(store)
}

// hanging is a service that never responds, except to an atomic write.
type hanging struct{ kv.Driver }

func (hanging) wait(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func (d hanging) Info() kv.Info {
	info := d.Driver.Info()
	info.EndsCalls, info.Immediate = false, false
	return info
}

func (d hanging) Get(ctx context.Context, _ kv.GetRequest) (kv.Found, error) {
	return kv.Found{}, d.wait(ctx)
}

func (d hanging) GetMany(ctx context.Context, _ kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	return func(yield func(kv.Found, error) bool) { yield(kv.Found{}, d.wait(ctx)) }
}

func (d hanging) Scan(ctx context.Context, _ kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) { yield(kv.Record{}, d.wait(ctx)) }
}

func (d hanging) Write(ctx context.Context, _ kv.WriteRequest) (kv.Outcome, error) {
	return kv.Outcome{}, &kv.Error{Err: d.wait(ctx), MayHaveApplied: true}
}

func (d hanging) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	return kv.WriteEach(ctx, d, req, 1)
}

var callsOfAStore = map[string]func(context.Context, *kv.Store) error{
	"Get":      func(ctx context.Context, s *kv.Store) error { _, err := s.Get(ctx, "a"); return err },
	"Exists":   func(ctx context.Context, s *kv.Store) error { _, err := s.Exists(ctx, "a"); return err },
	"GetMany":  func(ctx context.Context, s *kv.Store) error { _, err := s.GetMany(ctx, []string{"a"}); return err },
	"ScanPage": func(ctx context.Context, s *kv.Store) error { _, err := s.ScanPage(ctx, "", 1, ""); return err },
	"Scan": func(ctx context.Context, s *kv.Store) (last error) {
		for _, err := range s.Scan(ctx, "") {
			last = err
		}
		return last
	},
	"Put":    func(ctx context.Context, s *kv.Store) error { _, err := s.Put(ctx, "a", nil); return err },
	"Delete": func(ctx context.Context, s *kv.Store) error { return s.Delete(ctx, "a") },
	"PutMany": func(ctx context.Context, s *kv.Store) error {
		_, err := s.PutMany(ctx, []kv.Item{{Key: "a"}})
		return err
	},
	"DeleteMany":   func(ctx context.Context, s *kv.Store) error { return s.DeleteMany(ctx, []string{"a"}) },
	"DeletePrefix": func(ctx context.Context, s *kv.Store) error { _, err := s.DeletePrefix(ctx, "a"); return err },
}

func TestCloseEndsCallsThatHang(t *testing.T) {
	t.Parallel()
	type key struct{}
	for name, call := range callsOfAStore {
		for how, context := range map[string]func() (context.Context, context.CancelFunc){
			"no deadline": func() (context.Context, context.CancelFunc) { return context.Background(), func() {} },
			"a value and no deadline": func() (context.Context, context.CancelFunc) {
				return context.WithValue(context.Background(), key{}, 1), func() {}
			},
			"a deadline": func() (context.Context, context.CancelFunc) {
				return context.WithTimeout(context.Background(), time.Hour)
			},
		} {
			t.Run(name+" with "+how, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					store := memkv.New().With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return hanging{d} }))
					ctx, cancel := context()
					defer cancel()
					began := time.Now()
					time.AfterFunc(time.Second, func() { _ = store.Close() })
					err := call(ctx, store)
					if took := time.Since(began); took != time.Second {
						t.Errorf("rule: Close ends running calls; this one ended %s later", took-time.Second)
					}
					if !errors.Is(err, kv.ErrClosed) || errors.Is(err, ctxCanceled) {
						t.Errorf("rule: a call that Close ended returns ErrClosed and not context.Canceled; got %v", err)
					}
					wrote := name == "Put" || name == "Delete" || name == "PutMany" || name == "DeleteMany"
					if errors.Is(err, kv.ErrIndeterminate) != wrote {
						t.Errorf("rule: a write that Close ended is ErrIndeterminate, and no other call is; got %v", err)
					}
				})
			})
		}
	}
}

var ctxCanceled = context.Canceled

func TestCallersCancellationIsNotClose(t *testing.T) {
	t.Parallel()
	for name, call := range callsOfAStore {
		synctest.Test(t, func(t *testing.T) {
			store := memkv.New().With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return hanging{d} }))
			defer store.Close()
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(time.Second, cancel)
			if err := call(ctx, store); !errors.Is(err, context.Canceled) || errors.Is(err, kv.ErrClosed) {
				t.Errorf("rule: a call ends with its context's error; %s returns %v", name, err)
			}
		})
	}
}

// deaf is a service whose writes fail with err. It responds only to the first read.
type deaf struct {
	hanging
	err  *kv.Error
	read bool
}

func (d *deaf) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	if d.read {
		return d.hanging.Get(ctx, req)
	}
	d.read = true
	return d.Driver.Get(ctx, req)
}

func (d *deaf) Write(context.Context, kv.WriteRequest) (kv.Outcome, error) {
	return kv.Outcome{}, d.err
}

func (d *deaf) WriteAtomic(context.Context, kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	return kv.AtomicOutcome{}, d.err
}

// If a call ends early because its context ended or the store was closed, the error says so,
// even if an earlier request of the call failed for another reason. If its context ended, the error
// says that reason too.
func TestCallsThatEndAfterAFailedRequest(t *testing.T) {
	t.Parallel()
	increment := func(ctx context.Context, s *kv.Store) error { _, err := s.Increment(ctx, "n", 1); return err }
	atomicWrite := func(ctx context.Context, s *kv.Store) error {
		_, err := s.AtomicWrite(ctx, kv.PutOp("n", nil))
		return err
	}
	for name, c := range map[string]struct {
		call func(context.Context, *kv.Store) error
		err  kv.Error
	}{
		"an Increment that is throttled":        {increment, kv.Error{Kind: kv.ErrThrottled}},
		"an Increment whose response is lost":   {increment, kv.Error{Kind: kv.ErrUnavailable, MayHaveApplied: true, Err: errReset}},
		"an AtomicWrite whose response is lost": {atomicWrite, kv.Error{Kind: kv.ErrUnavailable, MayHaveApplied: true, Err: errReset}},
	} {
		for _, want := range []error{context.DeadlineExceeded, kv.ErrClosed} {
			t.Run(fmt.Sprint(name, ", ", want), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					store := memkv.New().With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return &deaf{hanging: hanging{d}, err: &c.err} }))
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					if want == kv.ErrClosed {
						time.AfterFunc(time.Millisecond, func() { _ = store.Close() })
					} else {
						ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
						defer cancel()
					}
					began := time.Now()
					err := c.call(ctx, store)
					if took := time.Since(began); took != time.Millisecond || !errors.Is(err, want) || errors.Is(err, kv.ErrIndeterminate) != c.err.MayHaveApplied {
						t.Errorf("rule: a call that its context or Close ended returns that error, and is ErrIndeterminate only if a write may have been applied; after %s it returns %v, want %v", took, err, want)
					}
					if want != kv.ErrClosed && (!errors.Is(err, c.err.Kind) || c.err.Err != nil && !errors.Is(err, c.err.Err)) {
						t.Errorf("rule: if the context ended after a failed request, the error also matches the error of the request, which is %v; got %v", &c.err, err)
					}
				})
			})
		}
	}
}
