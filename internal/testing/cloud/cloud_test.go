// Package cloud checks skykv against real accounts, and writes a dated report for each
// store. "make cloud" runs it; see docs/services.md. If the environment names no stores,
// it runs a short check against the emulators.
package cloud

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/skykv/skykv/conformance"
	"github.com/skykv/skykv/conformance/emulator"
	"github.com/skykv/skykv/internal/testing/torture"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
	"github.com/skykv/skykv/providers"
)

// Environment variables. The stores must be empty, and nobody else may use them during a run.
const (
	envURLs     = "SKYKV_CLOUD_URLS"     // URLs of the stores, separated by spaces
	envRefused  = "SKYKV_CLOUD_REFUSED"  // URLs that Open must refuse, such as one with the number of a project
	envRequests = "SKYKV_CLOUD_REQUESTS" // after this many requests, further calls of a store fail
	envPuts     = "SKYKV_CLOUD_PUTS"     // how many entries are put into the empty store
	envIdle     = "SKYKV_CLOUD_IDLE"     // how long the connections are idle
	envReports  = "SKYKV_CLOUD_REPORTS"  // the folder for the reports
)

func TestMain(m *testing.M) { emulator.Main(m) }

// settings are the settings of a run.
type settings struct {
	requests int64
	opens    int // how often the store is provisioned and opened
	puts     int
	idle     time.Duration
	rounds   int // number of rounds of the torture test
	suite    bool
	reports  string
}

func TestCloud(t *testing.T) {
	s := settings{requests: 20_000, opens: 2, puts: 300, rounds: 1, reports: t.TempDir()}
	urls := strings.Fields(os.Getenv(envURLs))
	real := len(urls) > 0
	if real {
		s = settings{requests: int64(number(t, envRequests, 500_000)), opens: 20, puts: number(t, envPuts, 100_000), idle: duration(t, envIdle, 6*time.Minute), rounds: 20, suite: true, reports: os.Getenv(envReports)}
		if s.reports == "" {
			t.Fatalf("%s must name the folder of the reports", envReports)
		}
	}
	t.Run("stores", func(t *testing.T) {
		if !real {
			for _, kind := range []emulator.Kind{emulator.KindDynamoDB, emulator.KindFirestore, emulator.KindAzureTables} {
				t.Run(string(kind), func(t *testing.T) {
					t.Parallel()
					check(t, s, emulator.URL(t, kind))
				})
			}
		}
		for _, url := range urls {
			t.Run(provider.Scheme(url), func(t *testing.T) {
				t.Parallel()
				check(t, s, url)
			})
		}
	})
	for _, url := range strings.Fields(os.Getenv(envRefused)) {
		store, err := providers.Open(t.Context(), url)
		if err == nil {
			_ = store.Close()
		}
		if !errors.Is(err, kv.ErrInvalidOption) {
			t.Errorf("rule: Open refuses %s with ErrInvalidOption; it returns %v", provider.Scheme(url), err)
		}
	}
}

// The rule: if a run needs more requests than it may make, further calls of its stores fail, and
// the report says so.
func TestFindings(t *testing.T) {
	t.Parallel()
	s := settings{requests: 100, opens: 1, puts: 300, rounds: 1, reports: t.TempDir()}
	r := run(t.Context(), s, "file:"+filepath.ToSlash(filepath.Join(t.TempDir(), "store.db")))
	text := r.markdown()
	if r.failed() == 0 || r.budget.used.Load() > s.requests || !strings.Contains(text, "FAILED") || !strings.Contains(text, errBudget.Error()) {
		t.Errorf("rule: a run that may make 100 requests ends with findings that say so; %d failed, %d requests:\n%s", r.failed(), r.budget.used.Load(), text)
	}
}

// The rule: every store has a report of its own, even if several stores have one scheme.
func TestReports(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for _, checked := range []string{"the first", "the second", "the third"} {
		r := &report{scheme: "dynamodb", began: time.Now(), budget: new(budget)}
		r.note(checked, "", nil)
		if err := r.write(folder); err != nil {
			t.Error(err)
		}
	}
	files, err := os.ReadDir(folder)
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(folder, file.Name()))
		if err != nil {
			t.Error(err)
		}
		all.Write(text)
	}
	if text := all.String(); err != nil || len(files) != 3 || !strings.Contains(text, "the first") || !strings.Contains(text, "the second") || !strings.Contains(text, "the third") {
		t.Errorf("rule: a report replaces no other one; there are %v, %v:\n%s", files, err, text)
	}
}

func number(t *testing.T, env string, otherwise int) int {
	text := os.Getenv(env)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s must be a whole number above 0", env)
	}
	return n
}

func duration(t *testing.T, env string, otherwise time.Duration) time.Duration {
	text := os.Getenv(env)
	if text == "" {
		return otherwise
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		t.Fatalf("%s must be a duration, such as 10m", env)
	}
	return d
}

// The function check checks one store, writes the report, and reports each failure to t.
func check(t *testing.T, s settings, url string) {
	r := run(t.Context(), s, url)
	if err := r.write(s.reports); err != nil {
		t.Error(err)
	}
	for _, f := range r.findings {
		if f.err != nil {
			t.Errorf("%s: %v", f.what, f.err)
		}
	}
}

