package torture

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skykv/skykv/internal/testing/faults"
	"github.com/skykv/skykv/kv"
)

// patience is the time from the start of a call of checkOutage to its deadline, while the service
// is away.
const patience = 250 * time.Millisecond

// tolerance is how much later than its deadline a call may end, because the machine may be busy.
// TestDeadlines is more exact.
const tolerance = 5 * time.Second

// call is a call of a method of a store.
type call struct {
	name  string
	write bool
	run   func(ctx context.Context, s *kv.Store, key string) error
}

// calls are the calls that these tests make.
var calls = []call{
	{"Get", false, func(ctx context.Context, s *kv.Store, key string) error {
		_, err := s.Get(ctx, key)
		if errors.Is(err, kv.ErrNotFound) {
			return nil
		}
		return err
	}},
	{"Exists", false, func(ctx context.Context, s *kv.Store, key string) error { _, err := s.Exists(ctx, key); return err }},
	{"Put", true, func(ctx context.Context, s *kv.Store, key string) error {
		_, err := s.Put(ctx, key, []byte("value"))
		return err
	}},
	{"Put IfNotExists", true, func(ctx context.Context, s *kv.Store, key string) error {
		_, err := s.Put(ctx, key+":new", []byte("value"), kv.IfNotExists(), kv.TTL(time.Minute))
		if errors.Is(err, kv.ErrConditionFailed) {
			return nil
		}
		return err
	}},
	{"Touch", true, func(ctx context.Context, s *kv.Store, key string) error {
		_, err := s.Touch(ctx, key, kv.TTL(time.Minute)) // of the entry that the Put above stores
		if errors.Is(err, kv.ErrNotFound) {
			return nil
		}
		return err
	}},
	{"Delete", true, func(ctx context.Context, s *kv.Store, key string) error { return s.Delete(ctx, key) }},
	{"Scan", false, func(ctx context.Context, s *kv.Store, key string) error {
		for _, err := range s.Scan(ctx, key) {
			if err != nil {
				return err
			}
		}
		return nil
	}},
	{"ScanPage", false, func(ctx context.Context, s *kv.Store, key string) error {
		_, err := s.ScanPage(ctx, key, 10, "")
		return err
	}},
	{"GetMany", false, func(ctx context.Context, s *kv.Store, key string) error {
		_, err := s.GetMany(ctx, many(key))
		return err
	}},
	{"PutMany", true, func(ctx context.Context, s *kv.Store, key string) error {
		var items []kv.Item
		for _, key := range many(key) {
			items = append(items, kv.Item{Key: key})
		}
		_, err := s.PutMany(ctx, items)
		return err
	}},
	{"DeleteMany", true, func(ctx context.Context, s *kv.Store, key string) error { return s.DeleteMany(ctx, many(key)) }},
	// The next four count as reads, because they already fail when they read.
	{"DeletePrefix", false, func(ctx context.Context, s *kv.Store, key string) error {
		_, err := s.DeletePrefix(ctx, key)
		return err
	}},
	{"Update", false, func(ctx context.Context, s *kv.Store, key string) error {
		_, err := s.Update(ctx, key+":updated", func(kv.Entry, bool) (kv.Change, error) { return kv.Change{}, nil })
		return err
	}},
	{"Increment", false, func(ctx context.Context, s *kv.Store, key string) error {
		_, err := s.Increment(ctx, key+":number", 1)
		return err
	}},
	{"GetAndDelete", false, func(ctx context.Context, s *kv.Store, key string) error {
		_, err := s.GetAndDelete(ctx, key)
		if errors.Is(err, kv.ErrNotFound) {
			return nil
		}
		return err
	}},
	{"Count", false, func(ctx context.Context, s *kv.Store, key string) error { _, err := s.Count(ctx, key); return err }},
	{"AtomicWrite", true, func(ctx context.Context, s *kv.Store, key string) error {
		_, err := s.AtomicWrite(ctx, kv.PutOp(key+"::a", nil), kv.PutOp(key+"::b", nil))
		return err
	}},
}

func many(key string) []string {
	keys := make([]string, 150)
	for i := range keys {
		keys[i] = fmt.Sprintf("%s:%03d", key, i)
	}
	return keys
}

