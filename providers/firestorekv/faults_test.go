package firestorekv

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/googleapis/gax-go/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/skykv/skykv/internal/attempt"
	"github.com/skykv/skykv/kv"
)

// onCall returns a fault for the call of a method that follows n earlier calls.
func onCall(method string, n int, err error) func(context.Context, string, int) error {
	return func(_ context.Context, m string, i int) error {
		if m == method && i == n {
			return err
		}
		return nil
	}
}

// always(method, err) is a fault that fails every call of the method with err.
func always(method string, err error) func(context.Context, string, int) error {
	return func(_ context.Context, m string, _ int) error {
		if m == method {
			return err
		}
		return nil
	}
}

var errLost = status.Error(codes.Unavailable, "connection reset by peer")

// TestLostResponseOfPutIfNotExists counts requests. The conformance suite checks the result.
func TestLostResponseOfPutIfNotExists(t *testing.T) {
	t.Parallel()
	f := &fake{lose: onCall("Commit", 0, errLost)}
	if _, err := newStore(t, f).Put(t.Context(), "a", nil, kv.IfNotExists()); err != nil {
		t.Fatal(err)
	}
	if got, want := f.count(), "1 BatchGetDocuments, 2 Commit"; got != want {
		t.Errorf("rule: skykv repeats a commit, the client does not; made %s, want %s", got, want)
	}
}

// TestReadAfterFailedConditionFails: if the read after a failed condition fails, the error says
// whether the write may have been applied.
func TestReadAfterFailedConditionFails(t *testing.T) {
	t.Parallel()
	denied := always("BatchGetDocuments", status.Error(codes.PermissionDenied, "denied"))
	for _, lost := range []bool{false, true} {
		f := &fake{}
		s := newStore(t, f)
		f.put("00a", nil)
		f.refuse = denied
		if lost {
			f.refuse = func(ctx context.Context, method string, n int) error {
				if method == "Commit" && n == 0 {
					return errLost
				}
				return denied(ctx, method, n)
			}
		}
		_, err := s.Put(t.Context(), "a", nil, kv.IfNotExists())
		if !errors.Is(err, kv.ErrPermission) || errors.Is(err, kv.ErrIndeterminate) != lost {
			t.Errorf("lost response %v: got %v", lost, err)
		}
	}
}

// TestLostResponseThenForeign: after a lost response, another program replaces the document
// that the put has stored.
func TestLostResponseThenForeign(t *testing.T) {
	t.Parallel()
	f := &fake{}
	s := newStore(t, f)
	f.lose = func(_ context.Context, method string, n int) error {
		if method == "Commit" && n == 0 {
			f.put("00a", nil)
			return errLost
		}
		return nil
	}
	_, err := s.Put(t.Context(), "a", nil, kv.IfNotExists())
	if !errors.Is(err, kv.ErrIncompatible) || !errors.Is(err, kv.ErrIndeterminate) {
		t.Errorf("rule: an earlier attempt that may have been applied makes the error indeterminate; got %v", err)
	}
}