// The function run checks one store, and returns the report. If the store cannot be opened,
// the remaining checks are left out.
func run(ctx context.Context, s settings, url string) *report {
	r := &report{scheme: provider.Scheme(url), began: time.Now().UTC(), budget: &budget{most: s.requests}}
	r.check(ctx, fmt.Sprintf("provision %d times, and open after each", s.opens), func(ctx context.Context) (string, error) {
		for range s.opens {
			if err := providers.Ensure(ctx, url); err != nil {
				return "", err
			}
			store, err := providers.Open(ctx, url)
			if err != nil {
				return "", err
			}
			if err := store.Close(); err != nil {
				return "", err
			}
		}
		return "", nil
	})
	r.check(ctx, "doctor", func(ctx context.Context) (string, error) {
		var problems, warnings []string
		for c := range providers.Inspect(ctx, url) {
			switch c.Status {
			case provider.Fail:
				problems = append(problems, c.Name+": "+c.Detail)
			case provider.Warn:
				warnings = append(warnings, c.Name+": "+c.Detail)
			}
		}
		if problems != nil {
			return "", errors.New(strings.Join(problems, "; "))
		}
		return strings.Join(warnings, "; "), nil
	})
	open := func(ctx context.Context) (*kv.Store, error) {
		store, err := providers.Open(ctx, url)
		if err != nil {
			return nil, err
		}
		return store.With(kv.Wrap(kv.Level1, r.budget.wrap)), nil
	}
	if s.suite {
		r.check(ctx, "conformance", func(ctx context.Context) (string, error) {
			passed, failed := 0, []string(nil)
			for result, err := range conformance.Check(ctx, conformance.Config{New: open, Shared: true}) {
				if err != nil {
					return "", err
				}
				if result.Err() != nil {
					failed = append(failed, result.Name)
					continue
				}
				passed++
			}
			if failed != nil {
				return "", fmt.Errorf("%d cases passed, and these failed: %s", passed, strings.Join(failed, ", "))
			}
			return fmt.Sprintf("%d cases passed", passed), nil
		})
	}
	store, err := open(ctx)
	if err != nil {
		r.note("open", "", err)
		return r
	}
	defer store.Close()
	r.check(ctx, fmt.Sprintf("%d puts into an empty table", s.puts), func(ctx context.Context) (string, error) { return puts(ctx, store, s.puts) })
	r.check(ctx, "pages of every length", func(ctx context.Context) (string, error) { return "", pages(ctx, store, min(s.puts, 1000)) })
	r.check(ctx, "DeletePrefix of all of them", func(ctx context.Context) (string, error) {
		n, err := store.DeletePrefix(ctx, prefix)
		if err == nil && n != s.puts {
			err = fmt.Errorf("it deleted %d entries; want %d", n, s.puts)
		}
		return "", err
	})
	r.check(ctx, fmt.Sprintf("connections that are idle for %s", s.idle), func(ctx context.Context) (string, error) { return idle(ctx, store, s.idle) })
	r.check(ctx, "torture: linearizability by three stores", func(ctx context.Context) (string, error) { return tortured(ctx, open, s) })
	return r
}

const prefix = "cloud:"

// The function puts stores n entries, up to 10,000 with each PutMany, and counts them by a
// scan.
func puts(ctx context.Context, store *kv.Store, n int) (string, error) {
	began := time.Now()
	for chunk := range slices.Chunk(keys(n), 10_000) {
		items := make([]kv.Item, len(chunk))
		for i, key := range chunk {
			items[i] = kv.Item{Key: key, Value: []byte(key), TTL: 24 * time.Hour}
		}
		if _, err := store.PutMany(ctx, items); err != nil {
			return "", err
		}
	}
	took := time.Since(began)
	found := 0
	for _, err := range store.Scan(ctx, prefix, kv.KeysOnly()) {
		if err != nil {
			return "", err
		}
		found++
	}
	if found != n {
		return "", fmt.Errorf("a scan finds %d entries; want %d", found, n)
	}
	return fmt.Sprintf("%.0f a second", float64(n)/took.Seconds()), nil
}

func keys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("%s%08d", prefix, i)
	}
	return keys
}

// The function pages reads the pages of one scan, each longer than the one before, until it has
// at least n entries.
func pages(ctx context.Context, store *kv.Store, n int) error {
	at := 0
	for size, cursor := 1, ""; at < n; size++ {
		page, err := store.ScanPage(ctx, prefix, size, cursor)
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			if want := fmt.Sprintf("%s%08d", prefix, at); e.Key != want || string(e.Value) != want {
				return fmt.Errorf("entry %d is %q; want %q", at, e.Key, want)
			}
			at++
		}
		if cursor = page.Next; cursor == "" && at < n {
			return fmt.Errorf("the pages end after %d entries", at)
		}
	}
	return nil
}

// The function idle reads, waits for d without a request, and reads again.
func idle(ctx context.Context, store *kv.Store, d time.Duration) (string, error) {
	if _, err := store.Exists(ctx, prefix); err != nil {
		return "", err
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	began := time.Now()
	_, err := store.Exists(ctx, prefix)
	return fmt.Sprintf("the read after it took %s", time.Since(began).Round(time.Millisecond)), err
}

// tortured makes clients of three stores write the same keys, and checks that the history
// is linearizable.
func tortured(ctx context.Context, open func(context.Context) (*kv.Store, error), s settings) (string, error) {
	var stores []*kv.Store
	for range 3 {
		store, err := open(ctx)
		if err != nil {
			return "", err
		}
		defer store.Close()
		stores = append(stores, store)
	}
	calls, seed := 0, uint64(time.Now().UnixNano())
	workload := torture.Default(seed, nil)
	workload.Remote = true
	for round := range s.rounds {
		history := workload.Round(ctx, round, stores...)
		calls += history.Count()
		if err := history.Check(s.reports, fmt.Sprintf("seed-%d-round-%d", seed, round)); err != nil {
			return "", err
		}
	}
	for key, err := range stores[0].Scan(ctx, "", kv.KeysOnly()) { // remove the entries that the rounds left
		if err != nil {
			return "", err
		}
		if err := stores[0].Delete(ctx, key.Key); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d calls, no violation", calls), nil
}
