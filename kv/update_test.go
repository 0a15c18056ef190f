package kv_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// network is a driver that loses requests and responses of another driver, and delays some
// requests. Like a driver of a service, it repeats a request without a response after a pause,
// unless Prompt is set.
type network struct {
	kv.Driver
	mu     sync.Mutex
	random *rand.Rand
	chance float64
	late   []func()

	requests, lost atomic.Int64
}

func (n *network) roll() float64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.random.Float64()
}

func (n *network) Info() kv.Info { return waiting(n.Driver) }

// waiting returns the Info of d without Immediate, for middleware that waits.
func waiting(d kv.Driver) kv.Info {
	info := d.Info()
	info.Immediate = false
	return info
}

// arrive carries out one of the delayed writes, if there are any, in half of its calls.
func (n *network) arrive() {
	n.mu.Lock()
	var one func()
	if len(n.late) > 0 && n.random.Float64() < 0.5 {
		i := n.random.IntN(len(n.late))
		one = n.late[i]
		n.late = append(n.late[:i], n.late[i+1:]...)
	}
	n.mu.Unlock()
	if one != nil {
		one()
	}
}

func (n *network) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	for {
		n.arrive()
		n.requests.Add(1)
		if n.roll() >= n.chance {
			return n.Driver.Get(ctx, req)
		}
		if req.Prompt {
			return kv.Found{}, &kv.Error{Kind: kv.ErrUnavailable, Err: errors.New("no response")}
		}
		time.Sleep(networkPause)
	}
}

// networkPause is long enough for far more updates than the eight that Predecessors names.
const networkPause = time.Second

func (n *network) Write(ctx context.Context, req kv.WriteRequest) (out kv.Outcome, err error) {
	mayHaveApplied := false
	for {
		var lost bool
		if out, lost, err = n.write(ctx, req); !lost {
			if req.Prompt && !out.Done && n.roll() < 0.5 { // some drivers have read the record, others have not
				out = kv.Outcome{}
			}
			out.MayHaveApplied = mayHaveApplied && !out.Done
			return out, err
		}
		if mayHaveApplied = true; req.Prompt {
			return out, err
		}
		time.Sleep(networkPause)
	}
}

// write makes one attempt, and reports whether its response is lost.
func (n *network) write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, bool, error) {
	n.arrive()
	n.requests.Add(1)
	lost := &kv.Error{Kind: kv.ErrUnavailable, MayHaveApplied: true, Err: errors.New("no response")}
	switch at := n.roll(); {
	case at < n.chance/3: // never arrives
		n.lost.Add(1)
		return kv.Outcome{}, true, lost
	case at < n.chance*2/3: // arrives later
		n.lost.Add(1)
		n.mu.Lock()
		n.late = append(n.late, func() { _, _ = n.Driver.Write(context.Background(), req) })
		n.mu.Unlock()
		return kv.Outcome{}, true, lost
	case at < n.chance:
		n.lost.Add(1)
		_, _ = n.Driver.Write(ctx, req)
		return kv.Outcome{}, true, lost
	}
	out, err := n.Driver.Write(ctx, req)
	return out, false, err
}

// The function over returns a store that reads and writes the data of another store through a
// network.
func over(store *kv.Store, chance float64, seed uint64) (*kv.Store, *network) {
	n := &network{random: rand.New(rand.NewPCG(seed, 1)), chance: chance}
	return store.With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { n.Driver = d; return n })), n
}

func TestIncrementsUnderLoss(t *testing.T) {
	t.Parallel()
	for _, processes := range []int{1, 2, 4} {
		for _, callers := range []int{1, 8} {
			t.Run(fmt.Sprintf("%d processes, %d callers", processes, callers), func(t *testing.T) {
				t.Parallel()
				seed := rand.Uint64()
				synctest.Test(t, func(t *testing.T) {
					data := memkv.New()
					if _, err := data.Increment(t.Context(), "n", 0); err != nil {
						t.Fatal(err)
					}
					const each = 200
					var done sync.WaitGroup
					var failed, lost atomic.Int64
					for p := range processes {
						store, n := over(data.With(lagging(30*time.Millisecond)), 0.15, seed+uint64(p))
						for range callers {
							done.Go(func() {
								for range each {
									if _, err := store.Increment(t.Context(), "n", 1); err != nil {
										failed.Add(1)
										t.Errorf("rule: increments of a key that exists are exact under loss; seed %d: %v", seed, err)
									}
								}
							})
						}
						defer func() { lost.Add(n.lost.Load()) }()
					}
					done.Wait()
					want := int64(processes*callers*each) - failed.Load()
					if got, err := data.Increment(t.Context(), "n", 0); got != want || err != nil {
						t.Errorf("rule: the counter is the sum of the acknowledged increments; seed %d: it is %d, %v; want %d", seed, got, err, want)
					}
				})
			})
		}
	}
}

