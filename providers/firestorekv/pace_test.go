package firestorekv

import (
	"context"
	"errors"
	"math"
	"sync"
	"testing"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/skykv/skykv/kv"
)

// limited is a service in simulated time. It accepts capacity writes a second, and at most
// that many at once.
type limited struct {
	capacity, tokens float64
	at               time.Time
	taken, refused   int
}

func (l *limited) take(writes int, now time.Time) bool {
	l.tokens = min(l.capacity, l.tokens+l.capacity*now.Sub(l.at).Seconds())
	l.at = now
	if l.tokens < float64(writes) {
		l.refused += writes
		return false
	}
	l.tokens -= float64(writes)
	l.taken += writes
	return true
}

// drive sends groups of writes through p to the service, for the duration lasting. It sends as
// many groups at once as WriteMany does.
func drive(p *pace, service *limited, from time.Time, lasting time.Duration) {
	const latency = 50 * time.Millisecond
	type group struct {
		at    time.Time // when the group takes its next step
		asked time.Time // when the group asked for its turn
		sent  time.Time // when the group has its turn
		left  bool      // the group is on its way to the service
	}
	groups := make([]group, parallelGroups)
	for i := range groups {
		groups[i].at = from
	}
	for {
		g := &groups[0]
		for i := range groups {
			if groups[i].at.Before(g.at) {
				g = &groups[i]
			}
		}
		switch now := g.at; {
		case now.Sub(from) > lasting:
			return
		case g.left:
			if !service.take(groupWrites, g.sent) {
				p.refused(g.asked, now)
			}
			*g = group{at: now}
		case g.sent.IsZero():
			g.asked = now
			wait, _ := p.turn(groupWrites, now)
			g.sent = now.Add(wait)
			g.at = g.sent
		default:
			g.left, g.at = true, now.Add(latency)
		}
	}
}

func TestPace(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1_700_000_000, 0)
	for _, capacity := range []float64{500, 2000, 10_000} {
		var p pace
		service := &limited{capacity: capacity, at: begin}
		drive(&p, service, begin, 2*time.Minute)
		share := float64(service.taken) / (capacity * 120)
		wasted := float64(service.refused) / float64(service.taken)
		t.Logf("of %v writes a second %.0f%% are used, %.2f refused for each", capacity, 100*share, wasted)
		if share < 0.6 || wasted > 0.3 {
			t.Errorf("rule: batches are about as fast as the service accepts; of %v writes a second %.0f%% are used, and %.2f writes are refused for each", capacity, 100*share, wasted)
		}
		// The service has split the range of documents, and accepts twice as many writes.
		service.capacity, service.taken = 2*capacity, 0
		drive(&p, service, begin.Add(2*time.Minute), time.Minute)
		if rate := float64(service.taken) / 60; rate < 1.2*capacity {
			t.Errorf("rule: the pace grows with the service's limit; after %v came %v writes a second, and %.0f are used", capacity, 2*capacity, rate)
		}
	}
	var p pace
	service := &limited{capacity: 1e9, at: begin, tokens: 1e9}
	drive(&p, service, begin, time.Minute)
	if want := parallelGroups * groupWrites * 60 * 20; service.taken < want*9/10 || p.rate != 0 {
		t.Errorf("rule: nothing waits where the service refuses nothing; %d writes were sent, want about %d", service.taken, want)
	}
}

// TestPaceTakesBackATurn: a turn that is not used delays nobody, even if the rate was lowered after
// the turn was reserved.
func TestPaceTakesBackATurn(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	p := pace{rate: 1000, at: now}
	_, cost := p.turn(400, now)
	p.turn(200, now)
	p.refused(now, now)
	p.unused(cost)
	if wait, _ := p.turn(1, now); wait != 200*time.Millisecond {
		t.Errorf("rule: after an unused turn, only the others delay the next turn; it waits for %s, want 200ms", wait)
	}
}