// TestCodes fails every attempt with each code in turn.
func TestCodes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		code          codes.Code
		kind          error
		indeterminate bool
		retried       bool
	}{
		{codes.ResourceExhausted, kv.ErrThrottled, false, true},
		{codes.Aborted, kv.ErrThrottled, false, true},
		{codes.Unavailable, kv.ErrUnavailable, true, true},
		{codes.Internal, kv.ErrUnavailable, true, true},
		{codes.Unknown, kv.ErrUnavailable, true, true},
		{codes.DataLoss, kv.ErrUnavailable, true, true},
		{codes.DeadlineExceeded, kv.ErrUnavailable, true, true},
		{codes.Canceled, kv.ErrUnavailable, true, false},
		{codes.PermissionDenied, kv.ErrPermission, false, false},
		{codes.Unauthenticated, kv.ErrPermission, false, false},
		{codes.NotFound, kv.ErrNotProvisioned, false, false},
		{codes.FailedPrecondition, kv.ErrNotProvisioned, false, false},
		{codes.InvalidArgument, nil, false, false},
		{codes.Unimplemented, nil, false, false},
	}
	for _, test := range tests {
		t.Run(test.code.String(), func(t *testing.T) {
			t.Parallel()
			f := &fake{}
			d := driverAt(t, f.start(t))
			s := kv.New(d)
			f.refuse = func(context.Context, string, int) error { return status.Error(test.code, "told to") }
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour) // without a deadline, the store's timeout could end an attempt
			defer cancel()
			attempts := 1
			if test.retried {
				attempts = maxAttempts
			}
			if test.kind == kv.ErrThrottled {
				d.timeout = 200 * time.Millisecond // batches go on for this time without progress
			}
			check := func(op, method string, err error, write bool) {
				t.Helper()
				if batch, ok := errors.AsType[*kv.BatchError](err); ok {
					err = batch.Failed["a"]
				}
				e, ok := errors.AsType[*kv.Error](err)
				if !ok || e.Kind != test.kind || e.Key != "a" || e.Provider != name || status.Code(e.Err) != test.code {
					t.Errorf("%s: %v; want kind %v with the client's own error", op, err, test.kind)
				}
				if got := errors.Is(err, kv.ErrIndeterminate); got != (write && test.indeterminate) {
					t.Errorf("rule: a write is indeterminate unless the service refused it, a read never is; %s: %v", op, err)
				}
				goesOn := test.kind == kv.ErrThrottled && strings.Contains(op, "many")
				if got, want := f.count(), fmt.Sprintf("%d %s", attempts, method); got != want && !goesOn {
					t.Errorf("%s made %s, want %s", op, got, want)
				}
				f.reset()
			}
			_, err := s.Put(ctx, "a", nil)
			check("put", "Commit", err, true)
			check("delete", "Commit", s.Delete(ctx, "a"), true)
			_, err = s.Get(ctx, "a")
			check("get", "BatchGetDocuments", err, false)
			_, err = s.GetMany(ctx, []string{"a"})
			check("get many", "BatchGetDocuments", err, false)
			_, err = s.PutMany(ctx, []kv.Item{{Key: "a"}})
			check("put many", "BatchWrite", err, true)
			for _, err := range s.Scan(ctx, "a") {
				check("scan", "RunQuery", err, false)
			}
		})
	}
}

// TestLostThenDenied: the refusal of an attempt says nothing about earlier attempts.
func TestLostThenDenied(t *testing.T) {
	t.Parallel()
	f := &fake{}
	f.lose = onCall("Commit", 0, errLost)
	f.refuse = onCall("Commit", 1, status.Error(codes.PermissionDenied, "revoked"))
	s := newStore(t, f)
	_, err := s.Put(t.Context(), "a", nil)
	if !errors.Is(err, kv.ErrPermission) || !errors.Is(err, kv.ErrIndeterminate) {
		t.Errorf("rule: an earlier attempt that may have been applied makes the error indeterminate; got %v", err)
	}
}

// nobody is an address without a server. Unlike the port of a closed listener, this port is
// never assigned to a program by chance.
const nobody = "127.0.0.1:1"

func TestUnreachable(t *testing.T) {
	t.Parallel()
	s := storeAt(t, nobody)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := s.Put(ctx, "a", nil)
	if !errors.Is(err, kv.ErrUnavailable) || errors.Is(err, kv.ErrIndeterminate) {
		t.Errorf("rule: without a connection nothing was sent, so a put is not indeterminate; got %v", err)
	}
	if _, err := s.PutMany(ctx, []kv.Item{{Key: "a"}}); !errors.Is(err, kv.ErrUnavailable) || errors.Is(err, kv.ErrIndeterminate) {
		t.Errorf("rule: without a connection nothing was sent, so a batch is not indeterminate; got %v", err)
	}
	if _, err := s.Get(ctx, "a"); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("get: %v, want ErrUnavailable", err)
	}
	for _, err := range s.Scan(ctx, "") {
		if !errors.Is(err, kv.ErrUnavailable) {
			t.Errorf("scan: %v, want ErrUnavailable", err)
		}
	}
	_, err = New(ctx, connect(t, nobody), "p", "c", nil)
	if !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("open: %v, want ErrUnavailable", err)
	}
}

