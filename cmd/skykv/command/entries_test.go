package command

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers"
)

func TestEntries(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b backend) {
		url := b.open(t)
		path := filepath.Join(t.TempDir(), "value")
		binary := string([]byte{0, 0xff, '\n', 0x80})
		if err := os.WriteFile(path, []byte(binary), 0o600); err != nil {
			t.Fatal(err)
		}
		good(t, "put", url, "a", "from an argument")
		goodWith(t, "from\nstandard input\n", "put", url, "b", "--ttl", "1h")
		good(t, "put", url, "c", "--file", path)
		good(t, "put", url, "d", "", "--expire-at", "2099-01-31T12:00:00.125Z")
		goodWith(t, strings.Repeat("x", kv.MaxValueLen), "put", url, "z")
		for key, want := range map[string]string{"a": "from an argument", "b": "from\nstandard input\n", "c": binary, "d": "", "z": strings.Repeat("x", kv.MaxValueLen)} {
			if got := good(t, "get", url, key); got != want {
				t.Errorf("rule: get prints the raw bytes; get %s prints %.40q, want %.40q", key, got, want)
			}
		}

		var entry struct {
			Key, Value, Base64, Version string
			ExpiresAt                   time.Time
		}
		decode := func(text string) {
			t.Helper()
			entry.Value, entry.Base64, entry.ExpiresAt = "", "", time.Time{}
			if err := json.Unmarshal([]byte(text), &entry); err != nil || strings.Count(text, "\n") != 1 {
				t.Fatalf("want one line of JSON; got %q: %v", text, err)
			}
		}
		decode(good(t, "get", "--json", url, "c"))
		if entry.Base64 != "AP8KgA==" || entry.Value != "" || !entry.ExpiresAt.IsZero() {
			t.Errorf("rule: a value that is not text is base64; got %+v", entry)
		}
		decode(good(t, "get", "--json", url, "d"))
		if !entry.ExpiresAt.Equal(time.Date(2099, 1, 31, 12, 0, 0, 125e6, time.UTC)) {
			t.Errorf("rule: expiries are exact; got %s", entry.ExpiresAt)
		}
		decode(good(t, "get", "--json", url, "b"))
		if left := time.Until(entry.ExpiresAt); left < 50*time.Minute || left > time.Hour {
			t.Errorf("--ttl 1h leaves %s", left)
		}

		bad(t, exitCondition, "there is an entry already", "put", url, "a", "x", "--if-not-exists")
		good(t, "put", url, "e", "x", "--if-not-exists")
		decode(good(t, "get", "--json", url, "a"))
		stale := entry.Version
		decode(good(t, "put", "--json", url, "a", "2", "--if-version", stale))
		bad(t, exitCondition, "the entry has another version now, or is gone", "put", url, "a", "3", "--if-version", stale)
		bad(t, exitCondition, "the entry has another version now, or is gone", "delete", url, "a", "--if-version", stale)
		bad(t, exitUsage, "invalid version", "put", url, "b", "3", "--if-version", entry.Version)
		good(t, "delete", url, "a", "--if-version", entry.Version)
		good(t, "delete", url, "a")
		bad(t, exitNotFound, "not found", "get", url, "a")
		if o := skykv(t, "", "exists", url, "a"); o.code != exitNotFound || o.stdout != "false\n" || o.stderr != "" {
			t.Errorf("exists of an absent key ends with %+v", o)
		}
		if got := good(t, "exists", url, "b"); got != "true\n" {
			t.Errorf("exists prints %q", got)
		}
		if got := good(t, "exists", url, "b", "--json"); got != "{\"key\":\"b\",\"exists\":true}\n" {
			t.Errorf("exists --json prints %q", got)
		}

		if got := good(t, "scan", url, "--keys-only"); got != "b\nc\nd\ne\nz\n" {
			t.Errorf("scan --keys-only prints %q", got)
		}
		if got := good(t, "scan", url, "--keys-only", "--after", "b", "--limit", "2"); got != "c\nd\n" {
			t.Errorf("scan after b with a limit prints %q", got)
		}
		lines := strings.SplitAfter(good(t, "scan", url, "--limit", "2"), "\n")
		if len(lines) != 3 {
			t.Fatalf("scan prints %q", lines)
		}
		if decode(lines[1]); entry.Key != "c" || entry.Base64 != "AP8KgA==" || entry.Version == "" {
			t.Errorf("scan prints %q", lines[1])
		}
		if got := good(t, "count", url); got != "5\n" {
			t.Errorf("count prints %q", got)
		}
		if got := good(t, "count", url, "--json", "--prefix", "z"); got != "{\"prefix\":\"z\",\"count\":1}\n" {
			t.Errorf("count --json prints %q", got)
		}
		if got := good(t, "delete", url, "--prefix", "c"); got != "1\n" {
			t.Errorf("delete --prefix prints %q", got)
		}
		bad(t, exitUsage, "would delete everything", "delete", url, "--prefix", "")

		good(t, "set", url, "f", "x")
		good(t, "rm", url, "f")
		if got := good(t, "keys", url); got != "b\nd\ne\nz\n" {
			t.Errorf("rule: keys is scan --keys-only; it prints %q", got)
		}
	})
}

