package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

var kinds = []Kind{Pass, Delay, Drop, Refuse, Throttle, Hang, Lose, Truncate, Fail, Garbage, Late}

const answerText = "the service's answer, long enough to be cut in half"

// abandoned returns a plan that chooses the same faults as plan. When it lets a request hang, it
// also calls cancel, as if the client no longer waited.
func abandoned(plan Plan, cancel context.CancelFunc) Plan {
	return func(r Request) Kind {
		kind := plan(r)
		if kind == Hang {
			cancel()
		}
		return kind
	}
}

// TestHTTP checks, for each kind, what the service receives and what the client gets.
func TestHTTP(t *testing.T) {
	var seen, mismatched atomic.Int32
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		body, _ := io.ReadAll(r.Body)
		if string(body) != "the request" || r.Header.Get("X-Amz-Target") != "DynamoDB_20120810.PutItem" || r.URL.Path != "/base/path" || r.Header.Get(opHeader) != "" {
			mismatched.Add(1)
		}
		if r.Host == strings.TrimPrefix(r.Header.Get("X-Proxy"), "http://") {
			io.WriteString(w, answerText)
		}
	}))
	defer service.Close()
	proxy, err := NewHTTP(service.URL + "/base")
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	client := &http.Client{Transport: Transport(nil)}
	for _, kind := range kinds {
		seen.Store(0)
		ctx, cancel := context.WithTimeout(WithOp(t.Context(), "op"), time.Minute)
		proxy.Use(abandoned(Always(kind), cancel))
		var between int32 = -1
		proxy.Between(func(Attempt) { between = seen.Load() })
		req, _ := http.NewRequestWithContext(ctx, http.MethodPost, proxy.URL+"/path", strings.NewReader("the request"))
		req.GetBody = nil
		req.Header.Set("X-Amz-Target", "DynamoDB_20120810.PutItem")
		req.Header.Set("X-Proxy", strings.TrimSuffix(proxy.URL, "/base"))
		resp, err := client.Do(req)
		status, body := 0, ""
		if err == nil {
			var read []byte
			read, err = io.ReadAll(resp.Body)
			resp.Body.Close()
			status, body = resp.StatusCode, string(read)
		}
		cancel()
		attempts := proxy.Take()
		if n := seen.Load(); n != map[bool]int32{true: 1}[kind.Forwarded()] {
			t.Errorf("%s: the service saw %d requests", kind, n)
		}
		if heard := err == nil && status == 200 && body == answerText; heard != kind.Delivered() {
			t.Errorf("%s: the client got %d %q, %v", kind, status, body, err)
		}
		if (between == 1) != (kind.Forwarded() && !kind.Delivered()) {
			t.Errorf("%s: Between saw %d requests", kind, between)
		}
		if len(attempts) != 1 {
			t.Fatalf("%s: the record has %d attempts", kind, len(attempts))
		}
		a := attempts[0]
		if a.Op != "op" || a.Method != "PutItem" || !a.Write || a.Kind != kind || a.Sent.IsZero() == kind.Forwarded() || a.Answered.IsZero() == kind.Forwarded() {
			t.Errorf("%s: the record is %+v", kind, a)
		}
		want := map[Kind]int{Refuse: 503, Throttle: 400}[kind]
		if want != 0 && status != want || kind == Fail && (status < 500 || status == 501) {
			t.Errorf("%s: status %d", kind, status)
		}
	}
	if mismatched.Load() != 0 {
		t.Errorf("%d requests were changed on the way", mismatched.Load())
	}

	proxy.Use(nil)
	proxy.Down()
	if _, err := client.Get(proxy.URL); err == nil {
		t.Error("an outage lets requests through")
	}
	if err := proxy.Up(); err != nil {
		t.Fatal(err)
	}
	resp, err := client.Get(proxy.URL)
	if err != nil {
		t.Fatalf("after the outage: %v", err)
	}
	resp.Body.Close()
}

