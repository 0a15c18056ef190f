package faults

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/skykv/skykv/kv"
)

// Driver puts an unreliable network in front of a driver that has none, and a client
// that makes so many attempts, as SDKs do. It reports what became of a call as drivers
// of services must.
func Driver(in *Injector, attempts int) func(kv.Driver) kv.Driver {
	return func(d kv.Driver) kv.Driver { return &driver{d, in, attempts} }
}

type driver struct {
	kv.Driver
	in       *Injector
	attempts int
}

// The errors of the network that Driver plays.
var (
	errReset    = errors.New("connection reset by peer")
	errThrottle = errors.New("please slow down")
	errNonsense = errors.New("the response makes no sense")
)

func (d *driver) Get(ctx context.Context, key string, withValue bool) (kv.Record, bool, error) {
	rec, _, err := call(d, ctx, "Get", false, func(ctx context.Context, _ int) (kv.Record, error) {
		rec, ok, err := d.Driver.Get(ctx, key, withValue)
		if !ok {
			rec = kv.Record{}
		}
		return rec, err
	})
	return rec, rec.Key != "", err
}

func (d *driver) GetMany(ctx context.Context, keys []string) ([]kv.Record, error) {
	recs, _, err := call(d, ctx, "GetMany", false, func(ctx context.Context, _ int) ([]kv.Record, error) {
		return d.Driver.GetMany(ctx, keys)
	})
	return recs, err
}

func (d *driver) Put(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
	out, applied, err := call(d, ctx, "Put", true, func(ctx context.Context, attempt int) (kv.Outcome, error) {
		return d.Driver.Put(ctx, retoken(rec, attempt), cond)
	})
	return retried(out, applied), err
}

func (d *driver) Delete(ctx context.Context, key string, cond kv.Condition) (kv.Outcome, error) {
	out, applied, err := call(d, ctx, "Delete", true, func(ctx context.Context, _ int) (kv.Outcome, error) {
		return d.Driver.Delete(ctx, key, cond)
	})
	return retried(out, applied), err
}

func retried(out kv.Outcome, applied bool) kv.Outcome {
	out.Retried = !out.Done && (out.Retried || applied)
	return out
}

func (d *driver) WriteMany(ctx context.Context, writes []kv.Write) error {
	_, _, err := call(d, ctx, "WriteMany", true, func(ctx context.Context, attempt int) (struct{}, error) {
		writes := slices.Clone(writes)
		for i, w := range writes {
			writes[i].Record = retoken(w.Record, attempt)
		}
		return struct{}{}, d.Driver.WriteMany(ctx, writes)
	})
	return err
}

// retoken is what an attempt stores: the versions of memkv and localkv are tokens.
func retoken(rec kv.Record, attempt int) kv.Record {
	rec.Token = kv.AttemptToken(rec.Token, attempt)
	return rec
}

// Scan breaks off before the records or, by Truncate, in the midst of them, and goes
// on behind the last one, as drivers do.
func (d *driver) Scan(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		for n := range d.attempts {
			last := n == d.attempts-1
			a := d.in.begin(Request{Op: opOf(ctx), Method: "Scan"})
			ended := d.scan(ctx, a, last, &r, yield)
			d.in.end()
			if ended {
				return
			}
		}
	}
}

// scan is one attempt. It reports whether the scan has ended.
func (d *driver) scan(ctx context.Context, a *Attempt, last bool, r *kv.Range, yield func(kv.Record, error) bool) bool {
	fail := func(err error) bool {
		if last {
			yield(kv.Record{}, err)
		}
		return last
	}
	left := -1
	switch a.Kind {
	case Pass:
	case Delay:
		pause(a)
	case Truncate:
		left = Rand(0, a.Op).IntN(4)
	default:
		err := a.unanswered(ctx)
		if ctx.Err() != nil {
			yield(kv.Record{}, err)
			return true
		}
		return fail(err)
	}
	for rec, err := range d.Driver.Scan(ctx, *r) {
		if left == 0 {
			return fail(&kv.Error{Kind: kv.ErrUnavailable, Err: errReset})
		}
		left--
		if !yield(rec, err) || err != nil && rec.Key == "" {
			return true
		}
		r.From = rec.Key + "-"
	}
	if left >= 0 {
		return fail(&kv.Error{Kind: kv.ErrUnavailable, Err: errReset})
	}
	return true
}

// call makes the attempts of one call. Applied means that one of those before the
// last may have been applied.
func call[T any](d *driver, ctx context.Context, method string, write bool, act func(ctx context.Context, attempt int) (T, error)) (result T, applied bool, err error) {
	var none T
	in := d.in
	for n := range d.attempts {
		a := in.begin(Request{Op: opOf(ctx), Method: method, Write: write})
		switch {
		case a.Kind.Delivered():
			in.forward(a, func() error { result, err = act(ctx, n); return nil })
			in.end()
			if err != nil && applied && write {
				err = uncertain(err)
			}
			return result, applied, err
		case a.Kind == Late:
			applied = true
			go func() {
				defer in.end()
				in.forward(a, func() error { _, err := act(context.WithoutCancel(ctx), n); return err })
			}()
		case a.Kind.Forwarded():
			applied = true
			in.forward(a, func() error { _, err := act(context.WithoutCancel(ctx), n); return err })
			in.end()
		default:
			// A client whose connection breaks does not know that nothing was done.
			applied = applied || a.Kind != Throttle
			in.end()
		}
		e := a.unanswered(ctx)
		e.Indeterminate = write && applied
		err = e
		if ctx.Err() != nil {
			break
		}
	}
	return none, applied, err
}

// uncertain is the error of a write of which an earlier attempt may have been applied:
// each of a batch's, since the keys that it does not name are written.
func uncertain(err error) error {
	if batch, ok := errors.AsType[*kv.BatchError](err); ok {
		failed := make(map[string]error, len(batch.Failed))
		for key, err := range batch.Failed {
			failed[key] = uncertain(err)
		}
		return &kv.BatchError{Failed: failed}
	}
	return &kv.Error{Kind: kind(err), Indeterminate: true, Err: err}
}

// unanswered is the error of an attempt of which the client heard nothing good.
func (a *Attempt) unanswered(ctx context.Context) *kv.Error {
	if a.Kind == Hang {
		<-ctx.Done()
	}
	switch {
	case ctx.Err() != nil:
		return &kv.Error{Err: fmt.Errorf("%w: %w", ctx.Err(), errReset)}
	case a.Kind == Throttle:
		return &kv.Error{Kind: kv.ErrThrottled, Err: errThrottle}
	case a.Kind == Garbage:
		return &kv.Error{Kind: kv.ErrUnavailable, Err: errNonsense}
	}
	return &kv.Error{Kind: kv.ErrUnavailable, Err: errReset}
}

func kind(err error) error {
	if e, ok := errors.AsType[*kv.Error](err); ok {
		return e.Kind
	}
	return nil
}
