package conformance

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// A hangingStore is a store with calls that never end.
type hangingStore struct {
	open   func() *kv.Store
	groups string   // the cases to run, a regular expression
	fails  []string // cases that must fail, written as in fault.must
	passes []string // cases that must pass
	says   string   // text that a failure must contain
}

func hanging(wrap middleware) func() *kv.Store {
	return func() *kv.Store { return memkv.New().With(kv.Wrap(kv.Level1, wrap)) }
}

var hangingStores = map[string]hangingStore{
	"yields under its lock": {
		open: hanging(func(d kv.Driver) kv.Driver {
			var mu sync.Mutex
			return methods{
				scan: func(ctx context.Context, d kv.Driver, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
					return func(yield func(kv.Record, error) bool) {
						mu.Lock()
						defer mu.Unlock()
						d.Scan(ctx, req)(yield)
					}
				},
				write: func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
					if req.Kind == kv.KindPut {
						mu.Lock()
						defer mu.Unlock()
					}
					return d.Write(ctx, req)
				},
			}.over(d)
		}),
		groups: ".",
		fails:  []string{"scan/loop-uses-store", "scan/nested", "scan/live-throughout", "concurrency/scan-among-writers"},
		passes: []string{"scan/many", "scan/break", "get/*", "put/*", "page/*", "close/*", "concurrency/counter", "context/*"},
		says:   "under way: Scan at ",
	},
	"scans an endless sequence of records": {
		open: hanging(methods{scan: func(_ context.Context, _ kv.Driver, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
			return func(yield func(kv.Record, error) bool) {
				for n := 0; ; n++ {
					value := make([]byte, 1000) // keeping all of these values would fill the memory
					if !yield(kv.Record{Key: fmt.Sprintf("%s%010d", req.From, n), Value: value, Token: "t", Version: "t"}, nil) {
						return
					}
				}
			}
		}}.over),
		groups: ".",
		fails:  []string{"scan/many", "scan/entries", "page/limit-huge", "batch/delete-prefix/many"},
		says:   "a scan of the driver does not end",
		passes: []string{"info/*", "versions/chain", "batch/get-many/1000", "concurrency/counter"},
	},
	"GetMany never returns": {
		open: hanging(methods{getMany: func(context.Context, kv.Driver, kv.GetManyRequest) iter.Seq2[kv.Found, error] {
			return func(func(kv.Found, error) bool) { select {} }
		}}.over),
		groups: "get|put|batch",
		fails:  []string{"get/live", "batch/get-many/1", "batch/get-many/1000", "batch/put-many/versions", "batch/put-many/conditions"},
		passes: []string{"put/*", "batch/put-many/1", "batch/get-many/0"},
		says:   "under way: GetMany at ",
	},
	"Close never returns": {
		open:   hanging(methods{close: func(kv.Driver) error { select {} }}.over),
		groups: "get|close",
		fails:  []string{"*"},
		says:   "Close",
	},
	"New never returns": {
		open:   func() *kv.Store { select {} },
		groups: "get|info",
		fails:  []string{"*"},
		says:   "under way: Config.New",
	},
}

// hangingVariable is the environment variable that names the store to a process started
// by TestHangingStores.
const hangingVariable = "SKYKV_HANGING_STORE"

func TestMain(m *testing.M) {
	if h, ok := hangingStores[os.Getenv(hangingVariable)]; ok {
		testing.Main(regexp.MatchString, []testing.InternalTest{{Name: "TestHangingStore", F: func(t *testing.T) {
			Run(t, Config{CaseTimeout: 5 * time.Second, New: func(context.Context) (*kv.Store, error) { return h.open(), nil }})
		}}}, nil, nil)
	}
	os.Exit(m.Run())
}