// A store needs few requests for many updates of one key.
func TestUpdatesCombine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, n := over(memkv.New(), 0, 1)
		distant := store.With(lagging(5 * time.Millisecond))
		var done sync.WaitGroup
		began := time.Now()
		for range 50 {
			done.Go(func() {
				for range 20 {
					if _, err := distant.Increment(t.Context(), "n", 1); err != nil {
						t.Error(err)
					}
				}
			})
		}
		done.Wait()
		took := time.Since(began)
		if entry, err := store.Get(t.Context(), "n"); string(entry.Value) != "1000" || err != nil {
			t.Errorf("the counter is %s, %v; want 1000", entry.Value, err)
		}
		if requests := n.requests.Load(); requests > 100 || took > 150*5*time.Millisecond {
			t.Errorf("rule: updates that wait for one key are combined; 1000 increments of 50 callers take %d requests and %s", requests, took)
		}
		requests := n.requests.Load()
		for range 10 {
			_, _ = distant.Increment(t.Context(), "n", 1)
		}
		if got := n.requests.Load() - requests; got != 10 {
			t.Errorf("rule: an update that follows one of the same store needs no read; 10 take %d requests", got)
		}
		requests = n.requests.Load()
		for range 10 { // alternates with another process
			_, _ = distant.Increment(t.Context(), "n", 1)
			_, _ = store.Increment(t.Context(), "n", 1)
		}
		if got := n.requests.Load() - requests; got > 2*20+2 {
			t.Errorf("rule: two stores that alternate need a read for each update; 20 take %d requests", got)
		}
	})
}

// The functions of updates that are combined into one write may take a long time in total.
// The updates that wait in the meantime are combined into the next write, and do not disturb
// the running updates.
func TestManyQuickFunctions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, n := over(memkv.New(), 0, 1)
		distant := store.With(lagging(5 * time.Millisecond))
		const callers, each = 300, 10
		var calls atomic.Int64
		var done sync.WaitGroup
		for range callers {
			done.Go(func() {
				for range each {
					_, err := distant.Update(t.Context(), "n", func(old kv.Entry, _ bool) (kv.Change, error) {
						calls.Add(1)
						time.Sleep(2 * time.Millisecond)
						return kv.Change{Value: append(old.Value, '.')}, nil
					})
					if err != nil {
						t.Errorf("rule: no update of one store loses against the others; one returns %v", err)
					}
				}
			})
		}
		done.Wait()
		if entry, err := store.Get(t.Context(), "n"); len(entry.Value) != callers*each || err != nil {
			t.Errorf("the value has %d bytes, %v; want one of each update, %d", len(entry.Value), err, callers*each)
		}
		if requests := n.requests.Load(); requests > 50 || calls.Load() != callers*each {
			t.Errorf("rule: updates that wait for one key are combined; %d updates take %d requests and %d calls of their functions", callers*each, requests, calls.Load())
		}
	})
}

