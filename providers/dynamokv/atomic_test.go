package dynamokv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/skykv/skykv/kv"
)

// cancelled refuses a transaction. Each reason is a code, or a code, a colon and the item
// that the service sends with it.
func cancelled(reasons ...string) answer {
	var list []string
	for _, reason := range reasons {
		code, item, _ := strings.Cut(reason, ":")
		if item != "" {
			item = `,"Item":` + item
		}
		list = append(list, fmt.Sprintf(`{"Code":%q%s}`, code, item))
	}
	return refuse(400, "TransactionCanceledException", "Transaction cancelled", `,"CancellationReasons":[`+strings.Join(list, ",")+`]`)
}

func TestWriteAtomic(t *testing.T) {
	t.Parallel()
	a, b := itemJSON("g::a", "old", token, 0), itemJSON("g::b", "old", "AAAAAAAAAAAAAAAAAAAAAA", 0)
	mismatch := refuse(400, "IdempotentParameterMismatchException", "another request")
	inProgress := refuse(400, "TransactionInProgressException", "the transaction with the given request token is already in progress")
	for _, c := range []struct {
		name     string
		answers  []answer
		done     bool
		found    []bool // for each write, whether the result has a record
		maybe    bool
		kind     error
		requests int
	}{
		{"success", []answer{ok("{}")}, true, nil, false, nil, 1},
		{"a conflict", []answer{cancelled("TransactionConflict", "None"), cancelled("None", "ThrottlingError"), ok("{}")}, true, nil, false, nil, 3},
		{"conflicts without end", []answer{cancelled("TransactionConflict", "None")}, false, nil, false, kv.ErrThrottled, conflictTries},
		{"one condition", []answer{cancelled("ConditionalCheckFailed:"+a, "None")}, false, []bool{true, false}, false, nil, 1},
		{"both conditions", []answer{cancelled("ConditionalCheckFailed:"+a, "ConditionalCheckFailed:"+b)}, false, []bool{true, true}, false, nil, 1},
		{"a condition, with a conflict", []answer{cancelled("TransactionConflict", "ConditionalCheckFailed:"+b)}, false, []bool{false, true}, false, nil, 1},
		{"a lost response", []answer{cut, ok("{}")}, true, nil, false, nil, 2},
		{"a lost response, refused, and the fence is accepted", []answer{cut, cancelled("ConditionalCheckFailed:"+a, "None"), ok("{}")}, false, []bool{true, false}, false, nil, 3},
		{"a lost response, refused, and the fence is too late", []answer{cut, cancelled("ConditionalCheckFailed:"+a, "None"), mismatch}, true, nil, false, nil, 3},
		{"a lost response, refused, and the fence is lost", []answer{cut, cancelled("ConditionalCheckFailed:"+a, "None"), cut}, false, []bool{true, false}, true, nil, 5},
		{"a lost response, and the transaction is still under way", []answer{cut, inProgress, inProgress, inProgress, ok("{}")}, true, nil, false, nil, 5},
		{"a lost response, and the transaction is under way without end", []answer{cut, inProgress}, false, nil, true, kv.ErrThrottled, 3 * conflictTries},
		{"all responses lost", []answer{cut}, false, nil, true, kv.ErrUnavailable, 3},
		{"too few reasons", []answer{cancelled("ConditionalCheckFailed:" + a)}, false, nil, false, nil, 1},
		{"no reasons", []answer{cancelled()}, false, nil, false, nil, 1},
		{"another reason", []answer{cancelled("ValidationError", "None")}, false, nil, false, nil, 1},
		{"an item of another program", []answer{cancelled("None", `ConditionalCheckFailed:{"pk":{"S":"0"},"sk":{"S":"g::b"},"t":{"N":"1"}}`)}, false, nil, false, kv.ErrIncompatible, 1},
		{"an item of another key", []answer{cancelled("None", "ConditionalCheckFailed:"+a)}, false, nil, true, kv.ErrUnavailable, 1},
		{"no such table", []answer{refuse(400, "ResourceNotFoundException", "no table")}, false, nil, false, kv.ErrNotProvisioned, 1},
		{"an empty response", []answer{ok("")}, false, nil, true, kv.ErrUnavailable, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, c.answers...)
			req := kv.WriteManyRequest{Now: 1234, Writes: []kv.Write{
				{Kind: kv.KindPut, Record: kv.Record{Key: "g::a", Value: []byte("new"), Token: token}, Condition: kv.Condition{Kind: kv.CondAbsent}},
				{Kind: kv.KindTouch, Record: kv.Record{Key: "g::b", Expires: 9999, Token: "BBBBBBBBBBBBBBBBBBBBBB"}, Condition: kv.Condition{Kind: kv.CondLive}},
			}}
			out, err := f.driver(t).WriteAtomic(t.Context(), req)
			e, failed := err.(*kv.Error)
			if len(f.ops()) != c.requests {
				t.Errorf("%d requests; want %d", len(f.ops()), c.requests)
			}
			switch {
			case c.done:
				if err != nil || !out.Done || !slices.Equal(out.Versions, []string{token, "BBBBBBBBBBBBBBBBBBBBBB"}) {
					t.Errorf("rule: after %s all writes are done, and the versions are the tokens; got %+v, %v", c.name, out, err)
				}
			case c.found != nil:
				var found []bool
				for _, f := range out.Found {
					found = append(found, f != nil && f.Exists)
				}
				if err != nil || out.Done || out.MayHaveApplied != c.maybe || !slices.Equal(found, c.found) {
					t.Errorf("rule: after %s nothing is done, and the result has the records; got %+v, %v", c.name, out, err)
				}
			default:
				if !failed || e.MayHaveApplied != c.maybe || c.kind != nil && !errors.Is(e, c.kind) || errors.Is(e, kv.ErrConditionFailed) {
					t.Errorf("rule: after %s the error is %v, MayHaveApplied %v; got %+v, %v", c.name, c.kind, c.maybe, out, err)
				}
			}
		})
	}
}

