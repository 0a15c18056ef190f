package faults

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/skykv/skykv/kv"
)

// Driver returns middleware that simulates an unreliable network between a client and the wrapped
// driver, which has no network of its own. Like an SDK, the client tries each request several
// times, up to the given number of attempts. The client reports the results of calls as the driver
// of a service must.
func Driver(in *Injector, attempts int) func(kv.Driver) kv.Driver {
	return func(d kv.Driver) kv.Driver { return &driver{d, in, attempts} }
}

type driver struct {
	kv.Driver
	in       *Injector
	attempts int
}

func (d *driver) Info() kv.Info {
	info := d.Driver.Info()
	info.Immediate = false
	return info
}

// The errors of the simulated network.
var (
	errReset    = errors.New("connection reset by peer")
	errThrottle = errors.New("please slow down")
	errNonsense = errors.New("the response makes no sense")
)

func (d *driver) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	found, _, err := call(d, prompted(ctx, req.Prompt), "Get", false, func(ctx context.Context, _ int) (kv.Found, error) {
		return d.Driver.Get(ctx, req)
	})
	return found, err
}

func (d *driver) GetMany(ctx context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	type answer struct {
		found kv.Found
		err   error
	}
	return func(yield func(kv.Found, error) bool) {
		answers, _, err := call(d, ctx, "GetMany", false, func(ctx context.Context, _ int) (answers []answer, _ error) {
			for found, err := range d.Driver.GetMany(ctx, req) {
				answers = append(answers, answer{found, err})
			}
			return answers, nil
		})
		if err != nil {
			yield(kv.Found{}, err)
			return
		}
		for _, a := range answers {
			if !yield(a.found, a.err) {
				return
			}
		}
	}
}

func (d *driver) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	out, applied, err := call(d, prompted(ctx, req.Prompt), "Write", true, func(ctx context.Context, attempt int) (kv.Outcome, error) {
		req := req
		req.Token = kv.AttemptToken(req.Token, attempt) // each attempt has its own token, because memkv and localkv use the token as the version
		return d.Driver.Write(ctx, req)
	})
	return retried(out, applied), uncertain(err, applied)
}

type prompt struct{}

// prompted returns the context of a call. If yes is true, the call ends after the first attempt
// that got no response and may have been applied.
func prompted(ctx context.Context, yes bool) context.Context {
	if !yes {
		return ctx
	}
	return context.WithValue(ctx, prompt{}, true)
}

func retried(out kv.Outcome, applied bool) kv.Outcome {
	out.MayHaveApplied = !out.Done && (out.MayHaveApplied || applied)
	return out
}

func (d *driver) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	results, applied, err := call(d, ctx, "WriteMany", true, func(ctx context.Context, attempt int) ([]kv.WriteResult, error) {
		req := req
		req.Writes = slices.Clone(req.Writes)
		for i, w := range req.Writes {
			req.Writes[i].Token = kv.AttemptToken(w.Token, attempt)
		}
		return d.Driver.WriteMany(ctx, req), nil
	})
	if err != nil {
		results = make([]kv.WriteResult, len(req.Writes))
	}
	for i, r := range results {
		if r.Err == nil {
			r.Err = err
		}
		results[i] = kv.WriteResult{Outcome: retried(r.Outcome, applied), Err: uncertain(r.Err, applied)}
	}
	return results
}

func (d *driver) WriteAtomic(ctx context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	out, applied, err := call(d, ctx, "WriteAtomic", true, func(ctx context.Context, attempt int) (kv.AtomicOutcome, error) {
		req := req
		req.Writes = slices.Clone(req.Writes)
		for i, w := range req.Writes {
			req.Writes[i].Token = kv.AttemptToken(w.Token, attempt)
		}
		return d.Driver.WriteAtomic(ctx, req)
	})
	out.MayHaveApplied = !out.Done && (out.MayHaveApplied || applied)
	return out, uncertain(err, applied)
}

// Scan makes attempts, which may fail before the first record or, with Truncate, after at most
// three records. The next attempt continues after the last record that was yielded, as drivers do.
func (d *driver) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		for n := range d.attempts {
			last := n == d.attempts-1
			a := d.in.begin(Request{Op: opOf(ctx), Method: "Scan"})
			ended := d.scan(ctx, a, last, &req, yield)
			d.in.end()
			if ended {
				return
			}
		}
	}
}

// scan makes one attempt, and reports whether the scan has ended.
func (d *driver) scan(ctx context.Context, a *Attempt, last bool, req *kv.ScanRequest, yield func(kv.Record, error) bool) bool {
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
		left = a.rand().IntN(4)
	default:
		err := a.unanswered(ctx)
		if ctx.Err() != nil {
			yield(kv.Record{}, err)
			return true
		}
		return fail(err)
	}
	for rec, err := range d.Driver.Scan(ctx, *req) {
		if left == 0 {
			return fail(&kv.Error{Kind: kv.ErrUnavailable, Err: errReset})
		}
		left--
		if !yield(rec, err) || err != nil && rec.Key == "" {
			return true
		}
		req.From = rec.Key + "-"
	}
	if left >= 0 {
		return fail(&kv.Error{Kind: kv.ErrUnavailable, Err: errReset})
	}
	return true
}

// The function call makes attempts until the client gets a response, or has made d.attempts of
// them. The result applied says whether an attempt without a response may have been applied.
func call[T any](d *driver, ctx context.Context, method string, write bool, act func(ctx context.Context, attempt int) (T, error)) (result T, applied bool, err error) {
	var none T
	in := d.in
	for n := range d.attempts {
		a := in.begin(Request{Op: opOf(ctx), Method: method, Write: write})
		switch {
		case a.Kind.Delivered():
			in.forward(a, func() error { result, err = act(ctx, n); return nil })
			in.end()
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
			// If a connection breaks, a client cannot know that nothing was done.
			applied = applied || a.Kind != Throttle
			in.end()
		}
		e := a.unanswered(ctx)
		e.MayHaveApplied = write && applied
		err = e
		if ctx.Err() != nil || applied && ctx.Value(prompt{}) != nil {
			break
		}
	}
	return none, applied, err
}

// uncertain returns the error of a write. If an earlier attempt may have been applied, the
// error says so.
func uncertain(err error, applied bool) error {
	if e, ok := err.(*kv.Error); err == nil || !applied || ok && e.MayHaveApplied {
		return err
	}
	return &kv.Error{Kind: kind(err), MayHaveApplied: true, Err: err}
}

// unanswered returns the error of an attempt to which the client got no usable response.
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