// TestPaceHalvesOnce: the refusals of concurrent requests count as one refusal.
func TestPaceHalvesOnce(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1_700_000_000, 0)
	var p pace
	for range 8 {
		if wait, _ := p.turn(200, begin); wait != 0 {
			t.Fatalf("rule: the first batch does not wait; got %s", wait)
		}
	}
	for range 8 {
		p.refused(begin, begin.Add(50*time.Millisecond))
	}
	if p.rate != 800 {
		t.Errorf("rule: a refusal halves the rate that was refused, once; of 1600 writes a second it is %v", p.rate)
	}
	now := begin.Add(time.Second)
	first, _ := p.turn(200, now)
	second, _ := p.turn(200, now)
	if first != 0 || second < 200*time.Millisecond || second > 250*time.Millisecond {
		t.Errorf("rule: groups of writes wait for each other; at 800 to 900 writes a second a group of 200 waits for %s, the next for %s", first, second)
	}
	for range 100 {
		now = now.Add(time.Millisecond)
		p.refused(now, now)
	}
	if p.rate != slowestPace {
		t.Errorf("rule: the rate has a least value; it is %v", p.rate)
	}
	if p.turn(1, now.Add(time.Hour)); p.rate != 0 {
		t.Errorf("rule: after a long time without refusals nothing waits; the rate is %v", p.rate)
	}
}

// TestBatchesKeepOn: a batch goes on although the service throttles it much more often than a
// client usually retries.
func TestBatchesKeepOn(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{codes.ResourceExhausted, codes.Aborted} {
		f := &fake{refuse: func(_ context.Context, _ string, n int) error {
			if n < 3*maxAttempts {
				return status.Error(code, "too many")
			}
			return nil
		}}
		d := driverAt(t, f.start(t))
		d.firstPause = 1 // so that even many pauses are short
		s := kv.New(d)
		if _, err := s.PutMany(t.Context(), []kv.Item{{Key: "a"}}); err != nil {
			t.Errorf("rule: a batch that the service refuses for its rate goes on; after %d times %s: %v", 3*maxAttempts, code, err)
		}
		if entries, err := s.GetMany(t.Context(), []string{"a"}); err != nil || len(entries) != 1 {
			t.Errorf("rule: a batch that the service refuses for its rate goes on; after %d times %s: %d entries, %v", 3*maxAttempts, code, len(entries), err)
		}
		if err := s.DeleteMany(t.Context(), []string{"a"}); err != nil {
			t.Error(err)
		}
	}
}

// TestBatchesKeepOnWithProgress: a batch that makes progress may take longer than the store's
// timeout. The service carries out only one write of each request.
func TestBatchesKeepOnWithProgress(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	served := make(map[int]bool) // calls that carried out a write
	f := &fake{}
	f.status = func(_ string, n int) codes.Code {
		mu.Lock()
		defer mu.Unlock()
		if served[n] {
			return codes.ResourceExhausted
		}
		served[n] = true
		return codes.OK
	}
	d := driverAt(t, f.start(t))
	d.timeout = time.Second
	began := time.Now()
	s := kv.New(d)
	if _, err := s.PutMany(t.Context(), itemsOf(manyKeys(10))); err != nil {
		t.Errorf("rule: a batch goes on while it makes progress; got %v", err)
	}
	if took := time.Since(began); took < d.timeout {
		t.Errorf("the test shows nothing: the batch took %s", took)
	}
	if n := len(received[*pb.BatchWriteRequest](f)); n != 10 {
		t.Errorf("made %d requests, want 10", n)
	}
}

func itemsOf(keys []string) (items []kv.Item) {
	for _, key := range keys {
		items = append(items, kv.Item{Key: key})
	}
	return items
}

// TestBatchesGiveUp: a batch ends if the service refuses every request.
func TestBatchesGiveUp(t *testing.T) {
	t.Parallel()
	long, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	for name, ctx := range map[string]context.Context{"without a deadline": t.Context(), "with one in an hour": long} {
		f := &fake{refuse: func(context.Context, string, int) error { return status.Error(codes.ResourceExhausted, "quota") }}
		d := driverAt(t, f.start(t))
		d.timeout = 300 * time.Millisecond
		s := kv.New(d)
		_, getErr := s.GetMany(ctx, []string{"a"})
		_, putErr := s.PutMany(ctx, []kv.Item{{Key: "a"}})
		for op, err := range map[string]error{"PutMany": putErr, "GetMany": getErr} {
			// The store's own deadline may end a running attempt.
			cut := ctx == t.Context() && errors.Is(err, kv.ErrUnavailable)
			if !cut && (!errors.Is(err, kv.ErrThrottled) || errors.Is(err, kv.ErrIndeterminate)) {
				t.Errorf("rule: a batch ends as ErrThrottled after the store's timeout without progress; %s %s: %v", op, name, err)
			}
			if errors.Is(err, context.DeadlineExceeded) != (ctx == t.Context()) {
				t.Errorf("rule: the error matches context.DeadlineExceeded when the call had no deadline of its own; %s %s: %v", op, name, err)
			}
		}
	}
}