// An update that makes an entry may be combined with an update that deletes the entry. The
// store then writes nothing.
func TestUpdatesThatAmountToNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, n := over(memkv.New(), 0, 1)
		distant := store.With(lagging(5 * time.Millisecond))
		ctx := t.Context()
		var done sync.WaitGroup
		done.Go(func() { // the two updates below wait for this one
			_, _ = distant.Update(ctx, "n", func(kv.Entry, bool) (kv.Change, error) { return kv.Change{Leave: true}, nil })
		})
		time.Sleep(time.Millisecond)
		var made, taken kv.Entry
		done.Go(func() {
			made, _ = distant.Update(ctx, "n", func(kv.Entry, bool) (kv.Change, error) { return kv.Change{Value: []byte("1")}, nil })
		})
		time.Sleep(time.Millisecond)
		done.Go(func() { taken, _ = distant.GetAndDelete(ctx, "n") })
		done.Wait()
		if requests := n.requests.Load(); string(made.Value) != "1" || string(taken.Value) != "1" || requests != 2 {
			t.Fatalf("the entry made is %q, the one taken %q, with %d requests; want both \"1\" and two reads", made.Value, taken.Value, requests)
		}
		for what, e := range map[string]kv.Entry{"update that made it": made, "deletion": taken} {
			if _, err := store.Put(ctx, "n", nil, kv.IfVersion(e.Version)); !errors.Is(err, kv.ErrConditionFailed) {
				t.Errorf("rule: the version of an entry that a later call has deleted is ErrConditionFailed; with the one from the %s it is %v", what, err)
			}
			if parsed, err := kv.ParseVersion(e.Version.String()); parsed != e.Version || err != nil {
				t.Errorf("rule: every version can be a text; the one from the %s is %v, %v", what, parsed, err)
			}
		}
	})
}

// noting is a driver that remembers the last write.
type noting struct {
	kv.Driver
	last kv.Write
}

func (d *noting) Info() kv.Info { return waiting(d.Driver) }

func (d *noting) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	d.last = req.Write
	return d.Driver.Write(ctx, req)
}

// The Predecessors that the store passes to a driver are well-formed, even if another program
// wrote the record that an update replaces.
func TestPredecessorsOfOtherPrograms(t *testing.T) {
	t.Parallel()
	const token = "AAAAAAAAAAAAAAAAAAAAAA"
	for _, of := range []kv.Record{
		{Token: token, Predecessors: strings.Repeat("x", kv.MaxPredecessorsLen)},
		{Token: token, Predecessors: strings.Repeat("x ", kv.MaxPredecessorsLen)},
		{Token: token, Predecessors: `","t":"`},
		{Token: token, Predecessors: "\x00\u00e4"},
		{Token: `AAAA","t":"AAAAAAAAAAA`},
		{Token: "AAAA AAAA AAAA AAAA AA"},
	} {
		var d *noting
		store := memkv.New().With(kv.Wrap(kv.Level1, func(below kv.Driver) kv.Driver { d = &noting{Driver: below}; return d }))
		of.Key, of.Value = "n", []byte("1")
		if _, err := d.Driver.Write(t.Context(), kv.WriteRequest{Write: kv.Write{Kind: kv.KindPut, Record: of}, Now: 1}); err != nil {
			t.Fatal(err)
		}
		if sum, err := store.Increment(t.Context(), "n", 1); sum != 2 || err != nil {
			t.Fatalf("the sum is %d, %v; want 2", sum, err)
		}
		got := d.last.Predecessors
		if len(got) > kv.MaxPredecessorsLen || len(strings.Fields(got)) > 8 || !regexp.MustCompile(`^[A-Za-z0-9_. -]+$`).MatchString(strings.ReplaceAll(got, "x", "")) {
			t.Errorf("rule: Predecessors are at most %d bytes of printable ASCII without quotes; after the token %q and the list %.20q they are %d bytes, %.80q", kv.MaxPredecessorsLen, of.Token, of.Predecessors, len(got), got)
		}
	}
}

// lagging delays every Get and every Write.
func lagging(by time.Duration) kv.StoreOption {
	return kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return delayed{d, by} })
}

type delayed struct {
	kv.Driver
	by time.Duration
}

func (d delayed) Info() kv.Info { return waiting(d.Driver) }

func (d delayed) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	if err := d.wait(ctx); err != nil {
		return kv.Found{}, err
	}
	return d.Driver.Get(ctx, req)
}

func (d delayed) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	if err := d.wait(ctx); err != nil {
		return kv.Outcome{}, err
	}
	return d.Driver.Write(ctx, req)
}