// The rule: the service forgets the token of a request after ten minutes. After that, an accepted
// fence does not show that the transaction was not applied. A call takes so long only if the machine
// is suspended.
func TestFenceAfterASuspension(t *testing.T) {
	t.Parallel()
	a := itemJSON("g::a", "old", "AAAAAAAAAAAAAAAAAAAAAA", 0)
	mismatch := refuse(400, "IdempotentParameterMismatchException", "another request")
	for _, c := range []struct {
		name        string
		suspended   time.Duration
		fence       answer
		done, maybe bool
	}{
		{"accepted, within the token's life", tokenLife - time.Second, ok("{}"), false, false},
		{"accepted, after the token's life", tokenLife, ok("{}"), false, true},
		{"refused, after the token's life", tokenLife, mismatch, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, cut, cancelled("ConditionalCheckFailed:"+a), c.fence)
			d := f.driver(t)
			clock := time.Now()
			d.now = func() time.Time {
				now := clock
				clock = clock.Add(c.suspended)
				return now
			}
			out, err := d.WriteAtomic(t.Context(), kv.WriteManyRequest{Now: 1234, Writes: []kv.Write{
				{Kind: kv.KindDelete, Record: kv.Record{Key: "g::a", Token: token}, Condition: kv.Condition{Kind: kv.CondVersion, Version: "BBBBBBBBBBBBBBBBBBBBBB"}},
			}})
			if err != nil || out.Done != c.done || out.MayHaveApplied != c.maybe {
				t.Errorf("rule: ErrConditionFailed means that nothing was written; after a lost response and a fence that was %s: %+v, %v; want Done %t, MayHaveApplied %t", c.name, out, err, c.done, c.maybe)
			}
		})
	}
}

// The rule: while a transaction conflicts with others, the call ends if its context ends, or
// after the store's timeout.
func TestConflictsUntilTheContextEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end   func(context.Context) (context.Context, context.CancelFunc)
		after time.Duration
		want  error
		says  string
	}{
		"the caller leaves": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(ctx)
			return ctx, func() { cancel(errors.New("a reason of the caller")) }
		}, 0, context.Canceled, ""},
		"the caller's deadline": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Second)
		}, time.Second, context.DeadlineExceeded, ""},
		"the store's timeout": {context.WithCancel, 3 * time.Second, context.DeadlineExceeded, "within the store's timeout"},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{answers: []answer{cancelled("TransactionConflict")}, url: "http://dynamodb.invalid"}
			client := dynamodb.New(f.client().Options(), func(o *dynamodb.Options) {
				o.HTTPClient = httpClientFunc(func(r *http.Request) (*http.Response, error) {
					w := httptest.NewRecorder() // no network: the clock is simulated
					f.ServeHTTP(w, r)
					return w.Result(), nil
				})
			})
			d, err := newDriver("open", client, "table", nil)
			if err != nil {
				t.Fatal(err)
			}
			d.timeout = 3 * time.Second
			began := time.Now()
			ctx, cancel := c.end(t.Context())
			defer cancel()
			d.pause = func(ctx context.Context, _ int) error {
				if c.want == context.Canceled {
					cancel()
				}
				<-ctx.Done()
				return ctx.Err()
			}
			_, err = kv.New(d).AtomicWrite(ctx, kv.PutOp("g::a", nil))
			wantError(t, name+": AtomicWrite", err, errors.Join(kv.ErrThrottled, c.want), false, c.says)
			if took := time.Since(began); took != c.after {
				t.Errorf("rule: the call ends with its context, or after the store's timeout; %s: it took %s, want %s", name, took, c.after)
			}
		})
	}
}

