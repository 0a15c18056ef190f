package dynamokv

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/skykv/skykv/internal/testing/emulator"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

// byOp has a separate response for each operation. To an operation that is not in answers,
// byOp responds as for an empty table without TTL.
func byOp(answers map[string]answer) answer {
	others := map[string]answer{"DescribeTimeToLive": ttl("DISABLED", ""), "UpdateTimeToLive": ok(ttlSwitched), "Scan": noItems}
	return func(w http.ResponseWriter, r *http.Request, c call) {
		next := answers[c.op]
		if next == nil {
			next = others[c.op]
		}
		if next == nil {
			next = ok("{}")
		}
		next(w, r, c)
	}
}

var noItems = ok(`{"Items":[],"Count":0}`)

// wantChecks compares checks with lines. A line has a status, a name and words of the
// detail. Every warning or failure must have a fix.
func wantChecks(t *testing.T, checks []provider.Check, lines ...string) {
	t.Helper()
	shown := make([]string, len(checks))
	for i, c := range checks {
		shown[i] = fmt.Sprintf("%s %s %s", c.Status, c.Name, c.Detail)
	}
	good := len(checks) == len(lines)
	for i := 0; good && i < len(lines); i++ {
		start, words, _ := strings.Cut(lines[i], ": ")
		c := checks[i]
		good = start == fmt.Sprintf("%s %s", c.Status, c.Name) && strings.Contains(c.Detail, words) && (c.Status == provider.OK) == (c.Fix == "")
	}
	if !good {
		t.Errorf("the checks are\n%s\nwant\n%s, and a fix for all but ok", strings.Join(shown, "\n"), strings.Join(lines, "\n"))
	}
}