// hang blocks every call until its context ends.
func hang(ctx context.Context, _ string, _ int) error {
	<-ctx.Done()
	return status.FromContextError(ctx.Err()).Err()
}

// TestHangingServer: a call to a server that hangs ends at the caller's deadline, at the
// store's timeout, or when the caller cancels it.
func TestHangingServer(t *testing.T) {
	t.Parallel()
	const wait = 500 * time.Millisecond
	tests := []struct {
		name    string
		timeout time.Duration
		ctx     func(ctx context.Context, f *fake) (context.Context, context.CancelFunc)
		is      []error
		isNot   []error
	}{
		{
			"the caller's deadline", time.Minute,
			func(ctx context.Context, _ *fake) (context.Context, context.CancelFunc) {
				return context.WithTimeout(ctx, wait)
			},
			[]error{context.DeadlineExceeded}, []error{kv.ErrUnavailable},
		},
		{
			"the caller's cancellation", time.Minute,
			func(ctx context.Context, f *fake) (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancel(ctx)
				f.refuse = func(ctx context.Context, method string, n int) error {
					cancel()
					return hang(ctx, method, n)
				}
				return ctx, cancel
			},
			[]error{context.Canceled}, []error{kv.ErrUnavailable, context.DeadlineExceeded},
		},
		{
			"the store's timeout", wait,
			func(ctx context.Context, _ *fake) (context.Context, context.CancelFunc) { return ctx, func() {} },
			[]error{kv.ErrUnavailable, context.DeadlineExceeded}, []error{context.Canceled},
		},
	}
	ops := []struct {
		name  string
		write bool
		do    func(ctx context.Context, s *kv.Store) error
	}{
		{"put", true, func(ctx context.Context, s *kv.Store) error { _, err := s.Put(ctx, "a", nil); return err }},
		{"put if not exists", true, func(ctx context.Context, s *kv.Store) error {
			_, err := s.Put(ctx, "a", nil, kv.IfNotExists())
			return err
		}},
		{"delete", true, func(ctx context.Context, s *kv.Store) error { return s.Delete(ctx, "a") }},
		{"put many", true, func(ctx context.Context, s *kv.Store) error {
			_, err := s.PutMany(ctx, []kv.Item{{Key: "a"}})
			return err
		}},
		{"get", false, func(ctx context.Context, s *kv.Store) error { _, err := s.Get(ctx, "a"); return err }},
		{"get many", false, func(ctx context.Context, s *kv.Store) error {
			_, err := s.GetMany(ctx, []string{"a"})
			return err
		}},
		{"scan", false, func(ctx context.Context, s *kv.Store) error {
			_, err := s.ScanPage(ctx, "", 10, "")
			return err
		}},
	}
	for _, test := range tests {
		for _, op := range ops {
			t.Run(test.name+"/"+op.name, func(t *testing.T) {
				t.Parallel()
				f := &fake{}
				d := driverAt(t, f.start(t))
				if _, err := d.Get(t.Context(), kv.GetRequest{Key: "a"}); err != nil { // makes the client connect
					t.Fatal(err)
				}
				f.reset()
				f.refuse = hang
				d.timeout = test.timeout
				ctx, cancel := test.ctx(t.Context(), f)
				defer cancel()
				err := op.do(ctx, kv.New(d))
				for _, want := range test.is {
					if !errors.Is(err, want) {
						t.Errorf("rule: context errors do not change; %v does not match %v", err, want)
					}
				}
				for _, not := range test.isNot {
					if errors.Is(err, not) {
						t.Errorf("%v matches %v", err, not)
					}
				}
				if got := errors.Is(err, kv.ErrIndeterminate); got != op.write {
					t.Errorf("rule: a write that was sent and got no response is indeterminate; got %v", err)
				}
				if made := f.count(); !strings.HasPrefix(made, "1 ") || strings.Contains(made, ",") {
					t.Errorf("made %s, want one attempt", f.count())
				}
			})
		}
	}
}