// TestDeadlines checks that a call ends within 100 ms of its deadline or cancellation, even
// if the service hangs. It is not parallel, because other tests would delay the calls.
func TestDeadlines(t *testing.T) {
	for _, each := range worlds {
		t.Run(each.name, func(t *testing.T) {
			w := each.make(t)
			kinds := []faults.Kind{faults.Hang, faults.Throttle, faults.Drop, faults.Refuse, faults.Fail}
			for _, kind := range some(kinds, 1) {
				for _, call := range calls {
					for _, end := range []error{context.DeadlineExceeded, context.Canceled} {
						t.Run(fmt.Sprintf("%s/%s/%v", kind, call.name, end), func(t *testing.T) { checkDeadline(t, w, kind, call, end, 20) })
					}
				}
			}
		})
	}
}

// checkDeadline repeats the call if it ends late. A delay that the code itself adds would
// be there each time, but a delay by other work on the machine is not.
func checkDeadline(t checking, w *world, kind faults.Kind, call call, end error, tries int) {
	const wait, late = 50 * time.Millisecond, 100 * time.Millisecond
	w.Use(faults.Always(kind))
	defer w.Use(nil)
	least := time.Hour
	for range tries {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		if end == context.Canceled {
			ctx, cancel = context.WithCancel(t.Context())
			time.AfterFunc(wait, cancel)
		}
		begin := time.Now()
		err := call.run(ctx, w.stores[0], "deadline")
		least = min(least, time.Since(begin)-wait)
		cancel()
		if err == nil {
			t.Fatalf("all requests failed, but the call did not")
		}
		if kind == faults.Hang && !errors.Is(err, end) {
			t.Errorf("rule: the error is the context's; it is %v", err)
		}
		if !call.write && errors.Is(err, kv.ErrIndeterminate) {
			t.Errorf("rule: only writes are indeterminate: %v", err)
		}
		if least <= late || t.Failed() {
			return
		}
	}
	t.Errorf("rule: deadlines and cancellation are honoured within %v; none of %d calls did, the best one took %v longer", late, tries, least)
}

// single reports whether the call is for one key, and is a read or begins with a write on every
// provider. A Touch begins with a read on some of them.
func (c call) single() bool {
	switch c.name {
	case "DeletePrefix", "Count", "AtomicWrite", "Touch":
		return false
	}
	return !strings.Contains(c.name, "Many") && !strings.Contains(c.name, "Scan")
}

// TestRetriesAreBounded checks that a call to a service that always throttles, or always
// fails, makes a limited number of requests.
func TestRetriesAreBounded(t *testing.T) {
	t.Parallel()
	inAllWorlds(t, func(t *testing.T, w *world) {
		kinds := []faults.Kind{faults.Throttle, faults.Fail, faults.Refuse, faults.Drop}
		for _, kind := range some(kinds, 2) {
			for _, call := range calls {
				if call.single() && (long() || call.name == "Get" || call.name == "Put") {
					checkBounded(t, w, kind, call)
				}
			}
		}
	})
}

func checkBounded(t checking, w *world, kind faults.Kind, call call) {
	w.Use(faults.Always(kind))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	begin := time.Now()
	err := call.run(ctx, w.stores[0], "bounded")
	n, took := len(w.Take()), time.Since(begin)
	w.Use(nil)
	if n > 10 || err == nil {
		t.Errorf("rule: retries are bounded; %s made %d requests in %v and ended with %v", call.name, n, took, err)
	}
	want := kv.ErrUnavailable
	if kind == faults.Throttle {
		want = kv.ErrThrottled
	}
	if !errors.Is(err, want) {
		t.Errorf("rule: %s ends as %v; %s: %v", kind, want, call.name, err)
	}
	if errors.Is(err, kv.ErrIndeterminate) != (call.write && kind != faults.Throttle) {
		t.Errorf("rule: a write that may have been sent is indeterminate, one that was throttled is not; %s after %s: %v", call.name, kind, err)
	}
}

// TestBurstsPass checks that callers do not notice a short burst of faults, which the
// retries of an SDK can handle.
func TestBurstsPass(t *testing.T) {
	t.Parallel()
	inAllWorlds(t, func(t *testing.T, w *world) {
		kinds := []faults.Kind{faults.Throttle, faults.Lose, faults.Truncate, faults.Late, faults.Fail, faults.Drop, faults.Refuse, faults.Garbage}
		for _, kind := range some(kinds, 5) {
			for _, call := range calls {
				if !w.vague(kind, call) {
					checkBurst(t, w, kind, call)
				}
			}
		}
	})
}