func TestURLFromEnvironment(t *testing.T) {
	t.Parallel()
	url := fileStore(t)
	with := func(stdin string, args ...string) outcome {
		cmd := command(t, args...)
		cmd.Env = append(cmd.Env, "KV_URL="+url)
		cmd.Stdin = strings.NewReader(stdin)
		return process(t, cmd)
	}
	if o := with("", "put", "a", "argument"); o.code != 0 {
		t.Fatalf("put KEY VALUE: %+v", o)
	}
	if o := with("input", "put", "b"); o.code != 0 {
		t.Fatalf("put KEY: %+v", o)
	}
	for key, want := range map[string]string{"a": "argument", "b": "input"} {
		if o := with("", "get", key); o.stdout != want {
			t.Errorf("get %s prints %+v; want %q", key, o, want)
		}
	}
	// An argument that begins like a URL is the URL, even if it could be a key.
	other := fileStore(t)
	if o := with("other", "put", other, "a"); o.code != 0 {
		t.Fatalf("put URL KEY: %+v", o)
	}
	if got := good(t, "get", other, "a"); got != "other" {
		t.Errorf("the store of the URL argument has %q", got)
	}
	if o := with("", "put", url, "file:x", "a key that looks like a URL"); o.code != 0 {
		t.Fatalf("put URL KEY VALUE: %+v", o)
	}
	if o := with("", "get", "file:x"); o.stdout != "a key that looks like a URL" {
		t.Errorf("get of a key that looks like a URL: %+v", o)
	}
	for _, args := range [][]string{{"count"}, {"scan", "--keys-only"}, {"export"}, {"doctor"}, {"provision"}, {"exists", "a"}} {
		if o := with("", args...); o.code != 0 {
			t.Errorf("%v: %+v", args, o)
		}
	}
	bad(t, exitUsage, "KV_URL", "get", "a")
	bad(t, exitUsage, "KV_URL", "count")
}

// The rule: with max-value in its URL, a store accepts values of that size. Reads return such
// values even if the URL has no max-value.
func TestLargeValues(t *testing.T) {
	t.Parallel()
	url := fileStore(t)
	large, value := url+"?max-value=393216", strings.Repeat("x", kv.MaxLargeValueLen)
	goodWith(t, value, "put", large, "a")
	for _, url := range []string{url, large} {
		if got := good(t, "get", url, "a"); got != value {
			t.Errorf("rule: get returns the stored value; get %s prints %d bytes", url, len(got))
		}
		if got := good(t, "scan", url); len(got) < len(value) {
			t.Errorf("rule: scan returns the stored value; scan %s prints %d bytes", url, len(got))
		}
	}
	good(t, "touch", url, "a", "--ttl", "1h")
	if got := good(t, "get", url, "a"); got != value {
		t.Errorf("rule: a touch keeps the value; get prints %d bytes", len(got))
	}
}