// TestHangingStores runs the suite on stores that hang, each in a process of its own, because
// a call that never ends runs until its process ends. Each process runs the suite as "go test"
// does.
func TestHangingStores(t *testing.T) {
	t.Parallel()
	verdict := regexp.MustCompile(`(?m)^ +--- (PASS|FAIL): TestHangingStore/(\S+) `)
	report := regexp.MustCompile(`(?m)^=== (?:CONT|NAME) +TestHangingStore/(\S+)\n((?: +.*\n)*)`)
	wait := make(map[string]func() (string, error))
	for name, h := range hangingStores {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHangingStore$/^("+h.groups+")", "-test.v", "-test.parallel=4", "-test.timeout=5m")
		cmd.Env = append(os.Environ(), hangingVariable+"="+name)
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		wait[name] = func() (string, error) { err := cmd.Wait(); return out.String(), err }
	}
	for name, h := range hangingStores {
		t.Run(name, func(t *testing.T) {
			out, err := wait[name]()
			if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 || !strings.HasSuffix(out, "\nFAIL\n") {
				t.Fatalf("rule: the suite ends on a store that hangs, with failures; it ends with %v and prints\n%s", err, out)
			}
			verdicts, reports := make(map[string]string), make(map[string]string)
			for _, m := range verdict.FindAllStringSubmatch(out, -1) {
				verdicts[m[2]] = m[1]
			}
			for _, m := range report.FindAllStringSubmatch(out, -1) {
				reports[m[1]] += m[2]
			}
			fails, passes := fault{must: h.fails}, fault{must: h.passes}
			groups := regexp.MustCompile("^(" + h.groups + ")")
			seen := 0
			for _, c := range Cases() {
				if group, _, _ := strings.Cut(c.Name, "/"); !groups.MatchString(group) {
					continue
				}
				got, says := verdicts[c.Name], reports[c.Name]
				switch {
				case got == "":
					t.Errorf("rule: every case has a result; %s has none", c.Name)
				case fails.names(c.Name) && (got != "FAIL" || !strings.Contains(says, h.says)):
					t.Errorf("rule: a case in which the store hangs fails and says %q; %s ends with %s\n%s", h.says, c.Name, got, says)
				case got == "FAIL" && !strings.Contains(says, "rule: "+c.Rule):
					t.Errorf("rule: every failure quotes the rule; the failure of %s says\n%s", c.Name, says)
				case passes.names(c.Name) && got != "PASS":
					t.Errorf("rule: a case without a call that hangs passes; %s fails\n%s", c.Name, says)
				}
				seen++
			}
			if seen != len(verdicts) {
				t.Errorf("rule: exactly the selected cases run; %d of %d have a result", len(verdicts), seen)
			}
		})
	}
}

// stuck is middleware whose calls return only when release is closed, or, if heeds is
// set, when their contexts end. Info and WriteAtomic return at once. So does Close if
// heeds is set.
func stuck(release <-chan struct{}, heeds bool) middleware {
	wait := func(ctx context.Context) error {
		if !heeds {
			ctx = context.WithoutCancel(ctx)
		}
		select {
		case <-release:
			return errors.New("released")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return methods{
		get: func(ctx context.Context, _ kv.Driver, _ kv.GetRequest) (kv.Found, error) {
			return kv.Found{}, wait(ctx)
		},
		getMany: func(ctx context.Context, _ kv.Driver, _ kv.GetManyRequest) iter.Seq2[kv.Found, error] {
			return func(yield func(kv.Found, error) bool) { yield(kv.Found{}, wait(ctx)) }
		},
		scan: func(ctx context.Context, _ kv.Driver, _ kv.ScanRequest) iter.Seq2[kv.Record, error] {
			return func(yield func(kv.Record, error) bool) { yield(kv.Record{}, wait(ctx)) }
		},
		write: func(ctx context.Context, _ kv.Driver, _ kv.WriteRequest) (kv.Outcome, error) {
			return kv.Outcome{}, wait(ctx)
		},
		writeMany: func(ctx context.Context, _ kv.Driver, req kv.WriteManyRequest) []kv.WriteResult {
			results := make([]kv.WriteResult, len(req.Writes))
			err := wait(ctx)
			for i := range results {
				results[i].Err = err
			}
			return results
		},
		close: func(d kv.Driver) error {
			if heeds {
				return d.Close()
			}
			return wait(context.Background())
		},
	}.over
}

// The rule: even if the driver hangs in every case, the suite takes less than ten minutes,
// on one core and with the default limits.
func TestHangingEverywhere(t *testing.T) {
	t.Parallel()
	for _, heeds := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			open := func() *kv.Store { return memkv.New().With(kv.Wrap(kv.Level1, stuck(release, heeds))) }
			config := Config{
				New:      func(context.Context) (*kv.Store, error) { return open(), nil },
				Faulty:   func(context.Context, func(bool) Fault) (*kv.Store, error) { return open(), nil },
				parallel: 1,
			}
			begin, n, failed := time.Now(), 0, 0
			for result, err := range check(t.Context(), config, config.cases()) {
				if err != nil {
					t.Fatal(err)
				}
				n++
				if failure := result.Err(); failure != nil && strings.Contains(failure.Error(), "rule: "+result.Rule) {
					failed++
				}
			}
			if took := time.Since(begin); took > 9*time.Minute {
				t.Errorf("rule: the suite takes less than the 10 minutes of go test, whatever hangs; heeding contexts: %v, it took %v", heeds, took)
			}
			if all := len(config.cases()); n != all || failed < all-all/10 {
				t.Errorf("rule: every case has a result, and a case that hangs fails with its rule; of %d cases %d have a result, and %d fail", all, n, failed)
			}
			close(release) // so that the test can end
		})
	}
}