func (d delayed) wait(ctx context.Context) error {
	if d.by == 0 {
		return nil
	}
	select {
	case <-time.After(d.by):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// The function of an update must not harm the other updates of the same key, whatever it does.
func TestBadFunctions(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]func(store *kv.Store) (outcome string){
		"panics": func(store *kv.Store) (outcome string) {
			defer func() { outcome = fmt.Sprint(recover()) }()
			_, err := store.Update(context.Background(), "n", func(kv.Entry, bool) (kv.Change, error) { panic("mine") })
			return err.Error()
		},
		"ends its goroutine": func(store *kv.Store) (outcome string) {
			ended := make(chan string, 1)
			go func() {
				defer func() { ended <- fmt.Sprint("ended, ", recover()) }()
				_, _ = store.Update(context.Background(), "n", func(kv.Entry, bool) (kv.Change, error) { runtime.Goexit(); panic(1) })
				ended <- "returned"
			}()
			return <-ended
		},
		"fails": func(store *kv.Store) (outcome string) {
			_, err := store.Update(context.Background(), "n", func(kv.Entry, bool) (kv.Change, error) { return kv.Change{}, errMine })
			return fmt.Sprint(err == errMine)
		},
		"returns too large a value": func(store *kv.Store) (outcome string) {
			_, err := store.Update(context.Background(), "n", func(kv.Entry, bool) (kv.Change, error) {
				return kv.Change{Value: make([]byte, kv.MaxValueLen+1)}, nil
			})
			return fmt.Sprint(errors.Is(err, kv.ErrValueTooLarge))
		},
		"updates the same key": func(store *kv.Store) (outcome string) {
			_, err := store.Update(context.Background(), "n", func(kv.Entry, bool) (kv.Change, error) {
				_, _ = store.Increment(context.Background(), "n", 0)
				return kv.Change{Value: []byte("0")}, nil
			})
			return fmt.Sprint(errors.Is(err, kv.ErrUnavailable))
		},
		"does not return until its caller has left": func(store *kv.Store) (outcome string) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_, err := store.Update(ctx, "n", func(kv.Entry, bool) (kv.Change, error) {
				<-ctx.Done()
				return kv.Change{Leave: true}, nil
			})
			return fmt.Sprint(err)
		},
	} {
		want := map[string]string{"panics": "mine", "ends its goroutine": "ended, <nil>", "does not return until its caller has left": "*"}[name]
		if want == "" {
			want = "true"
		}
		for driver, store := range map[string]func(data *kv.Store) *kv.Store{
			"that may wait":    func(data *kv.Store) *kv.Store { return data.With(lagging(5 * time.Millisecond)) },
			"that never waits": func(data *kv.Store) *kv.Store { return data },
		} {
			t.Run(name+", on a driver "+driver, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					data := memkv.New()
					store := store(data)
					var done sync.WaitGroup
					for i := range 10 {
						if i == 3 {
							done.Go(func() {
								if got := bad(store); got != want && want != "*" {
									t.Errorf("rule: a function affects only its own caller; one that %s ends with %q, want %q", name, got, want)
								}
							})
						}
						done.Go(func() {
							for range 5 {
								if _, err := store.Increment(t.Context(), "n", 1); err != nil {
									t.Errorf("rule: a function that %s affects no other; an increment returns %v", name, err)
								}
							}
						})
					}
					done.Wait()
					if got, err := data.Increment(t.Context(), "n", 0); got != 50 || err != nil {
						t.Errorf("rule: a function that %s affects no other; the counter is %d, %v; want 50", name, got, err)
					}
				})
			})
		}
	}
}

// counting counts the calls of a driver's Get and Write.
type counting struct {
	kv.Driver
	requests atomic.Int64
}

func (d *counting) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	d.requests.Add(1)
	return d.Driver.Get(ctx, req)
}

func (d *counting) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	d.requests.Add(1)
	return d.Driver.Write(ctx, req)
}