func TestWrongUse(t *testing.T) {
	t.Parallel()
	url, dir := fileStore(t), t.TempDir()
	good(t, "put", url, "a", "1")
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, make([]byte, kv.MaxValueLen+1), 0o600); err != nil {
		t.Fatal(err)
	}
	link, linkedFolder, empty := filepath.Join(t.TempDir(), "link.db"), filepath.Join(t.TempDir(), "folder"), filepath.Join(t.TempDir(), "empty.db")
	path := strings.TrimPrefix(url, "file:")
	if err := errors.Join(os.Symlink(path, link), os.Symlink(filepath.Dir(path), linkedFolder), os.WriteFile(empty, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		says string
		code int
		args []string
	}{
		{"unknown command \"frobnicate\"; see: skykv help", exitUsage, []string{"frobnicate"}},
		{"did you mean scan?", exitUsage, []string{"scna"}},
		{"did you mean --prefix?", exitUsage, []string{"scan", url, "--perfix", "a"}},
		{"want characters of keys", exitUsage, []string{"ls", url, "--delimiter", "/"}},
		{"invalid key", exitUsage, []string{"ls", url, "a/"}},
		{"unknown flag", exitUsage, []string{"get", "--frobnicate", url, "a"}},
		{"there is no key after the store's URL", exitUsage, []string{"get", url}},
		{"there is no key after the store's URL", exitUsage, []string{"put", url}},
		{"there is no key after the store's URL", exitUsage, []string{"exists", url}},
		{"there is no key after the store's URL", exitUsage, []string{"delete", url}},
		{"no store: give its URL", exitUsage, []string{"get", "user:42"}},
		{`--ttl is "1y"; want a time such as 90s, 36h or 30d`, exitUsage, []string{"put", url, "b", "x", "--ttl", "1y"}},
		{`--ttl is "30"; want a time such as 90s, 36h or 30d`, exitUsage, []string{"put", url, "b", "x", "--ttl", "30"}},
		{`--ttl is ""; want a time such as`, exitUsage, []string{"put", url, "b", "x", "--ttl", ""}},
		{`--timeout is "soon"; want a time such as`, exitUsage, []string{"get", url, "a", "--timeout", "soon"}},
		{"--timeout is -1s; want", exitUsage, []string{"get", url, "a", "--timeout", "-1s"}},
		{`--interval is "1x"; want a time such as`, exitUsage, []string{"sweep", url, "--interval", "1x"}},
		{`--limit is "many"; want a whole number, such as 10`, exitUsage, []string{"scan", url, "--limit", "many"}},
		{`--parallel is "99999999999999999999"; want a whole number`, exitUsage, []string{"copy", url, "mem:", "--parallel", "99999999999999999999"}},
		{"--rate is 0; want at least 1", exitUsage, []string{"sweep", "aztables://account/cache", "--rate", "0"}},
		{`--rate is "1.5"; want a whole number`, exitUsage, []string{"sweep", url, "--rate", "1.5"}},
		{`--json is "maybe"; want no value, or =true or =false`, exitUsage, []string{"get", url, "a", "--json=maybe"}},
		{"--only is ", exitUsage, []string{"dev", "--only", `"`}},
		{"--output has no value; want a text", exitUsage, []string{"export", url, "-o"}},
		{"wrong number of arguments", exitUsage, []string{"get"}},
		{"wrong number of arguments", exitUsage, []string{"get", url, "a", "b"}},
		{"wrong number of arguments", exitUsage, []string{"copy", url}},
		{"wrong number of arguments", exitUsage, []string{"delete", url, "a", "--prefix", "b"}},
		{"the scheme \"redis\" is unknown", exitUsage, []string{"get", "redis://x", "a"}},
		{"no scheme", exitUsage, []string{"get", "app.db", "a"}},
		{"parameter \"shards\" is unknown", exitUsage, []string{"get", "file:x?shards=2", "a"}},
		{"invalid key", exitUsage, []string{"put", url, "a/b", "1"}},
		{"invalid key", exitUsage, []string{"get", url, ""}},
		{"invalid key", exitUsage, []string{"scan", url, "--prefix", "ü"}},
		{"invalid version", exitUsage, []string{"put", url, "a", "1", "--if-version", "x"}},
		{"get --json", exitUsage, []string{"delete", url, "a", "--if-version", "x"}},
		{"--if-version is empty", exitUsage, []string{"delete", url, "a", "--if-version", ""}},
		{"--expire-at is empty", exitUsage, []string{"put", url, "b", "x", "--expire-at", ""}},
		{"--file is empty", exitUsage, []string{"put", url, "b", "--file", ""}},
		{"--checkpoint is empty", exitUsage, []string{"copy", url, "mem:", "--checkpoint", ""}},
		{"--output is empty", exitUsage, []string{"export", url, "--output", ""}},
		{"--input is empty", exitUsage, []string{"import", url, "--input", ""}},
		{"--report is empty", exitUsage, []string{"conformance", url, "--report", ""}},
		{"--print is empty", exitUsage, []string{"provision", url, "--print", ""}},
		{"--only is empty", exitUsage, []string{"dev", "--only", ""}},
		{"value too large", exitUsage, []string{"put", url, "b", strings.Repeat("x", kv.MaxValueLen+1)}},
		{"value too large: it has 24577 bytes; want at most 24576, or add max-value=393216", exitUsage, []string{"put", url, "b", "--file", big}},
		{"want at most 1000", exitUsage, []string{"put", url + "?max-value=1000", "b", "--file", big}},
		{"more than 393216 bytes", exitUsage, []string{"put", url, "b", "--file", "/dev/zero"}},
		{"value too large", exitUsage, []string{"put", url, "a", "--keep-ttl", "--file", big}},
		{"max-value", exitUsage, []string{"get", url + "?max-value=393217", "a"}},
		{"no such file", exitFailure, []string{"put", url, "b", "--file", filepath.Join(dir, "absent")}},
		{"is a directory", exitFailure, []string{"put", url, "b", "--file", dir}},
		{"both", exitUsage, []string{"put", url, "b", "x", "--file", big}},
		{"invalid option", exitUsage, []string{"put", url, "b", "x", "--ttl", "-1s"}},
		{"invalid option", exitUsage, []string{"put", url, "b", "x", "--ttl", "0"}},
		{"invalid option", exitUsage, []string{"put", url, "b", "x", "--expire-at", "1999-01-01T00:00:00Z"}},
		{"not an instant", exitUsage, []string{"put", url, "b", "x", "--expire-at", "tomorrow"}},
		{"--ttl and --expire-at and --keep-ttl cannot be used together", exitUsage, []string{"put", url, "b", "x", "--ttl", "1s", "--expire-at", "2099-01-01T00:00:00Z"}},
		{"--if-not-exists and --if-version and --keep-ttl cannot be used together", exitUsage, []string{"put", url, "b", "x", "--if-not-exists", "--if-version", "x"}},
		{"invalid option", exitUsage, []string{"scan", url, "--limit", "0"}},
		{"there is no file", exitUnusable, []string{"get", "file:" + filepath.Join(dir, "typo.db"), "a"}},
		{"there is no file", exitUnusable, []string{"copy", "file:" + filepath.Join(dir, "typo.db"), url}},
		{"put, incr and import create the store", exitUnusable, []string{"get", "file:" + filepath.Join(dir, "typo.db"), "a"}},
		{"provision", exitUnusable, []string{"put", "file:" + filepath.Join(dir, "absent", "x.db"), "a", "1"}},
		{"there is no folder", exitUnusable, []string{"put", "file:" + filepath.Join(dir, "absent", "x.db"), "a", "1"}},
		{"there is no folder", exitUnusable, []string{"get", "file:" + filepath.Join(dir, "absent", "x.db"), "a"}},
		{"want skykv scan [URL], and a prefix after --prefix", exitUsage, []string{"scan", url, "user:"}},
		{"the scheme \"redis\" is unknown", exitUsage, []string{"ls", "redis://x"}},
		{"there is no // after the scheme", exitUsage, []string{"get", "dynamodb:cache", "a"}},
		{"want the name of a file, such as copy.db", exitUsage, []string{"backup", url, "file:copy.db"}},
		{"did you mean dev?", exitUsage, []string{"emulators"}},
		{"parameter \"shards\" is unknown", exitUsage, []string{"provision", "file:x?shards=2"}},
		{"incompatible", exitUnusable, []string{"get", "file:" + big, "a"}},
		{"same store", exitUsage, []string{"copy", url, url}},
		{"same store", exitUsage, []string{"copy", url, url + "?readers=2"}},
		{"same store", exitUsage, []string{"copy", url, "file://" + path}},
		{"same store", exitUsage, []string{"copy", url, "file:" + filepath.Dir(path) + "/./store.db"}},
		{"same file", exitUsage, []string{"copy", url, "file:" + link}},
		{"same file", exitUsage, []string{"copy", "file:" + linkedFolder + "/store.db", url}},
		{"same file", exitUsage, []string{"export", url, "--output", link, "--force"}},
		{"there is no file", exitUnusable, []string{"copy", url, "file:" + filepath.Join(dir, "typo.db"), "--verify-only"}},
		{"is empty", exitUnusable, []string{"get", "file:" + empty, "a"}},
		{"is empty", exitUnusable, []string{"copy", url, "file:" + empty, "--verify-only"}},
		{"unknown command \"frobnicate\"", exitUsage, []string{"help", "frobnicate"}},
		{"unknown command \"get frobnicate\"", exitUsage, []string{"help", "get", "frobnicate"}},
		{"wrong number of arguments", exitUsage, []string{"completion", "tcsh"}},
		{"wrong number of arguments", exitUsage, []string{"completion", "bash", "extra"}},
		{"--checkpoint and --verify-only cannot be used together", exitUsage, []string{"copy", url, "mem:", "--verify-only", "--checkpoint", filepath.Join(dir, "state")}},
		{"--json and --print cannot be used together", exitUsage, []string{"provision", url, "--json", "--print", "terraform"}},
		{"--parallel", exitUsage, []string{"copy", url, "mem:", "--parallel", "0"}},
		{"needs no sweep", exitUsage, []string{"sweep", url}},
		{"refused", exitFailure, []string{"provision", "dynamodb://cache?endpoint=http://127.0.0.1:1"}},
		{"refused", exitFailure, []string{"get", "dynamodb://cache?endpoint=http://127.0.0.1:1", "a"}},
		{"there is no folder", exitUnusable, []string{"provision", "file:" + filepath.Join(dir, "absent", "x.db")}},
		{"Terraform has nothing", exitUsage, []string{"provision", url, "--print", "terraform"}},
		{"want terraform", exitUsage, []string{"provision", url, "--print", "yaml"}},
		{"--only", exitUsage, []string{"dev", "--only", "redis"}},
		{"not empty, it has the key \"a\"", exitFailure, []string{"conformance", url}},
	} {
		o := bad(t, c.code, c.says, c.args...)
		if o.stdout != "" || !strings.HasPrefix(o.stderr, "skykv: ") {
			t.Errorf("%v: errors are on standard error, after the command's name; got %q and %q", c.args, o.stdout, o.stderr)
		}
		for _, own := range []string{"strconv", "ParseInt", "ParseBool", "unknown unit", "missing unit", "invalid duration", "parse error", "%!", ": kv:"} {
			if strings.Contains(o.stderr, own) {
				t.Errorf("%v: rule: messages are not Go's own texts; got %q", c.args, o.stderr)
			}
		}
		if len(o.stderr) > 2000 {
			t.Errorf("%v: the message has %d bytes", c.args, len(o.stderr))
		}
	}
	badWith(t, strings.Repeat("x", kv.MaxValueLen+1), exitUsage, "value too large", "put", url, "b")
	badWith(t, strings.Repeat("x", kv.MaxLargeValueLen+1), exitUsage, "more than 393216 bytes", "put", url+"?max-value=393216", "b")
	if got := good(t, "scan", url, "--keys-only"); got != "a\n" {
		t.Errorf("rule: a refused command changes nothing; the store has %q", got)
	}
	if info, err := os.Stat(empty); err != nil || info.Size() != 0 {
		t.Errorf("rule: reading creates no store in an empty file; the file is %v, %v", info, err)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) != 1 {
		t.Errorf("rule: reading creates no file; there are %q", names)
	}
}