// TestPaceHonoursDeadlines: a group that waits for its turn ends when its call ends.
func TestPaceHonoursDeadlines(t *testing.T) {
	t.Parallel()
	f := new(fake)
	d := driverAt(t, f.start(t))
	now := time.Now()
	d.pace.rate, d.pace.at, d.pace.next = slowestPace, now, now.Add(time.Hour)
	s := kv.New(d)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	unsent := puts("a")
	unsent.Meter = kv.NewMeter(nil)
	_ = d.WriteMany(ctx, unsent)
	if requests, attempts := unsent.Meter.Requests(), unsent.Meter.Attempts(); requests != 0 || attempts != 0 {
		t.Errorf("rule: a meter counts requests that were sent; of a batch that was not sent it has %d requests, %d attempts", requests, attempts)
	}
	_, err := s.PutMany(ctx, []kv.Item{{Key: "a"}})
	if !errors.Is(err, kv.ErrThrottled) || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, kv.ErrIndeterminate) {
		t.Errorf("rule: a write that was not sent before its deadline is ErrThrottled and context.DeadlineExceeded; got %v", err)
	}
	if ctx.Err() != nil {
		t.Error("the batch waited for a deadline that it knew it would miss")
	}
	result := make(chan error, 1)
	go func() {
		_, err := s.PutMany(t.Context(), []kv.Item{{Key: "a"}})
		result <- err
	}()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := soon(t, result, "Close ends a batch that waits for its turn"); !errors.Is(err, kv.ErrClosed) || errors.Is(err, kv.ErrIndeterminate) {
		t.Errorf("rule: a batch that Close ended before it was sent is ErrClosed; got %v", err)
	}
	if got := f.count(); got != "" {
		t.Errorf("made %s, want nothing", got)
	}
}

// TestTurnsAreGivenBack: calls that end before their turn do not delay other calls.
func TestTurnsAreGivenBack(t *testing.T) {
	t.Parallel()
	d := driverAt(t, new(fake).start(t))
	now := time.Now()
	d.pace.rate, d.pace.at, d.pace.next = slowestPace, now, now.Add(3*time.Second)
	s := kv.New(d)
	for range 20 { // each turn would take 8 s
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if _, err := s.PutMany(ctx, itemsOf(manyKeys(groupWrites))); !errors.Is(err, kv.ErrThrottled) {
			t.Fatalf("got %v, want ErrThrottled", err)
		}
		cancel()
	}
	if wait, _ := d.pace.turn(1, now); wait > 5*time.Second {
		t.Errorf("rule: a call that ends before its turn returns the turn; the next one waits %s", wait)
	}
}

// TestTurnsMayTakeLong: a batch may wait for its turn for longer than the store's timeout, which may
// be as long as a time.Duration can be.
func TestTurnsMayTakeLong(t *testing.T) {
	t.Parallel()
	for _, timeout := range []time.Duration{time.Second, math.MaxInt64} {
		d := driverAt(t, new(fake).start(t))
		d.timeout = timeout
		now := time.Now()
		d.pace.rate, d.pace.at, d.pace.next = slowestPace, now, now.Add(2*time.Second)
		if _, err := kv.New(d).PutMany(t.Context(), itemsOf([]string{"a"})); err != nil {
			t.Errorf("rule: a batch may wait for its turn longer than the store's timeout, here %s; got %v", timeout, err)
		}
	}
}

// TestSingleWritesAreNotPaced: only batches are paced.
func TestSingleWritesAreNotPaced(t *testing.T) {
	t.Parallel()
	d := driverAt(t, new(fake).start(t))
	now := time.Now()
	d.pace.rate, d.pace.at, d.pace.next = slowestPace, now, now.Add(time.Hour)
	if _, err := kv.New(d).Put(t.Context(), "a", nil); err != nil {
		t.Errorf("rule: a single write does not wait for batches; got %v", err)
	}
}