// On a driver that never waits, each attempt of an update is one read and one write, and no
// update loses forever.
func TestImmediateUpdates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var driver counting
		store := memkv.New().With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { driver.Driver = d; return &driver }))
		const callers = 200 // one succeeds at a time, so without precedence the last would lose 199 times
		var done sync.WaitGroup
		var calls atomic.Int64
		for range callers {
			done.Go(func() {
				_, err := store.Update(t.Context(), "n", func(old kv.Entry, _ bool) (kv.Change, error) {
					calls.Add(1)
					time.Sleep(50 * time.Millisecond) // fake time, so that other updates come between the read and the write
					return kv.Change{Value: append(old.Value, '.')}, nil
				})
				if err != nil {
					t.Errorf("rule: an update that lost often goes first; of %d at once one returns %v", callers, err)
				}
			})
		}
		done.Wait()
		if entry, err := store.Get(t.Context(), "n"); len(entry.Value) != callers || err != nil {
			t.Errorf("the value has %d bytes, %v; want one of each update, %d", len(entry.Value), err, callers)
		}
		if got := driver.requests.Load() - 1; got != 2*calls.Load() {
			t.Errorf("rule: an update of a driver that never waits is its own read and write; %d calls of functions took %d requests", calls.Load(), got)
		}
	})
}

// If a caller's context ends while another update has precedence, the call changes nothing.
func TestImmediateUpdatersLeave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		data := memkv.New()
		store := data.With(kv.Clock(time.Now))
		dot := func(store *kv.Store, ctx context.Context, takes time.Duration) error {
			_, err := store.Update(ctx, "n", func(old kv.Entry, _ bool) (kv.Change, error) {
				time.Sleep(takes)
				return kv.Change{Value: append(old.Value, '.')}, nil
			})
			return err
		}
		var done sync.WaitGroup
		done.Go(func() {
			if err := dot(store, t.Context(), 50*time.Millisecond); err != nil {
				t.Error(err)
			}
		})
		for range 10 { // another store makes the update lose
			time.Sleep(45 * time.Millisecond) // fake time
			if err := dot(data, t.Context(), 0); err != nil {
				t.Error(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		began := time.Now()
		if err := dot(store, ctx, 0); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, kv.ErrIndeterminate) || time.Since(began) != 10*time.Millisecond {
			t.Errorf("rule: a call that ends while it waits has changed nothing; after %s it returns %v", time.Since(began), err)
		}
		done.Wait()
		if entry, err := store.Get(t.Context(), "n"); len(entry.Value) != 11 || err != nil {
			t.Errorf("the value has %d bytes, %v; want one of each update, 11", len(entry.Value), err)
		}
	})
}

var errMine = errors.New("mine")

// If a caller's context ends before its change was sent, the call changes nothing.
func TestUpdatersLeave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		data := memkv.New()
		store := data.With(lagging(10 * time.Millisecond))
		var done sync.WaitGroup
		var acknowledged, unknown atomic.Int64
		for i := range 200 {
			done.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond / 4)
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+i%40)*time.Millisecond)
				defer cancel()
				switch _, err := store.Increment(ctx, "n", 1); {
				case err == nil:
					acknowledged.Add(1)
				case errors.Is(err, kv.ErrIndeterminate):
					unknown.Add(1)
				case !errors.Is(err, context.DeadlineExceeded):
					t.Errorf("rule: a call ends with its context's error; it ends with %v", err)
				}
			})
		}
		done.Wait()
		synctest.Wait()
		time.Sleep(time.Second)
		entry, err := data.Get(t.Context(), "n")
		got, _ := strconv.ParseInt(string(entry.Value), 10, 64)
		if err != nil || got < acknowledged.Load() || got > acknowledged.Load()+unknown.Load() || acknowledged.Load() == 0 || unknown.Load() == 0 {
			t.Errorf("rule: every acknowledged update was applied, and no failed update was; the counter is %d, %v, with %d acknowledged and %d unknown", got, err, acknowledged.Load(), unknown.Load())
		}
	})
}

// stuck is a service that never responds. It counts the reads, and the reads that still run.
type stuck struct {
	hanging
	reads, running atomic.Int64
}

func (d *stuck) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	d.reads.Add(1)
	d.running.Add(1)
	defer d.running.Add(-1)
	return d.hanging.Get(ctx, req)
}