// The rule: if a value looks like a flag, the error message does not contain the value. After --,
// such a value is stored.
func TestValuesThatBeginAsFlags(t *testing.T) {
	t.Parallel()
	url := fileStore(t)
	for value, says := range map[string]string{
		"-s3cret":                             "unknown flag -s (write -- before a key or value that begins with -); see: skykv put --help",
		"--s3cret":                            "unknown flag (write -- before a key or value that begins with -); see: skykv put --help",
		"--=s3cret":                           "unknown flag (write -- before a key or value that begins with -); see: skykv put --help",
		"-----BEGIN PRIVATE KEY-----\ns3cret": "unknown flag (write -- before a key or value that begins with -); see: skykv put --help",
	} {
		if o := bad(t, exitUsage, says, "put", url, "a", value); strings.Contains(o.stderr, "3cret") {
			t.Errorf("put %q prints %q", value, o.stderr)
		}
		good(t, "put", url, "a", "--", value)
		if got := good(t, "get", url, "a"); got != value {
			t.Errorf("a value after -- is stored as %q; want %q", got, value)
		}
	}
}

func TestParseDuration(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "36h": 36 * time.Hour, "1d": day, "30d": 30 * day, "1.5d": 36 * time.Hour, "1d12h30m": 36*time.Hour + 30*time.Minute,
		"0": 0, "0d": 0, "-1d": -day, "-1d12h": -36 * time.Hour, "+2d": 2 * day, "106751d": 106751 * day,
	} {
		if got, err := parseDuration(text); got != want || err != nil {
			t.Errorf("%q is read as %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "-d", "1", "1y", "1h2d", "1d2d", "1d-2h", "--1d", "1e3d", "infd", "0x1d", "1..5d", "106752d", "106751d24h", "99999999999999d", "1d x"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q is read as %s; want an error", text, got)
		}
	}
}

