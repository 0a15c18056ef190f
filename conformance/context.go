package conformance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/skykv/skykv/kv"
)

func contextCases() []testCase {
	var cases []testCase
	for _, op := range operations {
		cases = append(cases, rule("context/cancelled/"+op.name,
			"With a cancelled context every operation returns the context's error, does not reach the driver and changes nothing.",
			func(t *trial) {
				v := t.put("key", "old")
				was := t.situation()
				ctx, cancel := context.WithCancel(t.ctx)
				cancel()
				t.wantRefused("the operation", context.Canceled, func() error { return op.call(ctx, t.store, v) })
				t.wantUnchanged(was)
				t.wantContent("key")
			}))
	}
	cases = append(cases, rule("context/deadline",
		"With a context whose deadline has passed every operation returns context.DeadlineExceeded, does not reach the driver and changes nothing.",
		func(t *trial) {
			v := t.put("key", "old")
			was := t.situation()
			ctx, cancel := context.WithDeadline(t.ctx, time.Unix(1, 0))
			defer cancel()
			for _, op := range operations {
				t.wantRefused(op.name, context.DeadlineExceeded, func() error { return op.call(ctx, t.store, v) })
			}
			t.wantUnchanged(was)
			t.wantContent("key")
		}))
	for _, op := range operations {
		if !op.writes {
			continue
		}
		cases = append(cases, rule("context/cancelled-on-the-way/"+op.name,
			"A write whose context ends on the way to the service either succeeds or returns the context's error. If it succeeds, it was applied. If the error does not match ErrIndeterminate, nothing was written.",
			func(t *trial) {
				v := t.put("key", "old")
				before := t.entries()
				err := t.cancelledOnTheWay(func(ctx context.Context) error { return op.call(ctx, t.store, v) })
				after := t.entries()
				if err == nil && maps.Equal(before, after) {
					t.Errorf("the operation succeeded and wrote nothing")
				}
				for _, key := range []string{"key", "new"} {
					failed := err
					if batch, ok := errors.AsType[*kv.BatchError](err); ok {
						failed = batch.Failed[key]
					}
					if failed != nil && !errors.Is(failed, kv.ErrIndeterminate) && before[key] != after[key] {
						t.Errorf("the error for %q says that nothing was written (%v), but %s became %s", key, failed, before[key], after[key])
					}
				}
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("the error is %v; want one that matches context.Canceled", err)
				}
			}))
	}
	return append(cases,
		rule("context/cancelled-on-the-way/reads",
			"A read whose context ends on the way to the service returns the right result or the context's error.",
			func(t *trial) {
				t.put("key", "value")
				check := func(what string, err error, right func() bool) {
					if err == nil && !right() {
						t.Errorf("%s: the result is wrong, and there is no error", what)
					}
					if err != nil && !errors.Is(err, context.Canceled) {
						t.Errorf("%s: %v; want an error that matches context.Canceled", what, err)
					}
					if errors.Is(err, kv.ErrIndeterminate) {
						t.Errorf("%s: the error %v matches ErrIndeterminate, which is for writes", what, err)
					}
				}
				var e kv.Entry
				err := t.cancelledOnTheWay(func(ctx context.Context) (err error) { e, err = t.Get(ctx, "key"); return err })
				check("Get", err, func() bool { return string(e.Value) == "value" })
				var ok bool
				err = t.cancelledOnTheWay(func(ctx context.Context) (err error) { ok, err = t.Exists(ctx, "key"); return err })
				check("Exists", err, func() bool { return ok })
				var entries map[string]kv.Entry
				err = t.cancelledOnTheWay(func(ctx context.Context) (err error) {
					entries, err = t.GetMany(ctx, []string{"absent", "key"})
					return err
				})
				check("GetMany", err, func() bool { return len(entries) == 1 })
				var page kv.Page
				err = t.cancelledOnTheWay(func(ctx context.Context) (err error) { page, err = t.ScanPage(ctx, "", 5, ""); return err })
				check("ScanPage", err, func() bool { return len(page.Entries) == 1 })
				n := 0
				err = t.cancelledOnTheWay(func(ctx context.Context) error {
					for _, err := range t.Scan(ctx, "") {
						if err != nil {
							return err
						}
						n++
					}
					return nil
				})
				check("Scan", err, func() bool { return n == 1 })
				err = t.cancelledOnTheWay(func(ctx context.Context) (err error) { n, err = t.Count(ctx, ""); return err })
				check("Count", err, func() bool { return n == 1 })
			}),
		rule("context/cancelled-during-scan",
			"A scan whose context is cancelled in the loop ends with the context's error, or is complete. It never ends early without an error.",
			func(t *trial) {
				keys := numbered("key:", 1100)
				t.fillKeys(keys...)
				ctx, cancel := context.WithCancel(t.ctx)
				defer cancel()
				var seen []kv.Entry
				var ended error
				for e, err := range t.Scan(ctx, "key:") {
					if ended != nil {
						t.Fatalf("Scan goes on after the error that ended it")
					}
					if err != nil {
						ended = err
						continue
					}
					if seen = append(seen, e); len(seen) == 2 {
						cancel()
					}
				}
				if ended == nil {
					t.wantKeys("Scan without an error", seen, keys)
					return
				}
				t.wantError("Scan", ended, context.Canceled)
				t.wantKeys("Scan", seen, keys[:min(len(seen), len(keys))])
			}),
		rule("context/others-unaffected",
			"The end of one call's context does not affect other calls.",
			func(t *trial) {
				t.fillKeys(numbered("key:", 20)...)
				ctx, cancel := context.WithCancel(t.ctx)
				if _, err := t.Get(ctx, "key:0000"); err != nil {
					t.Errorf("Get: %v", err)
				}
				if _, err := t.GetMany(ctx, []string{"key:0000", "key:0001"}); err != nil {
					t.Errorf("GetMany: %v", err)
				}
				for _, err := range t.Scan(ctx, "", kv.Limit(3)) {
					if err != nil {
						t.Errorf("Scan: %v", err)
					}
				}
				cancel()
				t.wantLive("key:0000", want{value: "key:0000"})
				t.put("key:0000", "new")
				t.wantContent(numbered("key:", 20)...)
			}),
	)
}

// cancelledOnTheWay runs the function call with a context that is cancelled when the call reaches
// the driver.
func (t *trial) cancelledOnTheWay(call func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	t.driver.before = cancel
	defer func() { t.driver.before = nil }()
	return call(ctx)
}

// entries returns the value and the expiry of every entry, by key.
func (t *trial) entries() map[string]string {
	entries := make(map[string]string)
	for _, e := range t.scan("") {
		entries[e.Key] = fmt.Sprintf("%s, which expires at %s", short(string(e.Value)), instant(e.ExpiresAt))
	}
	return entries
}