// tokens are the credentials of a client. Once fetch is set, each request of the client first
// calls fetch, and fails if fetch returns an error. n is 1 for the first of these requests.
type tokens struct {
	fetch func(ctx context.Context, n int32) error
	calls atomic.Int32
}

func (c *tokens) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	if c.fetch == nil {
		return nil, nil
	}
	return nil, c.fetch(ctx, c.calls.Add(1))
}

func (*tokens) RequireTransportSecurity() bool { return false }

// TestNoToken: the service for access tokens cannot be reached, or refuses to issue a token. The
// texts of the errors are copied from the auth library.
func TestNoToken(t *testing.T) {
	t.Parallel()
	hang := func(ctx context.Context, _ int32) error {
		<-ctx.Done()
		return &url.Error{Op: "Post", URL: "https://tokens.example", Err: ctx.Err()}
	}
	fails := func(text string) func(context.Context, int32) error {
		return func(context.Context, int32) error { return errors.New(text) }
	}
	const wait = 200 * time.Millisecond
	var cancel context.CancelFunc // of the caller's context
	tests := []struct {
		name     string
		fetch    func(context.Context, int32) error
		ctx      func(context.Context) (context.Context, context.CancelFunc)
		timeout  time.Duration
		is       error // nil: the call succeeds
		isNot    error
		attempts int32
	}{
		{"the caller's deadline", hang, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, wait)
		}, time.Minute, context.DeadlineExceeded, kv.ErrUnavailable, 1},
		{"the caller's cancellation", func(ctx context.Context, n int32) error {
			cancel()
			return hang(ctx, n)
		}, func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel = context.WithCancel(ctx)
			return ctx, cancel
		}, time.Minute, context.Canceled, kv.ErrUnavailable, 1},
		{"the store's timeout", hang, context.WithCancel, wait, kv.ErrUnavailable, context.Canceled, 1},
		{"no network, once", func(_ context.Context, n int32) error {
			if n > 1 {
				return nil
			}
			return errors.New(`auth: cannot fetch token: Post "https://oauth2.example/token": dial tcp: lookup oauth2.example: i/o timeout`)
		}, context.WithCancel, time.Minute, nil, nil, 2},
		{"no network", fails(`credentials: cannot fetch token: Get "http://metadata/token": dial tcp 169.254.169.254:80: connect: no route to host`),
			context.WithCancel, time.Minute, kv.ErrUnavailable, kv.ErrPermission, maxAttempts},
		{"a response of 503", fails("auth: cannot fetch token: 503\nResponse: busy"),
			context.WithCancel, time.Minute, kv.ErrUnavailable, kv.ErrPermission, maxAttempts},
		{"a response of 400", fails(`auth: "invalid_grant" "Token has been expired or revoked."`),
			context.WithCancel, time.Minute, kv.ErrPermission, kv.ErrUnavailable, 1},
		{"a response of 401", fails("auth: cannot fetch token: 401\nResponse: 503 times no"),
			context.WithCancel, time.Minute, kv.ErrPermission, kv.ErrUnavailable, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := &fake{}
			creds := new(tokens)
			d := driverOver(t, connect(t, f.start(t), grpc.WithPerRPCCredentials(creds)), nil)
			if _, err := d.Get(t.Context(), kv.GetRequest{Key: "a"}); err != nil { // makes the client connect
				t.Fatal(err)
			}
			creds.fetch, d.timeout = test.fetch, test.timeout
			ctx, cancel := test.ctx(t.Context())
			defer cancel()
			_, err := kv.New(d).Put(ctx, "a", nil)
			if !errors.Is(err, test.is) || test.isNot != nil && errors.Is(err, test.isNot) {
				t.Errorf("rule: a token that cannot be fetched is an outage, one that is refused a lack of permission; got %v, want %v", err, test.is)
			}
			if errors.Is(err, kv.ErrIndeterminate) {
				t.Errorf("rule: without a token nothing was sent, so a put is not indeterminate; got %v", err)
			}
			if errors.Is(err, kv.ErrPermission) != (test.is == kv.ErrPermission) {
				t.Errorf("rule: only a refusal is ErrPermission; got %v", err)
			}
			if got := creds.calls.Load(); got != test.attempts {
				t.Errorf("%d attempts, want %d", got, test.attempts)
			}
		})
	}
}