// The rule: a command with --timeout ends even if the service never responds, and says why.
func TestTimeout(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{exitFailure, "skykv: it took longer than 50ms and was stopped; --timeout sets the limit\n", []string{"get", "silent:", "a"}},
		{exitFailure, "skykv: it took longer than 50ms and was stopped", []string{"exists", "silent:", "a"}},
		{exitUnknown, "it is unknown whether the write was applied", []string{"put", "silent:", "a", "1"}},
		{exitFailure, "skykv: it took longer than 50ms and was stopped", []string{"count", "silent:"}},
		{exitFailure, "skykv: it took longer than 50ms and was stopped", []string{"export", "silent:"}},
		{exitFailure, "skykv: it took longer than 50ms and was stopped", []string{"copy", "silent:", "mem:", "--verify-only"}},
		{exitFailure, "skykv: it took longer than 50ms and was stopped", []string{"copy", "silent:", "mem:"}},
		{exitFailure, "skykv: it took longer than 50ms and was stopped", []string{"watch", "late:"}},
	} {
		if o := process(t, unusually(t, append(c.args, "--timeout", "50ms")...)); o.code != c.code || !strings.Contains(o.stderr, c.says) {
			t.Errorf("%v exits with %d and\n%s; want %d and %q", c.args, o.code, o.stderr, c.code, c.says)
		}
	}
	// Without --timeout, a command for one entry has a time limit too.
	for _, args := range [][]string{{"get", "a"}, {"put", "a"}, {"exists", "a"}, {"delete", "a"}, {"delete", "--prefix", "a"}, {"scan"}, {"get", "a", "--timeout", "0"}, {"get", "a", "--timeout", "1h"}} {
		one := args[0] != "scan" && args[1] != "--prefix"
		cmd, rest, err := (&cli{providers.All()}).newRoot().Find(args)
		if err == nil {
			err = cmd.ParseFlags(rest)
		}
		if err != nil {
			t.Fatal(err)
		}
		given := cmd.Flags().Changed("timeout")
		cmd.SetContext(t.Context())
		if one {
			limitEntry(cmd)()
		}
		if _, limited := cmd.Context().Deadline(); limited != (one && !given) {
			t.Errorf("rule: commands for one entry take at most %s by default; %v is limited: %t", entryTimeout, args, limited)
		}
	}
}