// The rule: Inspect and Ensure agree. A failure without a Step is one that Ensure cannot
// put right. Inspect reports such a failure for every table for which Ensure returns
// ErrIncompatible. Ensure fails on every table with such a failure.
func TestInspectAgreesWithEnsure(t *testing.T) {
	t.Parallel()
	active := described("ACTIVE", "pk", "S", "sk", "S")
	item := func(json string) answer { return ok(`{"Item":` + json + `}`) }
	denied := refuse(400, "AccessDeniedException", "not authorized")
	none := refuse(400, "ResourceNotFoundException", "Requested resource not found")
	const reached, clock, credentials, table, on, layout = "ok reachable: answers", "ok clock: ", "ok credentials: us-east-1", "ok table: ACTIVE", `ok ttl: enabled, on attribute "ttl"`, "ok layout: 16 shards"
	for name, test := range map[string]struct {
		answers map[string]answer
		want    []string
		refused error // Ensure's error, nil if it succeeds
	}{
		"complete": {map[string]answer{"DescribeTable": active, "DescribeTimeToLive": ttl("ENABLED", "ttl"), "GetItem": item(layout16)},
			[]string{table, on, layout}, nil},
		"without TTL": {map[string]answer{"DescribeTable": active, "GetItem": item(layout16)},
			[]string{table, "warn ttl: off", layout}, nil},
		"TTL on another attribute": {map[string]answer{"DescribeTable": active, "DescribeTimeToLive": ttl("ENABLED", "x"), "GetItem": item(layout16)},
			[]string{table, `fail ttl: is on attribute "x"; want attribute "ttl"`, layout}, kv.ErrIncompatible},
		"TTL being switched off": {map[string]answer{"DescribeTable": active, "DescribeTimeToLive": ttl("DISABLING", "ttl"), "GetItem": item(layout16)},
			[]string{table, "warn ttl: being switched off", layout}, kv.ErrUnavailable},
		"no layout record": {map[string]answer{"DescribeTable": active, "DescribeTimeToLive": ttl("ENABLED", "ttl")},
			[]string{table, on, "warn layout: no layout record yet"}, nil},
		"items of other programs": {map[string]answer{"DescribeTable": active, "DescribeTimeToLive": ttl("ENABLED", "ttl"), "Scan": ok(`{"Items":[{"pk":{"S":"a"}}],"Count":1}`)},
			[]string{table, on, "fail layout: belongs to another program"}, kv.ErrIncompatible},
		"other shards": {map[string]answer{"DescribeTable": active, "DescribeTimeToLive": ttl("ENABLED", "ttl"), "GetItem": item(layoutJSON(`{"N":"2"}`, `{"N":"4"}`))},
			[]string{table, on, "fail layout: 4 shards; the URL says 16"}, kv.ErrIncompatible},
		"other layout": {map[string]answer{"DescribeTable": active, "DescribeTimeToLive": ttl("ENABLED", "ttl"), "GetItem": item(alienJSON)},
			[]string{table, on, `fail layout: has layout "alien" and was opened with layout "skykv"; want layout=alien`}, kv.ErrIncompatible},
		"items of the Alien platform": {map[string]answer{"DescribeTable": active, "DescribeTimeToLive": ttl("ENABLED", "ttl"),
			"Scan": ok(`{"Items":[{"pk":{"S":"bucket_2"},"sk":{"S":"user:42"},"version":{"S":"` + hexVersion + `"},"value":{"B":""}}],"Count":1}`)},
			[]string{table, on, "fail layout: belongs to another program, on the Alien platform; want layout=alien"}, kv.ErrIncompatible},
		"format 1": {map[string]answer{"DescribeTable": active, "DescribeTimeToLive": ttl("ENABLED", "ttl"), "GetItem": item(layoutJSON(`{"N":"1"}`, `{"N":"16"}`))},
			[]string{table, on, "fail layout: format 1"}, kv.ErrIncompatible},
		"not a record of skykv": {map[string]answer{"DescribeTable": active, "DescribeTimeToLive": ttl("ENABLED", "ttl"), "GetItem": item(layoutJSON(`{"N":"2"}`, `{"S":"16"}`))},
			[]string{table, on, "fail layout: is not a layout record"}, kv.ErrIncompatible},
		"other attributes as the key": {map[string]answer{"DescribeTable": described("ACTIVE", "id", "S", "sk", "S")},
			[]string{"fail table: is HASH id S RANGE sk S; it must be HASH pk S RANGE sk S"}, kv.ErrIncompatible},
		"other types of the key": {map[string]answer{"DescribeTable": described("ACTIVE", "pk", "S", "sk", "B")},
			[]string{"fail table: is HASH pk S RANGE sk B"}, kv.ErrIncompatible},
		"being deleted": {map[string]answer{"DescribeTable": described("DELETING", "pk", "S", "sk", "S")},
			[]string{"fail table: DELETING"}, kv.ErrUnavailable},
		"describing denied": {map[string]answer{"DescribeTable": denied, "DescribeTimeToLive": denied, "GetItem": item(layout16)},
			[]string{"warn table: dynamodb:DescribeTable", "warn ttl: dynamodb:DescribeTimeToLive", layout}, kv.ErrPermission},
		"reading denied": {map[string]answer{"DescribeTable": active, "DescribeTimeToLive": ttl("ENABLED", "ttl"), "GetItem": denied},
			[]string{table, on, "fail layout: not authorized"}, kv.ErrPermission},
		"reading other programs' items denied": {map[string]answer{"DescribeTable": active, "DescribeTimeToLive": ttl("ENABLED", "ttl"), "Scan": denied},
			[]string{table, on, "warn layout: no layout record yet"}, kv.ErrPermission},
		"an unreadable table": {map[string]answer{"DescribeTable": active, "DescribeTimeToLive": ttl("ENABLED", "ttl"), "Scan": refuse(400, "InternalServerError", "no scan today")},
			[]string{table, on, "fail layout: no scan today"}, kv.ErrUnavailable},
		"unknown credentials": {map[string]answer{"DescribeTable": refuse(400, "UnrecognizedClientException", "The security token included in the request is invalid.")},
			[]string{"fail table: security token"}, kv.ErrPermission},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, byOp(test.answers))
			checks := slices.Collect(Inspect(t.Context(), "dynamodb://table?region=us-east-1&endpoint="+url.QueryEscape(f.url)))
			wantChecks(t, checks, append([]string{reached, clock, credentials}, test.want...)...)
			for _, c := range checks {
				if c.Fix == "name another table or collection" && !errors.Is(c.Err, kv.ErrIncompatible) {
					t.Errorf("rule: only a table with other contents calls for another table; after %v the fix is %q", c.Err, c.Fix)
				}
			}
			for _, op := range f.ops() {
				if strings.HasPrefix(op, "Create") || strings.HasPrefix(op, "Update") || strings.HasPrefix(op, "Put") {
					t.Errorf("rule: Inspect changes nothing; it requested %s", op)
				}
			}
			beyond := slices.ContainsFunc(checks, func(c provider.Check) bool { return c.Status == provider.Fail && c.Step == "" })
			err := f.driver(t).ensure(t.Context())
			if test.refused == nil && err != nil || !errors.Is(err, test.refused) {
				t.Errorf("Ensure: %v; want %v", err, test.refused)
			}
			if incompatible := errors.Is(err, kv.ErrIncompatible); incompatible && !beyond || err == nil && beyond {
				t.Errorf("rule: Inspect fails if Ensure refuses; the checks are %+v and the error is %v", checks, err)
			}
		})
	}

	// Ensure can put these failures right.
	for name, test := range map[string]struct {
		answer answer
		want   []string
		steps  []string
	}{
		"no table": {none, []string{`fail table: there is no table "table" in us-east-1`, "warn ttl: off", "warn layout: no layout record"},
			[]string{`create table "table" with primary key HASH pk S RANGE sk S and on-demand billing`, `switch on the TTL of attribute "ttl"`, "write the layout record"}},
		"a table being created": {described("CREATING", "pk", "S", "sk", "S"), []string{"fail table: CREATING"}, []string{`wait until table "table" is ACTIVE`}},
	} {
		f := newFake(t, byOp(map[string]answer{"DescribeTable": test.answer}))
		checks := slices.Collect(Inspect(t.Context(), "dynamodb://table?region=us-east-1&endpoint="+url.QueryEscape(f.url)))
		wantChecks(t, checks, append([]string{reached, clock, credentials}, test.want...)...)
		var steps []string
		for _, c := range checks {
			if c.Step != "" {
				steps = append(steps, c.Step)
			}
		}
		if !slices.Equal(steps, test.steps) {
			t.Errorf("rule: a check has the step that Ensure takes; with %s the steps are %q, want %q", name, steps, test.steps)
		}
	}
}