// vague reports whether a single fault of this kind may make the call fail. The SDKs of
// AWS and Azure do not retry when they cannot understand a response, or when they read
// only its status and so do not notice the fault. After a truncated response, the AWS SDK
// does not retry either, nor does the Azure SDK for an insertion or a transaction, or for the
// refusal that the retry of a Touch gets.
func (w *world) vague(kind faults.Kind, call call) bool {
	unread := call.name == "Put IfNotExists" || call.write && !call.single()
	return kind == faults.Garbage || kind == faults.Truncate && (w.name == "dynamodb" || w.name == "aztables" && unread)
}

func checkBurst(t checking, w *world, kind faults.Kind, call call) {
	const burst = attempts - 2
	w.Use(faults.Reads(slices.Repeat([]faults.Kind{kind}, burst)...))
	if call.write {
		w.Use(faults.Writes(slices.Repeat([]faults.Kind{kind}, burst)...))
	}
	defer w.Use(nil)
	if err := call.run(t.Context(), w.stores[0], "burst-"+string(kind)); err != nil {
		t.Errorf("rule: %d faults in a row of the kind %s are retried; %s: %v", burst, kind, call.name, err)
	}
}

// TestOutage checks that calls fail as unavailable when a service goes away, and succeed
// when it is back.
func TestOutage(t *testing.T) {
	t.Parallel()
	away := time.Second
	if long() {
		away = 10 * time.Second
	}
	inCloudWorlds(t, func(t *testing.T, w *world) { checkOutage(t, w, away, time.Minute) })
}

// checkOutage takes the service away for a time. When the service is back, calls must
// succeed within recovery.
func checkOutage(t checking, w *world, away, recovery time.Duration) {
	store := w.stores[0]
	if _, err := store.Put(t.Context(), "outage", []byte("before")); err != nil {
		t.Fatal(err)
	}
	w.down()
	known := make(map[string]bool) // the calls that said at least once that nothing was written
	began := time.Now()
	// On a busy machine the deadlines of two rounds may be too short for some calls.
	for round := 0; round < 2 || time.Since(began) < away || round < 10 && len(known) < len(calls); round++ {
		for _, call := range calls {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			begin := time.Now()
			err := call.run(ctx, store, "away")
			cancel()
			if !errors.Is(err, kv.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("rule: a service that is away is ErrUnavailable; %s: %v", call.name, err)
			}
			// In the first round a connection may break after a request was sent. And on a
			// busy machine a deadline may pass when the client does not know yet whether the
			// request was sent.
			if !errors.Is(err, kv.ErrIndeterminate) {
				known[call.name] = true
			} else if round > 0 && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("rule: a write that had no connection was not sent; %s: %v", call.name, err)
			}
			if took := time.Since(begin); took > patience+tolerance {
				t.Errorf("rule: a deadline is honoured; %s took %v", call.name, took)
			}
		}
	}
	for _, call := range calls {
		if !known[call.name] {
			t.Errorf("rule: a write that had no connection was not sent; %s was indeterminate each time", call.name)
		}
	}
	if err := w.up(); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		entry, err := store.Get(ctx, "outage")
		cancel()
		if err == nil && string(entry.Value) == "before" {
			break
		}
		if time.Since(back) > recovery {
			t.Fatalf("rule: a service that is back is used again; %v later: %v", recovery, err)
		}
		time.Sleep(time.Millisecond)
	}
	t.Logf("used again after %v", time.Since(back))
	for _, call := range calls {
		if err := call.run(t.Context(), store, "back"); err != nil {
			t.Errorf("rule: a service that is back is used again; %s: %v", call.name, err)
		}
	}
}

// TestNoGoroutineIsLeft checks that calls that end early leave no goroutine running.
func TestNoGoroutineIsLeft(t *testing.T) {
	for _, each := range worlds {
		t.Run(each.name, func(t *testing.T) {
			t.Run("use", func(t *testing.T) { endEarly(t, each.make(t)) })
			checkNothingLeft(t, 10*time.Second)
		})
	}
}