// TestServiceSeesDeadlineFirst: the service knows the caller's deadline, and may cancel a
// request before the timer of the caller's context runs. If the service cancels a request before
// the deadline, the deadline is not the reason.
func TestServiceSeesDeadlineFirst(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		left time.Duration
		late bool
		kind error
	}{
		{-time.Nanosecond, true, nil},
		{time.Hour, false, kv.ErrUnavailable},
	} {
		a := driverAt(t, nobody).watch(t.Context(), attempt.One, nil)
		a.deadline, a.own, a.lost = time.Now().Add(test.left), false, true
		err := status.Error(codes.Canceled, "context canceled")
		if done, _ := a.done(err); !done {
			t.Errorf("rule: a request that the service cancelled is not sent again; it was, with %v left", test.left)
		}
		got := a.failWrite(err)
		if got.Kind != test.kind || errors.Is(got, context.DeadlineExceeded) != test.late || !errors.Is(got, kv.ErrIndeterminate) {
			t.Errorf("rule: a request cancelled after its deadline ends by the deadline, and only then; with %v left it is %v", test.left, got)
		}
	}
}

// TestDeadlineLeavesNoTime: a call ends at once if its next pause would end after the deadline.
func TestDeadlineLeavesNoTime(t *testing.T) {
	t.Parallel()
	f := &fake{refuse: always("Commit", status.Error(codes.ResourceExhausted, "quota"))}
	d := driverAt(t, f.start(t))
	d.firstPause = 10_000 * time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := kv.New(d).Put(ctx, "a", nil)
	if !errors.Is(err, kv.ErrThrottled) || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, kv.ErrIndeterminate) {
		t.Errorf("got %v, want ErrThrottled and context.DeadlineExceeded", err)
	}
	if ctx.Err() != nil {
		t.Error("the put waited for a deadline that it knew it would miss")
	}
}

// keysOf scans, and returns the keys and the errors of the entries.
func keysOf(ctx context.Context, s *kv.Store, prefix string, opts ...kv.ScanOption) (keys []string, errs []error) {
	for entry, err := range s.Scan(ctx, prefix, opts...) {
		if err != nil {
			errs = append(errs, err)
		} else {
			keys = append(keys, entry.Key)
		}
	}
	return keys, errs
}