// The rule: failed conditions are reported, whatever the size of the values that the
// service returns with them.
func TestAtomicFailsOnLargeValues(t *testing.T) {
	t.Parallel()
	value := strings.Repeat("x", kv.MaxLargeValueLen)
	var writes []kv.Write
	var reasons []string
	for i := range 70 { // more than fit into the response to a batch
		key := fmt.Sprintf("g::%d", i)
		writes = append(writes, kv.Write{Kind: kv.KindCheck, Record: kv.Record{Key: key, Token: token}, Condition: kv.Condition{Kind: kv.CondAbsent}})
		reasons = append(reasons, "ConditionalCheckFailed:"+itemJSON(key, value, token, 0))
	}
	f := newFake(t, cancelled(reasons...))
	out, err := f.driver(t).WriteAtomic(t.Context(), kv.WriteManyRequest{Now: 1234, Writes: writes})
	if err != nil || len(out.Found) != len(writes) || out.Found[0] == nil || !out.Found[0].Exists {
		t.Errorf("rule: failed conditions are reported, whatever the size of the values; got %d records, %v", len(out.Found), err)
	}
	f.wantOps(t, "TransactWriteItems")
}

// The rule: for the service, all attempts of one call are the same request, and two calls
// are different requests.
func TestAtomicTokens(t *testing.T) {
	t.Parallel()
	f := newFake(t, cut, cancelled("TransactionConflict"), ok("{}"))
	d := f.driver(t)
	for round := range 2 {
		w := kv.Write{Kind: kv.KindPut, Record: kv.Record{Key: "k", Value: []byte("v"), Token: kv.AttemptToken(token, round*4096)}}
		if _, err := d.WriteAtomic(t.Context(), kv.WriteManyRequest{Writes: []kv.Write{w}}); err != nil {
			t.Fatal(err)
		}
	}
	bodies := make(map[string]int)
	tokens := make(map[string]int)
	for n := range f.ops() {
		body, _ := json.Marshal(f.call(n).body)
		bodies[string(body)]++
		tokens[fmt.Sprint(f.call(n).body["ClientRequestToken"])]++
	}
	if len(bodies) != 2 || len(tokens) != 2 {
		t.Errorf("rule: all attempts of a round are the same request, with the round's own token; there are %d requests and %d tokens", len(bodies), len(tokens))
	}
	for token := range tokens {
		if n := len(token); n == 0 || n > 36 {
			t.Errorf("rule: a request's token has at most 36 characters; %q has %d", token, n)
		}
	}
}

// The rule: a touch is one request, which does not contain the value.
func TestTouch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		rec    kv.Record
		cond   kv.Condition
		update string
	}{
		{"an expiry", kv.Record{Expires: 1500}, kv.Condition{Kind: kv.CondLive}, "SET t = :token, x = :x, #ttl = :ttl REMOVE p"},
		{"no expiry", kv.Record{}, kv.Condition{Kind: kv.CondVersion, Version: token}, "SET t = :token REMOVE x, #ttl, p"},
		{"predecessors", kv.Record{Predecessors: "a b"}, kv.Condition{Kind: kv.CondVersion, Version: token}, "SET t = :token, p = :p REMOVE x, #ttl"},
		{"all", kv.Record{Expires: 1500, Predecessors: "a b"}, kv.Condition{Kind: kv.CondVersion, Version: token}, "SET t = :token, x = :x, #ttl = :ttl, p = :p"},
	} {
		f := newFake(t, cut, ok("{}"))
		c.rec.Key, c.rec.Token = "key", token
		out, err := f.driver(t).Write(t.Context(), kv.WriteRequest{Now: 1234, Write: kv.Write{Kind: kv.KindTouch, Record: c.rec, Condition: c.cond}})
		if err != nil || !out.Done || out.Version != kv.AttemptToken(token, 1) {
			t.Errorf("%s: rule: each attempt has a token, which is the version; got %+v, %v", c.name, out, err)
		}
		f.wantOps(t, "UpdateItem", "UpdateItem")
		body := f.call(1).body
		if got := body["UpdateExpression"]; got != c.update {
			t.Errorf("%s: the update is %v; want %s", c.name, got, c.update)
		}
		if got := at(body, "ExpressionAttributeValues", ":token", "S"); got != out.Version {
			t.Errorf("%s: the second attempt stores the token %v; want %s", c.name, got, out.Version)
		}
		if c.rec.Expires != 0 && at(body, "ExpressionAttributeValues", ":ttl", "N") != "3602" {
			t.Errorf("%s: rule: the service may delete an item an hour after its expiry, rounded up; ttl is %v", c.name, at(body, "ExpressionAttributeValues", ":ttl", "N"))
		}
	}
}