func TestInspectTTL(t *testing.T) {
	t.Parallel()
	d := newFake(t, ok("{}")).driver(t)
	for _, c := range []struct {
		ttl  *types.TimeToLiveDescription
		want provider.Status
		step bool
	}{
		{&types.TimeToLiveDescription{TimeToLiveStatus: types.TimeToLiveStatusDisabled}, provider.Warn, true},
		{&types.TimeToLiveDescription{TimeToLiveStatus: types.TimeToLiveStatusEnabled, AttributeName: aws.String("ttl")}, provider.OK, false},
		{&types.TimeToLiveDescription{TimeToLiveStatus: types.TimeToLiveStatusEnabling, AttributeName: aws.String("ttl")}, provider.OK, false},
		{&types.TimeToLiveDescription{TimeToLiveStatus: types.TimeToLiveStatusEnabled, AttributeName: aws.String("x")}, provider.Fail, false},
		{&types.TimeToLiveDescription{TimeToLiveStatus: types.TimeToLiveStatusDisabling, AttributeName: aws.String("ttl")}, provider.Warn, false},
	} {
		if got := d.inspectTTL(c.ttl, nil); got.Status != c.want || (got.Step != "") != c.step {
			t.Errorf("a TTL of %+v is %+v; want %s, with a step: %t", c.ttl, got, c.want, c.step)
		}
	}
}