func fill(t *testing.T, s *kv.Store, n int) (keys []string) {
	t.Helper()
	var items []kv.Item
	for i := range n {
		keys = append(keys, fmt.Sprintf("%04d", i))
		items = append(items, kv.Item{Key: keys[i], Value: []byte(keys[i])})
	}
	if _, err := s.PutMany(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	return keys
}

// TestScanResumes: a scan goes on after queries that end early, after some documents.
func TestScanResumes(t *testing.T) {
	t.Parallel()
	tooOld := status.Error(codes.FailedPrecondition, "The requested snapshot version is too old.")
	for _, test := range []struct {
		every int
		with  error
	}{{1, errCut}, {7, errCut}, {100, errCut}, {7, tooOld}} {
		f := &fake{cut: func(string, int) int { return test.every }, cutWith: test.with}
		s := newStore(t, f)
		want := fill(t, s, 25)
		got, errs := keysOf(t.Context(), s, "")
		if !slices.Equal(got, want) || errs != nil {
			t.Errorf("rule: a broken scan goes on after the last key, each key once; with %v after %d: %q, %v", test.with, test.every, got, errs)
		}
		last := ""
		for _, req := range received[*pb.RunQueryRequest](f) {
			start := req.GetStructuredQuery().GetStartAt()
			at := start.GetValues()[0].GetReferenceValue()
			if at <= last || last != "" && start.GetBefore() {
				t.Errorf("a query starts at %q, before=%v, not after the last one's, at %q", at, start.GetBefore(), last)
			}
			last = at
		}
	}
}

// TestScanGivesUp: a scan ends after too many interruptions without progress.
func TestScanGivesUp(t *testing.T) {
	t.Parallel()
	f := &fake{cut: func(_ string, n int) int {
		if n < 3 {
			return 2
		}
		return 0
	}}
	s := newStore(t, f)
	all := fill(t, s, 25)
	got, errs := keysOf(t.Context(), s, "")
	if !slices.Equal(got, all[:6]) || len(errs) != 1 || !errors.Is(errs[0], kv.ErrUnavailable) {
		t.Errorf("got %q, %v; want the first 6 keys and ErrUnavailable", got, errs)
	}
	if got, want := f.count(), fmt.Sprintf("1 BatchWrite, %d RunQuery", 3+maxAttempts); got != want {
		t.Errorf("made %s, want %s", got, want)
	}
	f.mu.Lock()
	f.cut = nil
	f.mu.Unlock()
	rest, errs := keysOf(t.Context(), s, "", kv.After(got[len(got)-1]))
	if !slices.Equal(rest, all[6:]) || errs != nil {
		t.Errorf("rule: After continues a scan that failed; got %q, %v", rest, errs)
	}
}

// TestScanStops: the end of the loop ends the query. The queries become larger only while the
// loop goes on.
func TestScanStops(t *testing.T) {
	t.Parallel()
	f := &fake{}
	s := newStore(t, f)
	fill(t, s, 100)
	for range s.Scan(t.Context(), "", kv.Limit(10)) {
	}
	for range s.Scan(t.Context(), "") {
		break
	}
	if _, err := s.ScanPage(t.Context(), "", 20, ""); err != nil {
		t.Fatal(err)
	}
	var limits []int32
	for _, req := range received[*pb.RunQueryRequest](f) {
		limits = append(limits, req.GetStructuredQuery().GetLimit().GetValue())
	}
	if !slices.Equal(limits, []int32{10, 640, 21}) {
		t.Errorf("rule: a query requests as many documents as the caller takes; the limits were %v, want 10, 640 and 21", limits)
	}
}

// TestScanMeetsExpired: a sequence of expired records does not cost one query for each record.
func TestScanMeetsExpired(t *testing.T) {
	t.Parallel()
	f := &fake{}
	s := newStore(t, f)
	now := time.Now()
	var items []kv.Item
	for i := range 500 {
		items = append(items, kv.Item{Key: fmt.Sprintf("%04d", i), TTL: time.Minute})
	}
	items = append(items, kv.Item{Key: "live"})
	if _, err := s.PutMany(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	late := s.With(kv.Clock(func() time.Time { return now.Add(time.Hour) }))
	f.reset()
	got, errs := keysOf(t.Context(), late, "", kv.Limit(1))
	if !slices.Equal(got, []string{"live"}) || errs != nil {
		t.Errorf("got %q, %v", got, errs)
	}
	if n := len(received[*pb.RunQueryRequest](f)); n > 10 {
		t.Errorf("rule: queries grow while the caller wants more; %d were made for 501 records", n)
	}
}

// TestScanOutlivesTimeout: the store's timeout limits the requests of a scan, not the time that
// the loop's body takes.
func TestScanOutlivesTimeout(t *testing.T) {
	t.Parallel()
	f := &fake{}
	d := driverAt(t, f.start(t))
	want := fill(t, kv.New(d), 5)
	d.timeout = time.Second
	n := 0
	for _, err := range d.Scan(t.Context(), kv.ScanRequest{From: "-", To: "~", Limit: 1}) { // more than one page
		if err != nil {
			t.Fatalf("rule: the loop's body may take longer than the store's timeout; got %v", err)
		}
		if n++; n == 1 {
			<-time.After(2 * d.timeout) // the work of the loop's body
		}
	}
	if n != len(want) {
		t.Errorf("got %d entries, want %d", n, len(want))
	}
}

// TestScanTimeoutIncludesRetries: the store's timeout also limits all retries together. The
// service responds to every attempt, but slowly.
func TestScanTimeoutIncludesRetries(t *testing.T) {
	t.Parallel()
	const timeout = 300 * time.Millisecond
	f := &fake{refuse: func(ctx context.Context, _ string, _ int) error {
		select {
		case <-time.After(timeout * 2 / 3): // the service is slow
		case <-ctx.Done():
		}
		return status.Error(codes.Unavailable, "overloaded")
	}}
	d := driverAt(t, f.start(t))
	d.timeout = timeout
	_, errs := keysOf(t.Context(), kv.New(d), "")
	if len(errs) != 1 || !errors.Is(errs[0], kv.ErrUnavailable) || !errors.Is(errs[0], context.DeadlineExceeded) {
		t.Errorf("rule: a wait that takes longer than the store's timeout is ErrUnavailable and context.DeadlineExceeded; got %v", errs)
	}
	if n := len(received[*pb.RunQueryRequest](f)); n > 2 {
		t.Errorf("rule: all retries of a wait lie within the timeout; %d attempts were made that take two thirds of it", n)
	}
}

// TestGetManyResumes: after a response that ends early, GetMany requests only the rest again.
func TestGetManyResumes(t *testing.T) {
	t.Parallel()
	f := &fake{cut: func(_ string, n int) int { return 30 }}
	s := newStore(t, f)
	keys := fill(t, s, 250)
	f.reset()
	got, err := s.GetMany(t.Context(), append(keys, "absent"))
	if err != nil || len(got) != len(keys) {
		t.Errorf("got %d entries, %v; want %d", len(got), err, len(keys))
	}
	asked := 0
	for _, req := range received[*pb.BatchGetDocumentsRequest](f) {
		asked += len(req.GetDocuments())
	}
	// The groups have 100, 100 and 51 keys, and each response has at most 30 documents.
	if asked != 2*(100+70+40+10)+51+21 {
		t.Errorf("rule: after an interrupted response, only the rest is requested again; %d documents were", asked)
	}
}

// TestWriteManyByStatus: every write has its own result.
func TestWriteManyByStatus(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	tries := make(map[string]int)
	f := &fake{status: func(docName string, n int) codes.Code {
		id := docName[strings.LastIndexByte(docName, '/')+1:]
		mu.Lock()
		defer mu.Unlock()
		tries[id]++
		switch id {
		case "00denied":
			return codes.PermissionDenied
		case "00throttled":
			return codes.ResourceExhausted
		case "00broken":
			return codes.Internal
		case "00once":
			if tries[id] == 1 {
				return codes.Aborted
			}
		case "00lost-then-denied":
			if tries[id] == 1 {
				return codes.Unavailable
			}
			return codes.PermissionDenied
		}
		return codes.OK
	}}
	d := driverAt(t, f.start(t))
	d.timeout = time.Second // the batch retries throttled writes for this time
	s := kv.New(d)
	var items []kv.Item
	for _, key := range []string{"fine", "denied", "throttled", "broken", "once", "lost-then-denied"} {
		items = append(items, kv.Item{Key: key})
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour) // without a deadline, the store's timeout could end an attempt
	defer cancel()
	_, err := s.PutMany(ctx, items)
	batch, ok := errors.AsType[*kv.BatchError](err)
	if !ok {
		t.Fatalf("got %v, want a *kv.BatchError", err)
	}
	want := map[string][]error{
		"denied":           {kv.ErrPermission},
		"throttled":        {kv.ErrThrottled},
		"broken":           {kv.ErrUnavailable, kv.ErrIndeterminate},
		"lost-then-denied": {kv.ErrPermission, kv.ErrIndeterminate},
	}
	for key, err := range batch.Failed {
		if want[key] == nil {
			t.Errorf("%q failed: %v", key, err)
		}
	}
	for key, kinds := range want {
		err := batch.Failed[key]
		for _, kind := range kinds {
			if !errors.Is(err, kind) {
				t.Errorf("rule: each key of a batch has its own error; %q: %v, want %v", key, err, kind)
			}
		}
		if errors.Is(err, kv.ErrIndeterminate) != slices.Contains(kinds, kv.ErrIndeterminate) {
			t.Errorf("%q: %v", key, err)
		}
	}
	if got := f.ids(); !slices.Equal(got, []string{"00fine", "00once"}) {
		t.Errorf("stored are %q", got)
	}
	if tries["00fine"] != 1 || tries["00once"] != 2 || tries["00denied"] != 1 || tries["00broken"] != maxAttempts || tries["00throttled"] <= maxAttempts {
		t.Errorf("rule: only writes that may succeed later are sent again; tries were %v", tries)
	}
}

// TestWriteManyLostResponse: after a lost response, the whole group is sent again.
func TestWriteManyLostResponse(t *testing.T) {
	t.Parallel()
	f := &fake{lose: onCall("BatchWrite", 0, errLost)}
	s := newStore(t, f)
	keys := fill(t, s, 10)
	if got := f.count(); got != "2 BatchWrite" {
		t.Errorf("made %s, want 2 BatchWrite", got)
	}
	f.lose = always("BatchWrite", errLost)
	err := s.DeleteMany(t.Context(), keys)
	batch, ok := errors.AsType[*kv.BatchError](err)
	if !ok || len(batch.Failed) != len(keys) || !errors.Is(err, kv.ErrIndeterminate) || !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("got %v, want ErrIndeterminate for every key", err)
	}
}

// TestShortResponses: an incomplete response is not a success.
func TestShortResponses(t *testing.T) {
	t.Parallel()
	s := storeAt(t, newShortServer(t))
	_, err := s.Put(t.Context(), "a", nil)
	if !errors.Is(err, kv.ErrUnavailable) || !errors.Is(err, kv.ErrIndeterminate) {
		t.Errorf("put: %v, want ErrUnavailable and ErrIndeterminate", err)
	}
	if _, err := s.PutMany(t.Context(), []kv.Item{{Key: "a"}}); !errors.Is(err, kv.ErrIndeterminate) {
		t.Errorf("put many: %v, want ErrIndeterminate", err)
	}
	if _, err := s.Get(t.Context(), "a"); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("get: %v, want ErrUnavailable", err)
	}
	if _, err := s.GetMany(t.Context(), []string{"a"}); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("get many: %v, want ErrUnavailable", err)
	}
}