// If the function of an update does not return, no other update of the key waits for that
// function, not even an update of the same round, before or after it.
func TestUpdatesDoNotWaitForAFunction(t *testing.T) {
	t.Parallel()
	for name, slow := range map[string]int{"first": 0, "in the middle": 1, "last": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := memkv.New().With(lagging(5 * time.Millisecond))
				var done sync.WaitGroup
				begun, proceed := make(chan struct{}, 100), make(chan struct{})
				done.Go(func() { // the updates below wait for this one, and form the next round
					if _, err := store.Increment(t.Context(), "n", 1); err != nil {
						t.Error(err)
					}
				})
				time.Sleep(time.Millisecond)
				results := make(chan error, 3)
				for i := range 3 {
					done.Go(func() {
						_, err := store.Update(t.Context(), "n", func(old kv.Entry, _ bool) (kv.Change, error) {
							if i == slow {
								begun <- struct{}{}
								<-proceed
							}
							n, err := strconv.Atoi(string(old.Value))
							return kv.Change{Value: strconv.AppendInt(nil, int64(n+1), 10)}, err
						})
						results <- err
					})
					synctest.Wait()
				}
				<-begun
				time.Sleep(time.Second) // fake time
				if got := len(results); got != 2 {
					t.Errorf("rule: if a function takes longer than a tenth of a second, other updates no longer wait; a second after its start, %d of 2 have ended", got)
				}
				close(proceed)
				done.Wait()
				for range 3 {
					if err := <-results; err != nil {
						t.Error(err)
					}
				}
				if got, err := store.Increment(t.Context(), "n", 0); got != 4 || err != nil {
					t.Errorf("rule: each update is applied once; the counter is %d, %v; want 4", got, err)
				}
			})
		})
	}
}

// When all callers of a round have left, the round ends, whoever leaves last: the caller whose
// update is in the round, or a caller whose update waits for the next round.
func TestRoundsEndWithTheirCallers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ taken, waits time.Duration }{ // when the callers' contexts end
		"the update in the round leaves last": {3 * time.Second, 2 * time.Second},
		"the update that waits leaves last":   {2 * time.Second, 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := new(stuck)
				store := memkv.New().With(kv.Wrap(kv.Level1, func(next kv.Driver) kv.Driver { d.Driver = next; return d }))
				began := time.Now()
				var done sync.WaitGroup
				increment := func(until time.Duration) {
					done.Go(func() {
						ctx, cancel := context.WithDeadline(t.Context(), began.Add(until))
						defer cancel()
						if _, err := store.Increment(ctx, "n", 1); !errors.Is(err, context.DeadlineExceeded) {
							t.Errorf("rule: a call ends with its context's error; it ends with %v", err)
						}
					})
				}
				increment(time.Second) // the next two wait for it
				time.Sleep(time.Millisecond)
				increment(c.taken)
				time.Sleep(time.Second + time.Millisecond) // fake time, until the round with the second has begun
				increment(c.waits)
				done.Wait()
				synctest.Wait()
				if running := d.running.Load(); running != 0 {
					t.Errorf("rule: after a call ends, none of its requests goes on; %d do", running)
				}
				reads := d.reads.Load()
				increment(4 * time.Second)
				if done.Wait(); d.reads.Load() != reads+1 {
					t.Errorf("rule: an update does not wait for calls that have ended; it made %d requests, want 1", d.reads.Load()-reads)
				}
				if err := store.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// slowDeletes is a driver whose deletions do not end before their contexts. It counts those that
// run.
type slowDeletes struct {
	delayed
	running atomic.Int64
}

func (d *slowDeletes) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	if req.Kind != kv.KindDelete {
		return d.delayed.Write(ctx, req)
	}
	d.running.Add(1)
	defer d.running.Add(-1)
	<-ctx.Done()
	return kv.Outcome{}, ctx.Err()
}

// After an update has deleted the entry, it removes the record with its token. That request ends
// with the calls, and does not change their results.
func TestDeletionsEndWithTheirCallers(t *testing.T) {
	t.Parallel()
	for _, callers := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			d := new(slowDeletes)
			data := memkv.New()
			store := data.With(kv.Wrap(kv.Level1, func(next kv.Driver) kv.Driver { d.delayed = delayed{next, time.Millisecond}; return d }))
			if _, err := data.Put(t.Context(), "n", []byte("1")); err != nil {
				t.Fatal(err)
			}
			var done sync.WaitGroup
			for i := range callers {
				done.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					change := kv.Change{Value: []byte("2")}
					if i == callers-1 {
						change = kv.Change{Delete: true}
					}
					if _, err := store.Update(ctx, "n", func(kv.Entry, bool) (kv.Change, error) { return change, nil }); err != nil {
						t.Errorf("rule: an update that was applied returns no error; one of %d returns %v", callers, err)
					}
				})
				synctest.Wait() // the updates are in this order
			}
			done.Wait()
			synctest.Wait()
			if running := d.running.Load(); running != 0 {
				t.Errorf("rule: after a call ends, none of its requests goes on; of %d calls %d do", callers, running)
			}
			if _, err := store.Get(t.Context(), "n"); !errors.Is(err, kv.ErrNotFound) {
				t.Errorf("rule: an entry that an update deleted is absent; Get returns %v", err)
			}
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// After an update that deletes an entry, the entry is gone by every clock, as after Delete.
// The entry may have expired by the caller's clock only, or may have been made by an earlier
// update that is combined with the deletion.
func TestUpdatesDeleteWhatHasExpired(t *testing.T) {
	t.Parallel()
	for _, calls := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			data := memkv.New()
			if _, err := data.Put(t.Context(), "k", []byte("1"), kv.TTL(30*time.Second)); err != nil {
				t.Fatal(err)
			}
			fast := data.With(lagging(time.Millisecond), kv.Clock(func() time.Time { return time.Now().Add(time.Minute) }))
			var done sync.WaitGroup
			for i := range calls {
				change := kv.Change{Delete: i == calls-1, Leave: i == 0 && calls > 1}
				done.Go(func() {
					time.Sleep(time.Duration(i) * time.Microsecond) // fake time, so that all others wait for the first
					if _, err := fast.Update(t.Context(), "k", func(kv.Entry, bool) (kv.Change, error) { return change, nil }); err != nil {
						t.Error(err)
					}
				})
			}
			done.Wait()
			time.Sleep(time.Second) // fake time, until the record that replaces the entry is deleted
			if entry, err := data.Get(t.Context(), "k"); !errors.Is(err, kv.ErrNotFound) {
				t.Errorf("rule: an entry that an update deleted is gone; after %d calls it is %q, %v", calls, entry.Value, err)
			}
		})
	}
}