// The rule: Inspect checks the host that the store uses, with a client like the store's.
func TestInspectGoesWhereTheStoreGoes(t *testing.T) {
	clearAWS(t, map[string]string{"AWS_ACCESS_KEY_ID": "AKIDOWN", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-central-1"})
	f := newFake(t, byOp(map[string]answer{
		"DescribeTable": described("ACTIVE", "pk", "S", "sk", "S"), "DescribeTimeToLive": ttl("ENABLED", "ttl"), "GetItem": ok(`{"Item":` + layout16 + `}`),
	}))
	t.Setenv("AWS_ENDPOINT_URL", f.url)
	checks := slices.Collect(Inspect(t.Context(), "dynamodb://table"))
	wantChecks(t, checks, "ok reachable: "+f.url, "ok clock: ", "ok credentials: eu-central-1", "ok table: ", "ok ttl: ", "ok layout: ")
	f.wantOps(t, "", "DescribeTable", "DescribeTimeToLive", "GetItem", "Scan")

	// Without credentials Inspect still reaches the host.
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	f = newTLSFake(t, ok("{}"))
	t.Setenv("AWS_ENDPOINT_URL", f.url)
	checks = slices.Collect(Inspect(t.Context(), "dynamodb://table"))
	wantChecks(t, checks, "ok reachable: "+f.url, "ok clock: ", "fail credentials: no AWS credentials")
	if last := checks[len(checks)-1]; !errors.Is(last.Err, kv.ErrPermission) {
		t.Errorf("rule: missing credentials are ErrPermission; got %v", last.Err)
	}
	f.wantOps(t, "")
}

// The rule: among the items that one request returns, Inspect counts those that are in the wrong
// place, or whose attributes other than the value do not have the layout.
func TestInspectCountsForeignItems(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer answer
		want   string
	}{
		"own items": {ok(`{"Items":[` + layout16 + `,` + itemJSON("a", "1", token, 0) + `,` + itemJSON("b", "1", token, 9) + `]}`), ""},
		"foreign items": {ok(`{"Items":[` + layout16 + `,` + itemJSON("a", "1", token, 0) +
			`,{"pk":{"S":"0"},"sk":{"S":"in another shard"},"t":{"S":"` + token + `"}}` +
			`,{"pk":{"S":"theirs"},"sk":{"S":"a"},"t":{"S":"` + token + `"}}` +
			`,{"pk":{"S":"` + fmt.Sprint(kv.Shard("no token", DefaultShards)) + `"},"sk":{"S":"no token"}}` +
			`,{"pk":{"S":"` + fmt.Sprint(kv.Shard("no\nkey", DefaultShards)) + `"},"sk":{"S":"no\nkey"},"t":{"S":"` + token + `"}}]}`),
			"warn records: 4 of the first 6 items"},
		"reading not permitted": {refuse(400, "AccessDeniedException", "no"), ""},
	} {
		f := newFake(t, byOp(map[string]answer{
			"DescribeTable": described("ACTIVE", "pk", "S", "sk", "S"), "DescribeTimeToLive": ttl("ENABLED", "ttl"), "GetItem": ok(`{"Item":` + layout16 + `}`),
			"Scan": test.answer,
		}))
		want := []string{"ok reachable: ", "ok clock: ", "ok credentials: ", "ok table: ", "ok ttl: ", "ok layout: "}
		if test.want != "" {
			want = append(want, test.want)
		}
		checks := slices.Collect(Inspect(t.Context(), "dynamodb://table?region=us-east-1&endpoint="+url.QueryEscape(f.url)))
		t.Log(name)
		wantChecks(t, checks, want...)
	}
}

func TestInspectEndsEarly(t *testing.T) {
	clearAWS(t, nil)
	wantChecks(t, slices.Collect(Inspect(t.Context(), "dynamodb://table?shards=0")), "fail url: 1 to 256")
	wantChecks(t, slices.Collect(Inspect(t.Context(), "dynamodb://table")), "fail url: no region")
	wantChecks(t, slices.Collect(Inspect(t.Context(), "dynamodb://table?endpoint=http://127.0.0.1:1")), "fail reachable: refused")
	f := newFake(t, byOp(map[string]answer{"DescribeTable": described("ACTIVE", "pk", "S", "sk", "S")}))
	for most := 1; most <= 6; most++ {
		n := 0
		for range Inspect(t.Context(), "dynamodb://table?endpoint="+f.url) {
			if n++; n == most {
				break
			}
		}
		if n != most {
			t.Errorf("rule: Inspect ends with the loop; it yielded %d checks, want %d", n, most)
		}
	}
}

// TestProvider runs on DynamoDB Local. It begins with the URL of a missing table, and ends with a
// store.
func TestProvider(t *testing.T) {
	t.Parallel()
	client := local(t)
	table := newTable(t, client)
	set := provider.Set{Provider()}
	url := fmt.Sprintf("dynamodb://%s?region=us-east-1&shards=4&endpoint=%s", table, url.QueryEscape(emulator.DynamoDB(t)))
	ctx := t.Context()
	wantChecks(t, slices.Collect(set.Inspect(ctx, url)), "ok reachable: ", "ok clock: ", "ok credentials: ", "fail table: no table", "warn ttl: off", "warn layout: no layout record")
	if _, err := set.Open(ctx, url); !errors.Is(err, kv.ErrNotProvisioned) {
		t.Errorf("Open without a table: %v; want ErrNotProvisioned", err)
	}
	for range 2 {
		if err := set.Ensure(ctx, url); err != nil {
			t.Fatal(err)
		}
		wantChecks(t, slices.Collect(set.Inspect(ctx, url)), "ok reachable: ", "ok clock: ", "ok credentials: ", "ok table: ACTIVE, PAY_PER_REQUEST", "ok ttl: ", "ok layout: 4 shards", "ok open: 4 shards", "ok latency: ")
	}
	store, err := set.Open(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := store.Put(ctx, "key", nil); err != nil {
		t.Error(err)
	}
	c, err := Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := EnsureWith(context.WithoutCancel(ctx), c.Client, c.Table, &c.Options); err != nil || c.Table != table || c.Options.Shards != 4 {
		t.Errorf("rule: the fields of a Connection are arguments of EnsureWith; got %+v, %v", c, err)
	}
}
