package firestorekv

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
)

// The function soon receives the next value. If none arrives in time, the test fails with the
// rule.
func soon(t *testing.T, next <-chan error, rule string) error {
	t.Helper()
	select {
	case err := <-next:
		return err
	case <-time.After(time.Minute):
		t.Fatalf("rule: %s", rule)
		return nil
	}
}

// TestCloseEndsHangingCalls: Close ends calls that hang, with and without a deadline, although
// it does not close the client, which belongs to the program.
func TestCloseEndsHangingCalls(t *testing.T) {
	t.Parallel()
	ops := []struct {
		name  string
		write bool
		do    func(ctx context.Context, s *kv.Store) error
	}{
		{"get", false, func(ctx context.Context, s *kv.Store) error { _, err := s.Get(ctx, "a"); return err }},
		{"get many", false, func(ctx context.Context, s *kv.Store) error {
			_, err := s.GetMany(ctx, manyKeys(250))
			return err
		}},
		{"scan", false, func(ctx context.Context, s *kv.Store) error {
			for _, err := range s.Scan(ctx, "") {
				return err
			}
			return nil
		}},
		{"scan page", false, func(ctx context.Context, s *kv.Store) error { _, err := s.ScanPage(ctx, "", 10, ""); return err }},
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
	}
	limited, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	contexts := map[string]context.Context{
		"without a deadline": t.Context(), "never cancelled": context.Background(), "with a deadline": limited,
	}
	for _, shards := range []int{1, 4} {
		for under, ctx := range contexts {
			for _, op := range ops {
				f := new(fake)
				d := driverOver(t, connect(t, f.start(t)), &Options{Shards: shards})
				s := kv.New(d)
				if _, err := s.Exists(t.Context(), "a"); err != nil { // makes the client connect
					t.Fatal(err)
				}
				hung, left := make(chan error, 100), make(chan error, 100)
				f.refuse = func(ctx context.Context, method string, n int) error {
					hung <- nil
					err := hang(ctx, method, n)
					left <- nil
					return err
				}
				result := make(chan error, 1)
				go func() { result <- op.do(ctx, s) }()
				<-hung
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				err := soon(t, result, "a call ends soon after Close; "+op.name+" "+under+" does not")
				if !errors.Is(err, kv.ErrClosed) || errors.Is(err, context.Canceled) || errors.Is(err, kv.ErrUnavailable) {
					t.Errorf("rule: a call that Close ended is ErrClosed; %s %s: %v", op.name, under, err)
				}
				if errors.Is(err, kv.ErrIndeterminate) != op.write {
					t.Errorf("rule: a write that was sent is ErrIndeterminate as well; %s %s: %v", op.name, under, err)
				}
				if n := len(d.underWay.all); n != 0 {
					t.Errorf("rule: no call stays; after %s, %d calls are running", op.name, n)
				}
				soon(t, left, "the service learns that a call has ended; of "+op.name+" "+under+" it does not")
			}
		}
	}
}

// TestCloseEndsPauses: Close also ends a call that is pausing before its next attempt. A call
// that is made after Close ends at once.
func TestCloseEndsPauses(t *testing.T) {
	t.Parallel()
	tried := make(chan struct{}, maxAttempts)
	f := &fake{refuse: func(context.Context, string, int) error {
		tried <- struct{}{}
		return errLost
	}}
	d := driverAt(t, f.start(t))
	d.firstPause, d.timeout = time.Hour, 100*time.Hour
	result := make(chan error, 1)
	go func() {
		_, err := d.Get(t.Context(), kv.GetRequest{Key: "a"})
		result <- err
	}()
	<-tried
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := soon(t, result, "Close ends a call that pauses"); !errors.Is(err, context.Canceled) {
		t.Errorf("rule: Close ends a call that pauses; got %v", err)
	}
	if _, err := d.Get(t.Context(), kv.GetRequest{Key: "a"}); !errors.Is(err, context.Canceled) {
		t.Errorf("rule: a call after Close ends at once; got %v", err)
	}
}

// TestClosedClient: if the program closes its own client, running and later calls are ErrClosed.
func TestClosedClient(t *testing.T) {
	t.Parallel()
	ops := map[string]func(ctx context.Context, s *kv.Store) error{
		"get":      func(ctx context.Context, s *kv.Store) error { _, err := s.Get(ctx, "a"); return err },
		"get many": func(ctx context.Context, s *kv.Store) error { _, err := s.GetMany(ctx, manyKeys(2)); return err },
		"scan": func(ctx context.Context, s *kv.Store) error {
			_, err := s.ScanPage(ctx, "", 10, "")
			return err
		},
		"put": func(ctx context.Context, s *kv.Store) error { _, err := s.Put(ctx, "a", nil); return err },
		"put many": func(ctx context.Context, s *kv.Store) error {
			_, err := s.PutMany(ctx, []kv.Item{{Key: "a"}})
			return err
		},
	}
	for name, op := range ops {
		f := new(fake)
		client := connect(t, f.start(t))
		s := kv.New(driverOver(t, client, nil))
		if _, err := s.Exists(t.Context(), "a"); err != nil { // makes the client connect
			t.Fatal(err)
		}
		hung := make(chan error, 100)
		f.refuse = func(ctx context.Context, method string, n int) error {
			hung <- nil
			return hang(ctx, method, n)
		}
		result := make(chan error, 1)
		go func() { result <- op(t.Context(), s) }()
		<-hung
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
		write := strings.HasPrefix(name, "put")
		for when, err := range map[string]error{"during": soon(t, result, "a call ends soon after its client was closed; "+name+" does not"), "before": op(t.Context(), s)} {
			if !errors.Is(err, kv.ErrClosed) || errors.Is(err, kv.ErrUnavailable) || errors.Is(err, context.Canceled) {
				t.Errorf("rule: a call whose client is closed is ErrClosed; %s, whose client was closed %s it: %v", name, when, err)
			}
			if errors.Is(err, kv.ErrIndeterminate) != (write && when == "during") {
				t.Errorf("rule: a write that was sent is ErrIndeterminate as well, and no other call; %s, whose client was closed %s it: %v", name, when, err)
			}
		}
	}
}