// offline is a service that stops responding when away is set.
type offline struct {
	kv.Driver
	away atomic.Bool
}

func (d *offline) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	if d.away.Load() {
		return kv.Found{}, &kv.Error{Kind: kv.ErrUnavailable}
	}
	return d.Driver.Get(ctx, req)
}

func (d *offline) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	if d.away.Load() {
		return kv.Outcome{}, &kv.Error{Kind: kv.ErrUnavailable, MayHaveApplied: true}
	}
	return d.Driver.Write(ctx, req)
}

// The error of an update that changes nothing never matches ErrIndeterminate, even if the
// response to the write of the updates with which it is combined is lost.
func TestLeavingIsNeverIndeterminate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		service := new(offline)
		store := memkv.New().With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { service.Driver = d; return service })).With(lagging(5 * time.Millisecond))
		var done sync.WaitGroup
		done.Go(func() {
			if _, err := store.Increment(t.Context(), "n", 1); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(time.Millisecond) // fake time, so that the others wait for the first
		for _, c := range []struct {
			change  kv.Change
			unknown bool
		}{{kv.Change{Value: []byte("2")}, true}, {kv.Change{Leave: true}, false}} {
			done.Go(func() {
				_, err := store.Update(t.Context(), "n", func(kv.Entry, bool) (kv.Change, error) { return c.change, nil })
				if !errors.Is(err, kv.ErrUnavailable) || errors.Is(err, kv.ErrIndeterminate) != c.unknown {
					t.Errorf("rule: only an update that changes something may be ErrIndeterminate; the update %+v returns %v", c.change, err)
				}
			})
		}
		time.Sleep(11 * time.Millisecond) // fake time, until the first is done and the others' write is in flight
		service.away.Store(true)
		done.Wait()
	})
}