// TestGRPC is like TestHTTP, for a service that answers a Commit with one message and a
// RunQuery with four.
func TestGRPC(t *testing.T) {
	var seen atomic.Int32
	service := grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		var request []byte
		if err := stream.RecvMsg(&request); err != nil {
			return err
		}
		seen.Add(1)
		n := 1
		if method, _ := grpc.MethodFromServerStream(stream); strings.HasSuffix(method, "RunQuery") {
			n = 4
		}
		for range n {
			if err := stream.SendMsg(&request); err != nil {
				return err
			}
		}
		if string(request) == "refuse" {
			return status.Error(codes.AlreadyExists, "it exists")
		}
		return nil
	}))
	backend := httptest.NewUnstartedServer(nil).Listener
	go service.Serve(backend)
	defer service.Stop()
	proxy, err := NewGRPC(backend.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	conn, err := grpc.NewClient("passthrough:///"+proxy.Addr, append(DialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{})))...)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	call := func(ctx context.Context, method, request string) (n int, err error) {
		stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/google.firestore.v1.Firestore/"+method)
		message := []byte(request)
		if err == nil {
			err = stream.SendMsg(&message)
		}
		if err == nil {
			err = stream.CloseSend()
		}
		for err == nil {
			var answer []byte
			if err = stream.RecvMsg(&answer); err == nil && string(answer) == request {
				n++
			}
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return n, err
	}
	for method, messages := range map[string]int{"Commit": 1, "RunQuery": 4} {
		for _, kind := range kinds {
			seen.Store(0)
			ctx, cancel := context.WithTimeout(WithOp(t.Context(), "op"), time.Minute)
			proxy.Use(abandoned(Always(kind), cancel))
			got, err := call(ctx, method, "request")
			cancel()
			attempts := proxy.Take()
			if n := seen.Load(); n != map[bool]int32{true: 1}[kind.Forwarded()] {
				t.Errorf("%s %s: the service saw %d requests", method, kind, n)
			}
			if heard := err == nil && got == messages; heard != kind.Delivered() {
				t.Errorf("%s %s: the client got %d messages, %v", method, kind, got, err)
			}
			if kind == Truncate && got != messages/2 {
				t.Errorf("%s %s: %d of %d messages", method, kind, got, messages)
			}
			want := map[Kind]codes.Code{Drop: codes.Unavailable, Lose: codes.Unavailable, Throttle: codes.ResourceExhausted, Hang: codes.Canceled}[kind]
			if want != codes.OK && status.Code(err) != want {
				t.Errorf("%s %s: %v", method, kind, err)
			}
			if len(attempts) != 1 {
				t.Fatalf("%s %s: the record has %d attempts", method, kind, len(attempts))
			}
			a := attempts[0]
			if a.Op != "op" || a.Method != method || a.Write != (method == "Commit") || a.Answered.IsZero() == kind.Forwarded() {
				t.Errorf("%s %s: the record is %+v", method, kind, attempts)
			}
		}
	}
	proxy.Use(nil)
	if _, err := call(t.Context(), "Commit", "refuse"); status.Code(err) != codes.AlreadyExists {
		t.Errorf("the service's own refusal became %v", err)
	}
}

// TestDriver checks that a driver over the simulated network reports the same as the driver
// of a service would.
func TestDriver(t *testing.T) {
	ctx := t.Context()
	in := new(Injector)
	direct := memkv.New()
	store := direct.With(kv.Wrap(kv.Level1, Driver(in, 4)))
	for i, kind := range kinds {
		key := fmt.Sprint(i)
		call, cancel := context.WithCancel(ctx)
		in.Use(abandoned(Writes(kind), cancel))
		version, err := store.Put(call, key, []byte("value"), kv.IfNotExists())
		cancel()
		in.Take()
		entry, _ := direct.Get(ctx, key)
		if kind == Hang {
			if !errors.Is(err, kv.ErrIndeterminate) || !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", kind, err)
			}
		} else if err != nil || version != entry.Version {
			t.Errorf("%s: %v", kind, err)
		}
	}
	in.Use(Always(Lose))
	if _, err := store.Put(ctx, "lost", nil); !errors.Is(err, kv.ErrIndeterminate) || !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("four lost answers: %v", err)
	}
	in.Use(Always(Throttle))
	if _, err := store.Put(ctx, "throttled", nil); errors.Is(err, kv.ErrIndeterminate) || !errors.Is(err, kv.ErrThrottled) {
		t.Errorf("four refusals: %v", err)
	}
	if n := len(in.Take()); n != 4 {
		t.Errorf("%d attempts", n)
	}
}

// refusing is a driver that refuses the write of one key in each batch that has this key.
type refusing struct {
	kv.Driver
	key string
}

func (d refusing) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	i := slices.IndexFunc(req.Writes, func(w kv.Write) bool { return w.Key == d.key })
	if i < 0 {
		return d.Driver.WriteMany(ctx, req)
	}
	req.Writes = slices.Delete(slices.Clone(req.Writes), i, i+1)
	return slices.Insert(d.Driver.WriteMany(ctx, req), i, kv.WriteResult{Err: &kv.Error{Kind: kv.ErrThrottled}})
}

// TestDriverBatch writes a batch in which one key is finally refused. The rule: the error of that
// key is indeterminate if the response to an earlier attempt was lost. The other keys have no
// error.
func TestDriverBatch(t *testing.T) {
	in := new(Injector)
	store := memkv.New().With(kv.Wrap(kv.Level1, Driver(in, 2), func(d kv.Driver) kv.Driver { return refusing{d, "b"} }))
	for kind, indeterminate := range map[Kind]bool{Pass: false, Throttle: false, Lose: true} {
		in.Use(Writes(kind))
		_, err := store.PutMany(t.Context(), []kv.Item{{Key: "a"}, {Key: "b"}, {Key: "c"}})
		in.Take()
		batch, ok := errors.AsType[*kv.BatchError](err)
		if !ok || len(batch.Failed) != 1 || !errors.Is(batch.Failed["b"], kv.ErrThrottled) || errors.Is(batch.Failed["b"], kv.ErrIndeterminate) != indeterminate {
			t.Errorf("%s: %v; want ErrThrottled of b alone, indeterminate: %v", kind, err, indeterminate)
		}
	}
}