// A failed command exits with the code of its failure, and prints every error.
func TestExplain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		code int
		says string
	}{
		{quiet(exitFindings), exitFindings, ""},
		{errors.Join(quiet(exitFindings), errors.New("close failed")), exitFailure, "close failed"},
		{kv.ErrInvalidKey, exitUsage, "invalid key"},
		{transferError{kv.ErrInvalidKey}, exitFailure, "invalid key"},
		{kv.ErrIndeterminate, exitUnknown, "Read the key"},
		{transferError{kv.ErrIndeterminate}, exitFailure, "indeterminate"},
	} {
		if code, message := explain(t.Context(), c.err); code != c.code || !strings.Contains(message, c.says) || (c.says == "") != (message == "") {
			t.Errorf("%v is explained as %d and %q; want %d and %q", c.err, code, message, c.code, c.says)
		}
	}
}

// The rule: docs/command.md lists exactly the commands of the program, except completion and
// help. It names only flags that a command has.
func TestPage(t *testing.T) {
	t.Parallel()
	page := read(t, "../../../docs/command.md")
	flags := make(map[string]bool)
	var there []string
	for _, cmd := range (&cli{providers.All()}).newRoot().Commands() {
		cmd.Flags().VisitAll(func(f *pflag.Flag) { flags["--"+f.Name] = true })
		cmd.InheritedFlags().VisitAll(func(f *pflag.Flag) { flags["--"+f.Name] = true })
		if cmd.Name() != "completion" && cmd.Name() != "help" {
			there = append(there, cmd.Name())
		}
	}
	var listed []string
	for _, row := range regexp.MustCompile("(?m)^\\| `skykv ([^ `]+)").FindAllStringSubmatch(page, -1) {
		listed = append(listed, strings.Split(row[1], `\|`)...)
	}
	slices.Sort(there)
	slices.Sort(listed)
	if !slices.Equal(there, listed) {
		t.Errorf("the page lists the commands\n%q; want\n%q", listed, there)
	}
	for _, flag := range regexp.MustCompile(`--[a-z][a-z-]*`).FindAllString(page, -1) {
		if !flags[flag] {
			t.Errorf("the page names %s, which no command has", flag)
		}
	}
}