// The rule: a case that was abandoned reaches no driver, except to close its store, and changes
// no result.
func TestLeftBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		puts, closed, ended := 0, 0, false
		config := Config{CaseTimeout: time.Minute, New: func(context.Context) (*kv.Store, error) {
			return memkv.New().With(kv.Wrap(kv.Level1, methods{
				get: func(ctx context.Context, d kv.Driver, req kv.GetRequest) (kv.Found, error) {
					<-release
					return d.Get(context.WithoutCancel(ctx), req)
				},
				write: func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
					puts++
					return d.Write(ctx, req)
				},
				close: func(d kv.Driver) error { closed++; return d.Close() },
			}.over)), nil
		}}
		c := rule("get", "Get returns.", func(t *trial) {
			ctx := context.WithoutCancel(t.ctx) // with the trial's context, the call would end
			_, _ = t.Get(ctx, "key")
			_, err := t.Put(ctx, "key", nil)
			t.Errorf("Put: %v", err)
			ended = true
			t.another()
			ended = false
		})
		result, end := c.try(t.Context(), config, nil)
		if end != leftBehind || result.Duration != 72*time.Second || !strings.Contains(fmt.Sprint(result.Failures), "under way: Get at hanging_test.go:") {
			t.Errorf("rule: a case that does not end is abandoned after another fifth of its limit; it ends as %v after %v with %q", end, result.Duration, result.Failures)
		}
		failures := slices.Clone(result.Failures)
		close(release)
		synctest.Wait()
		if !ended || puts != 0 || closed != 1 || !slices.Equal(failures, result.Failures) {
			t.Errorf("rule: an abandoned case calls no driver, opens no store, changes no result and closes its store; ended %v, %d puts, %d of 1 stores closed, failures %q", ended, puts, closed, result.Failures)
		}
	})
}

// The rule: with Shared, a store that hangs ends the suite, because the cases run one after
// another.
func TestHangingSharedStore(t *testing.T) {
	t.Parallel()
	hangs := rule("get", "Get returns.", func(t *trial) { t.wantAbsent("key") })
	for _, c := range []struct {
		name    string
		heeds   bool
		results int
		says    string
	}{
		{"a case that does not end", false, 1, "the case get does not end"},
		{"cases that take too long", true, mostLate, "3 cases took longer than 2m0s"},
	} {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			config := Config{Shared: true, New: func(context.Context) (*kv.Store, error) {
				return memkv.New().With(kv.Wrap(kv.Level1, methods{get: func(ctx context.Context, d kv.Driver, req kv.GetRequest) (kv.Found, error) {
					return stuck(release, c.heeds)(d).Get(ctx, req)
				}}.over)), nil
			}}
			results := 0
			var last error
			for result, err := range check(t.Context(), config, slices.Repeat([]testCase{hangs}, 10)) {
				if last = err; err == nil {
					results++
					if result.Err() == nil {
						t.Errorf("%s: rule: it fails", c.name)
					}
				}
			}
			if results != c.results || last == nil || !strings.Contains(last.Error(), c.says) {
				t.Errorf("%s: rule: the suite ends, says why, and keeps the results; there are %d results, and then %v; want %d and %q", c.name, results, last, c.results, c.says)
			}
			close(release)
		})
	}
}

// The rule: clearing a shared store neither takes forever nor fills the memory.
func TestClearingHangingSharedStore(t *testing.T) {
	t.Parallel()
	passes := rule("put", "Put works.", func(t *trial) { t.put("key", "value") })
	for says, scan := range map[string]func(inner kv.Driver, release <-chan struct{}, req kv.ScanRequest, yield func(kv.Record, error) bool){
		"a call does not return": func(_ kv.Driver, release <-chan struct{}, _ kv.ScanRequest, _ func(kv.Record, error) bool) { <-release },
		"a scan does not end": func(_ kv.Driver, _ <-chan struct{}, _ kv.ScanRequest, yield func(kv.Record, error) bool) {
			for n := 0; yield(kv.Record{Key: fmt.Sprintf("%010d", n), Token: "t", Version: "t"}, nil); n++ {
			}
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			var clearing atomic.Bool
			config := Config{Shared: true, New: func(context.Context) (*kv.Store, error) {
				return memkv.New().With(kv.Wrap(kv.Level1, methods{scan: func(ctx context.Context, d kv.Driver, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
					if req.Now != 1 { // 1 is the time at which the suite clears the store
						return d.Scan(ctx, req)
					}
					clearing.Store(true)
					return func(yield func(kv.Record, error) bool) {
						_, _ = force(d, kv.KindPut, kv.Record{Key: "key", Value: []byte{}, Token: "t"}, req.Now)
						scan(d, release, req, yield)
					}
				}}.over)), nil
			}}
			results := 0
			var last error
			for _, err := range check(t.Context(), config, []testCase{passes, passes}) {
				if last = err; err == nil {
					results++
				}
			}
			if results != 1 || !clearing.Load() || last == nil || !strings.Contains(last.Error(), "clearing the shared store: "+says) {
				t.Errorf("rule: a shared store that cannot be cleared ends the suite; there are %d results, and then %v; want 1 and %q", results, last, says)
			}
			close(release)
		})
	}
}