// TestDriverReads checks that a read that was retried is right, and that a read without any
// response returns an error for every key.
func TestDriverReads(t *testing.T) {
	in := new(Injector)
	store := memkv.New().With(kv.Wrap(kv.Level1, Driver(in, 2)))
	if _, err := store.PutMany(t.Context(), []kv.Item{{Key: "a"}, {Key: "b"}}); err != nil {
		t.Fatal(err)
	}
	keys := []string{"a", "absent", "b"}
	for _, kind := range kinds {
		if kind == Hang {
			continue
		}
		in.Use(Reads(kind))
		if entries, err := store.GetMany(t.Context(), keys); err != nil || len(entries) != 2 {
			t.Errorf("%s once: %d entries, %v", kind, len(entries), err)
		}
		if kind.Delivered() {
			continue
		}
		in.Use(Always(kind))
		entries, err := store.GetMany(t.Context(), keys)
		batch, ok := errors.AsType[*kv.BatchError](err)
		if !ok || len(batch.Failed) != len(keys) || len(entries) != 0 || errors.Is(err, kv.ErrIndeterminate) {
			t.Errorf("%s always: %d entries, %v; want an error of each key, which is not indeterminate", kind, len(entries), err)
		}
	}
}

// TestDriverAtomic checks that a WriteAtomic is reported like a single write.
func TestDriverAtomic(t *testing.T) {
	const token = "the-token-of-the-write"
	in := new(Injector)
	var d kv.Driver
	store := memkv.New().With(kv.Wrap(kv.Level1, func(inner kv.Driver) kv.Driver { d = Driver(in, 2)(inner); return d }))
	for i, kind := range kinds {
		if kind == Hang || kind == Late {
			continue
		}
		write := func(plan Plan, keys ...string) (kv.AtomicOutcome, error) {
			in.Use(plan)
			var req kv.WriteManyRequest
			for _, key := range keys {
				rec := kv.Record{Key: key, Value: []byte{}, Token: token}
				req.Writes = append(req.Writes, kv.Write{Kind: kv.KindPut, Record: rec, Condition: kv.Condition{Kind: kv.CondAbsent}})
			}
			return d.WriteAtomic(t.Context(), req)
		}
		lost := kind.Forwarded() && !kind.Delivered()
		group := fmt.Sprint(i)
		out, err := write(Writes(kind), group+"::a", group+"::b")
		switch {
		case err != nil:
			t.Errorf("%s once: %v", kind, err)
		case lost && (out.Done || !out.MayHaveApplied || len(out.Found) != 2 || out.Found[0].Token[:18] != token[:18]):
			t.Errorf("%s once: %+v; want failed conditions, and MayHaveApplied", kind, out)
		case !lost && (!out.Done || out.MayHaveApplied):
			t.Errorf("%s once: %+v; want Done", kind, out)
		}
		for _, key := range []string{group + "::a", group + "::b"} {
			if _, err := store.Get(t.Context(), key); err != nil {
				t.Errorf("%s once: %v", kind, err)
			}
		}
		if kind.Delivered() {
			continue
		}
		_, err = write(Always(kind), group+"::c")
		if e, ok := errors.AsType[*kv.Error](err); !ok || e.MayHaveApplied != (kind != Throttle) {
			t.Errorf("%s always: %v; want whether it may have been applied", kind, err)
		}
	}
}

// TestSeeded checks that the same requests get the same faults, and that another seed makes
// other faults.
func TestSeeded(t *testing.T) {
	draw := func(seed uint64) (drawn []Kind) {
		plan := Seeded(seed, Rates{Lose: 0.3, Drop: 0.2}, 2)
		for op := range 1000 {
			for attempt := range 3 {
				drawn = append(drawn, plan(Request{Op: fmt.Sprint(op), Attempt: attempt, Method: "Put"}))
			}
		}
		return drawn
	}
	one, same, other := draw(1), draw(1), draw(2)
	counts, differ := make(map[Kind]int), 0
	for i := range one {
		if one[i] != same[i] {
			t.Fatalf("request %d: %s, then %s", i, one[i], same[i])
		}
		if one[i] != other[i] {
			differ++
		}
		if i%3 == 2 && one[i] != Pass {
			t.Fatalf("the third attempt met %s; maxFaulty is 2", one[i])
		}
		counts[one[i]]++
	}
	if counts[Lose] < 500 || counts[Lose] > 700 || counts[Drop] < 320 || counts[Drop] > 480 || differ < 500 {
		t.Errorf("2000 draws gave %v, and %d others with another seed", counts, differ)
	}
}