// TestRefused: refused recognises the errors of gRPC itself that look like errors of the
// service.
func TestRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want bool
	}{
		{status.Error(codes.ResourceExhausted, "Quota exceeded"), true},
		{status.Error(codes.ResourceExhausted, "stream terminated by RST_STREAM with error code: ENHANCE_YOUR_CALM"), false},
		{status.Error(codes.PermissionDenied, "stream terminated by RST_STREAM with error code: INADEQUATE_SECURITY"), false},
		{status.Error(codes.ResourceExhausted, "grpc: received message larger than max (5 vs. 4)"), false},
		{status.Error(codes.Unavailable, "overloaded"), false},
		{context.Canceled, false},
		{errors.New("of an interceptor"), false},
	} {
		if got := refused(test.err); got != test.want {
			t.Errorf("rule: only a response of the service can say that a write was not applied; %v: %v", test.err, got)
		}
	}
}

// TestCallOptionsAreKept: the call options of a program's client also apply to skykv's calls,
// except retries, timeouts and the greatest size of a received message.
func TestCallOptionsAreKept(t *testing.T) {
	t.Parallel()
	f := &fake{refuse: onCall("Commit", 0, status.Error(codes.Unavailable, "once"))}
	d := driverAt(t, f.start(t))
	var got peer.Peer
	d.client.CallOptions.Commit = append(d.client.CallOptions.Commit, gax.WithGRPCOptions(grpc.Peer(&got)))
	if _, err := kv.New(d).Put(t.Context(), "a", nil); err != nil {
		t.Fatal(err)
	}
	if got.Addr == nil {
		t.Error("rule: the call options of a user's client are kept; its gRPC option was not called")
	}
}