// endEarly makes calls that end before they are complete.
func endEarly(t checking, w *world) {
	keys := fillForScan(t, w)
	for range w.stores[0].Scan(t.Context(), "scan:") {
		break
	}
	for range w.stores[0].Scan(t.Context(), "scan:", kv.Limit(len(keys)/2)) {
	}
	for _, kind := range []faults.Kind{faults.Hang, faults.Truncate, faults.Throttle} {
		w.Use(faults.Always(kind))
		for _, call := range calls {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			if err := call.run(ctx, w.stores[0], "scan:"); err == nil && kind != faults.Truncate {
				t.Errorf("%s did not fail", call.name)
			}
			cancel()
		}
		w.Use(nil)
	}
}

func fillForScan(t checking, w *world) []string {
	const size = 700
	var items []kv.Item
	var keys []string
	for i := range size {
		keys = append(keys, fmt.Sprintf("scan:%04d", i))
		items = append(items, kv.Item{Key: keys[i], Value: valueOf(keys[i], i%6)})
	}
	if _, err := w.direct.PutMany(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	return keys
}

// checkNothingLeft waits for goroutines that are ending, at most for the duration moment. Then
// none may be left.
func checkNothingLeft(t checking, moment time.Duration) {
	var left string
	for begin := time.Now(); time.Since(begin) < moment; time.Sleep(10 * time.Millisecond) {
		if left = stacksLeft(); left == "" {
			return
		}
	}
	t.Errorf("rule: no goroutine is left when the stores are closed; there is\n%s", left)
}

// stacksLeft returns the stacks of goroutines that run code of kv or the providers, except the
// goroutines of tests and proxies. It looks at file names, not function names, because a
// function within an iterator has the name of the package into which it is inlined.
func stacksLeft() string {
	_, file, _, _ := runtime.Caller(0)
	root := file[:strings.LastIndex(file, "internal/")] // the folder of the module
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var left []string
	for stack := range strings.SplitSeq(string(buf), "\n\n") {
		if strings.Contains(stack, "created by testing.") || strings.Contains(stack, "faults.(*HTTP)") || strings.Contains(stack, "faults.(*GRPC)") {
			continue
		}
		if strings.Contains(stack, root+"kv/") || strings.Contains(stack, root+"providers/") {
			left = append(left, stack)
		}
	}
	return strings.Join(left, "\n\n")
}

// hanging is a driver with 16 shards. Its calls return only when the context has ended, and
// then after the time late.
type hanging struct {
	kv.Driver
	late time.Duration
}

func (hanging) Info() kv.Info { return kv.Info{Name: "hanging", Shards: 16, MaxAtomicWrites: 100} }
func (hanging) Close() error  { return nil }

func (d hanging) wait(ctx context.Context) error {
	<-ctx.Done()
	time.Sleep(d.late)
	return ctx.Err()
}

func (d hanging) Get(ctx context.Context, _ kv.GetRequest) (kv.Found, error) {
	return kv.Found{}, d.wait(ctx)
}

func (d hanging) Write(ctx context.Context, _ kv.WriteRequest) (kv.Outcome, error) {
	return kv.Outcome{}, d.wait(ctx)
}

func (d hanging) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		if req.Shard%2 == 0 { // a scan of such a shard yields some records before it hangs
			for i := range 10 {
				if !yield(kv.Record{Key: fmt.Sprintf("deadline:%d-%d", req.Shard, i)}, nil) {
					return
				}
			}
		}
		yield(kv.Record{}, d.wait(ctx))
	}
}

func (d hanging) GetMany(ctx context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	return kv.GetEach(ctx, d, req, 8)
}

func (d hanging) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	return kv.WriteEach(ctx, d, req, 8)
}

func (d hanging) WriteAtomic(ctx context.Context, _ kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	return kv.AtomicOutcome{}, d.wait(ctx)
}

// TestHangingDriver checks that the store itself adds no time to a deadline, and leaves no
// goroutine. The time of synctest is simulated, so the call must end exactly at its deadline.
func TestHangingDriver(t *testing.T) {
	for _, call := range calls {
		t.Run(call.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { checkHanging(t, kv.New(hanging{}), call) })
		})
	}
}

func checkHanging(t checking, store *kv.Store, call call) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	begin := time.Now()
	err := call.run(ctx, store, "deadline")
	if took := time.Since(begin); took != time.Second || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("rule: a call ends with its deadline; it took %v: %v", took, err)
	}
	if errors.Is(err, kv.ErrIndeterminate) != call.write {
		t.Errorf("rule: a write whose fate the driver does not know is indeterminate, and a read never is: %v", err)
	}
}
