package dynamokv

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/skykv/skykv/kv"
)

// The function at returns the value in JSON at a path of names.
func at(v any, names ...string) any {
	for _, name := range names {
		object, _ := v.(map[string]any)
		v = object[name]
	}
	return v
}

// tokenSeries has the tokens of all attempts at one write. add checks that token belongs to
// the next attempt, and appends it.
type tokenSeries []string

func (s *tokenSeries) add(t *testing.T, token any) {
	t.Helper()
	text, _ := token.(string)
	if n := len(*s); len(text) != 22 || n > 0 && text != kv.AttemptToken((*s)[0], n) {
		t.Errorf("rule: attempt %d of a write stores the token of this attempt; got %q after %q", n, text, *s)
	}
	*s = append(*s, text)
}

func TestEachAttemptOfAPutHasItsToken(t *testing.T) {
	t.Parallel()
	throttled := refuse(400, "ProvisionedThroughputExceededException", "slow down")
	const asked = "an-earlier-token-22-by"
	f := newFake(t, ok(`{"Item":`+itemJSON("t", "old", asked, 0)+`}`), properly(t, cut), properly(t, throttled), properly(t, ok("{}")))
	store := f.store(t)
	entry, err := store.Get(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	value := `"t":{"S":"` + asked + `"}`
	version, err := store.Put(t.Context(), "t", []byte(value), kv.IfVersion(entry.Version), kv.TTL(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	f.wantOps(t, "GetItem", "PutItem", "PutItem", "PutItem")
	var tokens tokenSeries
	first := f.call(1).body
	for n := 1; n <= 3; n++ {
		body := f.call(n).body
		tokens.add(t, at(body, "Item", "t", "S"))
		for _, rest := range [][]string{{"Item", "v", "B"}, {"Item", "sk", "S"}, {"Item", "x", "N"}, {"ExpressionAttributeValues", ":t", "S"}, {"ConditionExpression"}} {
			if got, want := at(body, rest...), at(first, rest...); got != want || got == nil {
				t.Errorf("rule: attempts differ only in the token; in attempt %d %v is %v, it was %v", n, rest, got, want)
			}
		}
	}
	// The result of the put is the version that the last attempt stored.
	item := itemJSON("t", "new", tokens[2], 0)
	f = newFake(t, ok(`{"Item":`+item+`}`))
	found, err := f.store(t).Get(t.Context(), "t")
	if err != nil || native(t, version) != native(t, found.Version) {
		t.Errorf("rule: Put returns the version that its last attempt stored; got %s, want %s, %v", version, found.Version, err)
	}
}

// native returns the token of a version.
func native(t *testing.T, v kv.Version) string {
	f := newFake(t, ok("{}"))
	_ = f.store(t).Delete(t.Context(), "t", kv.IfVersion(v))
	token, _ := at(f.call(0).body, "ExpressionAttributeValues", ":t", "S").(string)
	return token
}

// The rule: a put recognises the item of its own earlier attempt, and returns that
// attempt's version.
func TestVersionOfAnEarlierAttempt(t *testing.T) {
	t.Parallel()
	var stored string
	f := newFake(t,
		func(w http.ResponseWriter, r *http.Request, c call) {
			stored, _ = at(c.body, "Item", "t", "S").(string)
			cut(w, r, c)
		},
		func(w http.ResponseWriter, r *http.Request, c call) {
			conditionFailed(itemJSON("t", "new", stored, 0))(w, r, c)
		},
	)
	version, err := f.store(t).Put(t.Context(), "t", []byte("new"), kv.IfNotExists())
	if err != nil {
		t.Fatal(err)
	}
	if got := native(t, version); got != stored || stored == at(f.call(1).body, "Item", "t", "S") {
		t.Errorf("rule: the version is the version of the attempt that was carried out, %q; got %q", stored, got)
	}
}

func TestEachAttemptOfABatchHasItsTokens(t *testing.T) {
	t.Parallel()
	// Two attempts at the first request, and two at the request for the rest of the batch.
	f := newFake(t, properly(t, cut), properly(t, batch(func(key string, _ int) bool { return key != "key-0" })), properly(t, cut), properly(t, batch(func(string, int) bool { return false })))
	var req kv.WriteManyRequest
	for _, key := range names(3) {
		req.Writes = append(req.Writes, put(key, kv.Condition{}).Write)
	}
	results := f.driver(t).WriteMany(t.Context(), req)
	f.wantOps(t, "BatchWriteItem", "BatchWriteItem", "BatchWriteItem", "BatchWriteItem")
	tokens := make(map[string]*tokenSeries)
	for n := range f.ops() {
		requests, _ := at(f.call(n).body, "RequestItems", "table").([]any)
		for _, request := range requests {
			key := written(request)
			if tokens[key] == nil {
				tokens[key] = new(tokenSeries)
			}
			tokens[key].add(t, at(request, "PutRequest", "Item", "t", "S"))
		}
	}
	for i, want := range []int{2, 4, 4} {
		key := req.Writes[i].Key
		if tokens[key] == nil || len(*tokens[key]) != want {
			t.Errorf("%s was sent with tokens %v; want %d", key, tokens[key], want)
			continue
		}
		if r := results[i]; r.Err != nil || !r.Done || r.Version != (*tokens[key])[want-1] {
			t.Errorf("rule: a batch reports the version that the last attempt stored; got %+v for %s, which was sent with %v", r, key, *tokens[key])
		}
	}
}

// properly(t, next) is an answer that checks whether a request is signed with its body, and
// then responds as next does.
func properly(t *testing.T, next answer) answer {
	return func(w http.ResponseWriter, r *http.Request, c call) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		authorization := r.Header.Get("Authorization")
		again := r.Clone(context.Background())
		again.URL.Scheme, again.URL.Host = "http", r.Host
		signed := regexp.MustCompile(`SignedHeaders=([^,]*)`).FindStringSubmatch(authorization)
		if signed == nil {
			t.Errorf("the request has no signature")
			return
		}
		for name := range again.Header {
			if !strings.Contains(";"+signed[1]+";", ";"+strings.ToLower(name)+";") {
				again.Header.Del(name)
			}
		}
		signedAt, _ := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		hash := sha256.Sum256(body)
		err := v4.NewSigner().SignHTTP(r.Context(), aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret", SessionToken: "session"},
			again, hex.EncodeToString(hash[:]), "dynamodb", "us-east-1", signedAt)
		if got := again.Header.Get("Authorization"); err != nil || got != authorization {
			t.Errorf("rule: every attempt is signed with its own body; attempt %d has %q, want %q, %v", c.attempt, authorization, got, err)
		}
		next(w, r, c)
	}
}

// The rule: if the client encodes requests in a way in which skykv cannot find the tokens, the
// write is not repeated, because skykv could not give the next attempt tokens of its own.
func TestUnknownEncodingIsNotRepeated(t *testing.T) {
	t.Parallel()
	f := newFake(t, cut)
	client := dynamodb.New(f.client().Options(), func(o *dynamodb.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			return stack.Serialize.Add(middleware.SerializeMiddlewareFunc("spaced",
				func(ctx context.Context, in middleware.SerializeInput, next middleware.SerializeHandler) (middleware.SerializeOutput, middleware.Metadata, error) {
					r := in.Request.(*smithyhttp.Request)
					body, err := io.ReadAll(r.GetStream())
					if err == nil {
						in.Request, err = r.SetStream(bytes.NewReader(bytes.ReplaceAll(body, []byte(`":{`), []byte(`": {`))))
					}
					if err != nil {
						return middleware.SerializeOutput{}, middleware.Metadata{}, err
					}
					return next.HandleSerialize(ctx, in)
				}), middleware.After)
		})
	})
	d, err := newDriver("open", client, "table", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = kv.New(d).Put(t.Context(), "key", []byte("payload"))
	wantError(t, "Put", err, nil, true, "cannot be retried")
	f.wantOps(t, "PutItem")
	_, err = kv.New(d).PutMany(t.Context(), items(names(2)))
	wantError(t, "PutMany", err, nil, true, "cannot be retried")
	if err := kv.New(d).Delete(t.Context(), "key"); err == nil || len(f.ops()) != 5 {
		t.Errorf("rule: a Delete has no token and is retried; %d requests, %v", len(f.ops())-2, err)
	}
}