// unquoted returns the characters outside of quotes in a shell line that the argument special
// contains. It ignores the operator && and tests of the last exit code.
func unquoted(line, special string) string {
	line = regexp.MustCompile(` && |\[ \$\? = \d+ \]`).ReplaceAllString(line, " ")
	found := ""
	var quote rune
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote = r
		case quote == 0 && strings.ContainsRune(special, r):
			found += string(r)
		}
	}
	return found
}

// The rule: the commands in the documents have no special character of zsh outside of quotes.
func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("../../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("../../../examples/terraform/*/README.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, page := range append(append(pages, more...), "../../../README.md") {
		shell := false // within a block of shell commands
		for line := range strings.Lines(read(t, page)) {
			if strings.HasPrefix(line, "```") {
				shell = strings.TrimSpace(line) == "```sh"
			}
			code := regexp.MustCompile(`^(    )?((export |[A-Z_]+=\S* )*(skykv|make|export KV_URL|KV_URL=|go (run|install)) ?.*)`).FindStringSubmatch(line)
			if code == nil || code[1] == "" && !shell {
				continue
			}
			seen++
			if got := unquoted(code[2], "?&*{}~#"); got != "" {
				t.Errorf("%s: zsh treats %q as a pattern in %q", page, got, line)
			}
		}
	}
	if seen < 5 {
		t.Errorf("only %d commands were found", seen)
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	help := good(t, "help")
	for _, cmd := range (&cli{providers.All()}).newRoot().Commands() {
		if cmd.Name() == "completion" || cmd.Name() == "help" {
			continue
		}
		if !strings.Contains(help, "\n  "+cmd.Name()+" ") {
			t.Errorf("skykv help does not list %s", cmd.Name())
		}
		if cmd.Example == "" || cmd.Long == "" {
			t.Errorf("%s has no example or no description", cmd.Name())
		}
		if cmd.Flags().Lookup("json") == nil {
			t.Errorf("%s has no --json", cmd.Name())
		}
		own := good(t, cmd.Name(), "--help")
		for line := range strings.Lines(cmd.Example) {
			if got := unquoted(line, "?&*[]{}~#"); got != "" {
				t.Errorf("%s: rule: an example works in every shell as printed; zsh treats %q differently in %q", cmd.Name(), got, line)
			}
		}
		if !strings.Contains(own, cmd.Example) {
			t.Errorf("%s --help does not show the examples", cmd.Name())
		}
		for line := range strings.SplitSeq(cmd.Long, "\n") {
			if len([]rune(line)) > 92 {
				t.Errorf("%s: a line of the help is wider than 92 columns: %q", cmd.Name(), line)
			}
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if !strings.Contains(good(t, "completion", shell), "skykv") {
			t.Errorf("there is no completion for %s", shell)
		}
	}
	if got := good(t, "__complete", "dev", "--only", ""); !strings.HasPrefix(got, "dynamodb\n") {
		t.Errorf("the values of --only are completed as %q", got)
	}
}
