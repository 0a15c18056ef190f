package command

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// expiryOf returns when an entry expires, or the zero time if it never does.
func expiryOf(t *testing.T, url, key string) (at time.Time) {
	t.Helper()
	var entry struct{ ExpiresAt time.Time }
	if text := good(t, "ttl", "--json", url, key); json.Unmarshal([]byte(text), &entry) != nil {
		t.Fatalf("ttl --json prints %q", text)
	}
	return entry.ExpiresAt
}

func TestExpiriesAndCounters(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b backend) {
		url := b.open(t)
		good(t, "put", url, "a", "value")
		good(t, "put", url, "ab", "other", "--ttl", "5m")
		if got := good(t, "ttl", url, "a"); got != "never\n" {
			t.Errorf("rule: ttl of an entry without an expiry is never; it prints %q", got)
		}
		good(t, "touch", url, "a", "--ttl", "1h")
		left, err := time.ParseDuration(strings.TrimSpace(good(t, "ttl", url, "a")))
		if err != nil || left < 50*time.Minute || left > time.Hour || good(t, "get", url, "a") != "value" {
			t.Errorf("rule: touch sets the expiry and keeps the value; ttl prints %s, %v", left, err)
		}
		good(t, "touch", url, "a", "--expire-at", "2099-01-31T12:00:00.125Z")
		want := time.Date(2099, 1, 31, 12, 0, 0, 125e6, time.UTC)
		if got := expiryOf(t, url, "a"); !got.Equal(want) {
			t.Errorf("ttl --json prints %s; want %s", got, want)
		}
		good(t, "put", url, "a", "new", "--keep-ttl")
		if got := expiryOf(t, url, "a"); !got.Equal(want) || good(t, "get", url, "a") != "new" {
			t.Errorf("rule: put --keep-ttl keeps the expiry; it is %s", got)
		}
		good(t, "put", url, "new", "value", "--keep-ttl")
		if got := good(t, "ttl", url, "new"); got != "never\n" {
			t.Errorf("rule: put --keep-ttl of a new entry sets no expiry; ttl prints %q", got)
		}
		var touched struct{ Version string }
		if err := json.Unmarshal([]byte(good(t, "touch", url, "a", "--never", "--json")), &touched); err != nil || touched.Version == "" {
			t.Errorf("touch --json prints no version: %v", err)
		}
		good(t, "touch", url, "a", "--ttl", "1m", "--if-version", touched.Version)
		bad(t, exitCondition, "another version", "touch", url, "a", "--ttl", "1m", "--if-version", touched.Version)
		bad(t, exitNotFound, "not found", "touch", url, "absent", "--ttl", "1m")
		bad(t, exitUsage, "touch needs --ttl, --expire-at or --never", "touch", url, "a")
		bad(t, exitNotFound, "not found", "ttl", url, "absent")

		for _, c := range []struct {
			args []string
			sum  string
		}{
			{[]string{"n"}, "1\n"}, {[]string{"n", "41"}, "42\n"}, {[]string{"n", "--", "-50"}, "-8\n"},
		} {
			if got := good(t, append([]string{"incr", url}, c.args...)...); got != c.sum {
				t.Errorf("incr %q prints %q; want %q", c.args, got, c.sum)
			}
		}
		if got := good(t, "incr", url, "hits", "--ttl", "1h", "--if-new", "--json"); got != "{\"key\":\"hits\",\"sum\":1}\n" {
			t.Errorf("incr --json prints %q", got)
		}
		until := expiryOf(t, url, "hits")
		good(t, "incr", url, "hits", "--ttl", "2h", "--if-new")
		if got := expiryOf(t, url, "hits"); !got.Equal(until) || until.IsZero() {
			t.Errorf("rule: with --if-new the first call sets the expiry; it was %s and is %s", until, got)
		}
		bad(t, exitUsage, "DELTA is not a whole number", "incr", url, "n", "1.5")
		bad(t, exitUsage, "--if-new needs --ttl", "incr", url, "n", "--if-new")
		bad(t, exitFailure, "not a whole number in decimal text", "incr", url, "a")

		if got := good(t, "scan", url, "--keys-only", "--from", "ab", "--before", "new"); got != "ab\nhits\nn\n" {
			t.Errorf("rule: scan prints the keys from one and before another; it prints %q", got)
		}
		if got := good(t, "delete", url, "--prefix", "a", "--dry-run"); got != "2\n" || good(t, "count", url, "--prefix", "a") != "2\n" {
			t.Errorf("rule: delete --dry-run counts and removes nothing; it prints %q", got)
		}
		bad(t, exitUsage, "--dry-run and --yes need --prefix", "delete", url, "a", "--dry-run")
	})
}

// The rule: ttl prints a time.Duration if it can be one, and in the same form if it is longer.
func TestUntilText(t *testing.T) {
	t.Parallel()
	now := time.Date(2027, 1, 31, 12, 0, 0, 0, time.UTC)
	for _, left := range []time.Duration{-time.Millisecond, 0, time.Millisecond, 29*time.Minute + 59500*time.Millisecond, time.Hour - 1e6, time.Hour, 25*time.Hour + 5e6, 200 * 365 * 24 * time.Hour} {
		if got := untilText(now, now.Add(left)); got != left.String() {
			t.Errorf("%s is printed as %s", left, got)
		}
	}
	if got, want := untilText(now, now.AddDate(400, 0, 0).Add(90*time.Second)), "3506328h1m30s"; got != want {
		t.Errorf("400 years and 90 seconds are printed as %s; want %s", got, want)
	}
}

// The rule: the result of ttl depends only on the entry under its key, even if a damaged record
// is stored under a similar key.
func TestTTLBesideADamagedRecord(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]int{"a": exitNotFound, "ab": exitUnusable, "abc": exitNotFound} {
		if o := process(t, unusually(t, "ttl", "damaged:", key)); o.code != want {
			t.Errorf("ttl of %s exits with %d and %q; want %d", key, o.code, o.stderr, want)
		}
	}
}
