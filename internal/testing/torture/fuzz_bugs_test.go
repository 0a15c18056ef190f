package torture

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// fuzzBugs are changes of the code that make it wrong. A fuzz target must find each.
var fuzzBugs = []struct {
	name     string
	pkg      string
	target   string
	file     string
	old, new string
}{
	{"a cursor has a second text", "kv", "FuzzCursor", "version.go",
		`base64.RawURLEncoding.Strict()`, `base64.RawURLEncoding`},
	{"a page repeats the cursor's key", "kv", "FuzzCursor", "scan.go",
		`after+firstKey`, `after`},
	{"a truncated version is not noticed", "kv", "FuzzParseVersion", "version.go",
		`case !ok || len(b) < versionHeader:`, `case !ok:`},
	{"a namespace shows keys of its neighbours", "kv", "FuzzNamespace", "namespace.go",
		`req.From, req.To = n.prefix+req.From, n.prefix+req.To`, `req.From, req.To = n.prefix+req.From, req.To`},
	{"a namespace writes batches into the whole store", "kv", "FuzzNamespace", "namespace.go",
		`w.Key = n.prefix + w.Key`, `w.Key = n.prefix[:len(n.prefix)-1] + w.Key`},
	{"a namespace makes AtomicWrites in the whole store", "kv", "FuzzNamespace", "namespace.go",
		`n.driver.WriteAtomic(ctx, n.stored(req))`, `n.driver.WriteAtomic(ctx, req)`},
	{"any prefix has a shard of its own", "kv", "FuzzGroup", "group.go",
		`return key, false`, `return key, true`},
	{"a text has several keys", "kv", "FuzzEscapeKey", "escape.go",
		` || !escaped(byte(high<<4|low))`, ``},
	{"an endpoint may have credentials", "kv/provider", "FuzzParse", "url.go",
		` || e.User != nil`, ``},
	{"a number of shards above the limit is allowed", "kv/provider", "FuzzParse", "url.go",
		` || n > most`, ``},
	{"an item without a token counts as skykv's", "providers/dynamokv", "FuzzDecode", "layout.go",
		` || token.Value == ""`, ``},
	{"an expiry before 1970 counts as skykv's", "providers/dynamokv", "FuzzDecode", "layout.go",
		` || n <= 0`, ``},
	{"an expiry loses its milliseconds", "providers/dynamokv", "FuzzRecord", "layout.go",
		`it[l.expires] = number(rec.Expires)`, `it[l.expires] = number(rec.Expires / 1000 * 1000)`},
	{"skykv's expiry counts although others have replaced it", "providers/dynamokv", "FuzzDecodeShared", "layout.go",
		` && seconds(exact) == ttl`, ``},
	{"the item of a key is in another shard than reads look at", "providers/dynamokv", "FuzzRecord", "layout.go",
		`it := l.primaryKey(rec.Key)`, `it := item{attrShard: l.partitions[l.shard(rec.Key+"x")], attrKey: text(rec.Key)}`},
	{"an empty response counts as a valid one", "providers/dynamokv", "FuzzAnswers", "answers.go",
		`object: resp.StatusCode < 300`, `object: false`},
	{"a document with a token of another length counts as skykv's", "providers/firestorekv", "FuzzDecode", "layout.go",
		` || len(token.StringValue) != kv.TokenLen`, ``},
	{"a document with an expiry before 1970 counts as skykv's", "providers/firestorekv", "FuzzDecode", "layout.go",
		`rec.Expires <= 0`, `rec.Expires == 0`},
	{"a token of another length counts that others wrote", "providers/firestorekv", "FuzzDecodeShared", "layout.go",
		`if len(token) == kv.TokenLen {`, `if token != "" {`},
	{"keys that differ in case have one document", "providers/firestorekv", "FuzzRecord", "layout.go",
		`return l.prefixes[l.shard(key)] + key }`, `return l.prefixes[l.shard(key)] + strings.ToLower(key) }`},
	{"a version has a second text", "providers/firestorekv", "FuzzVersion", "layout.go",
		` || strconv.FormatInt(us, 10) != version`, ``},
	{"a row with an expiry before 1970 counts as skykv's", "providers/localkv", "FuzzDecode", "layout.go",
		`rec.Expires <= 0`, `rec.Expires == 0`},
	{"a row whose value is text counts as skykv's", "providers/localkv", "FuzzDecode", "layout.go",
		`stmt.ColumnType(columnValue) != sqlite.TypeBlob`, `stmt.ColumnType(columnValue) == sqlite.TypeNull`},
	{"a row with another checksum counts as skykv's", "providers/localkv", "FuzzDecode", "layout.go",
		`stmt.ColumnInt64(columnMetaSum) != int64(t.metaSum(&rec))`, `t == nil`},
	{"keys that differ in case are one", "providers/localkv", "FuzzRecord", "layout.go",
		`k TEXT NOT NULL PRIMARY KEY`, `k TEXT NOT NULL PRIMARY KEY COLLATE NOCASE`},
	{"a scan has no order", "providers/localkv", "FuzzRecord", "layout.go",
		`"SELECT x, t, p, c, k FROM kv WHERE k >= ?1 AND k <= ?2 ORDER BY k"`, `"SELECT x, t, p, c, k FROM kv WHERE k >= ?1 AND k <= ?2 ORDER BY k DESC"`},
	{"a truncated response makes the parser panic", "providers/aztableskv", "FuzzParse", "json.go",
		`len(value)+1 >= len(rest)`, `len(value)+1 > len(rest)`},
	{"an escaped backslash hides the end of a string", "providers/aztableskv", "FuzzParse", "json.go",
		`slashes%2 == 0`, `slashes == 0`},
	{"the value's base64 has no padding", "providers/aztableskv", "FuzzRecord", "layout.go",
		`base64.StdEncoding.AppendEncode(b, part)`, `base64.RawStdEncoding.AppendEncode(b, part)`},
	{"an expiry for all sides has no milliseconds", "providers/aztableskv", "FuzzRecord", "layout.go",
		`Format(instantFormat) + instantZone`, `Format(time.DateOnly+"T"+time.TimeOnly) + instantZone`},
	{"an expiry that is no string is taken for none", "providers/aztableskv", "FuzzParse", "layout.go",
		`if !isNull(e.expires) {`, `if _, isText := text(e.expires); isText {`},
	{"a version may hold several ETags", "providers/aztableskv", "FuzzVersion", "layout.go",
		` || r == '"'`, ``},
	{"a write is stored without a version", "providers/aztableskv", "FuzzAnswers", "driver.go",
		`req.Kind != kv.KindDelete && !isETag(string(etag))`, `req.Kind != kv.KindDelete && etag == "none"`},
	{"bytes that are not text are changed", "cmd/skykv/command/internal/entryline", "FuzzRoundTrip", "entryline.go",
		`utf8.Valid(entry.Value)`, `len(entry.Value) > 0`},
}

var fuzzTarget = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(f \*testing\.F\)`)

// TestFuzzTargetsFindBugs checks in a short run only that every fuzz target has a bug to
// find, and that the code which each bug changes is still there. A long run also fuzzes.
// Fuzzing takes all processors, so the test is not parallel.
func TestFuzzTargetsFindBugs(t *testing.T) {
	const root = "../../.."
	missing := make(map[string]bool)
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		source, err := os.ReadFile(filepath.Join(root, name))
		for _, m := range fuzzTarget.FindAllSubmatch(source, -1) {
			missing[path.Dir(name)+" "+string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if long() {
		copyModule(t, root, dir)
	}
	for _, bug := range fuzzBugs {
		delete(missing, bug.pkg+" "+bug.target)
		name := filepath.Join(root, bug.pkg, bug.file)
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(source), bug.old); n != 1 {
			t.Errorf("%s has %q %d times; want it once, for the bug that %s", name, bug.old, n, bug.name)
			continue
		}
		if !long() {
			continue
		}
		changed := strings.Replace(string(source), bug.old, bug.new, 1)
		in := filepath.Join(dir, bug.pkg, bug.file)
		if err := os.WriteFile(in, []byte(changed), 0o666); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		out := fuzz(t, filepath.Join(dir, bug.pkg), bug.target)
		if !strings.Contains(out, "--- FAIL: "+bug.target) {
			t.Errorf("rule: %s of %s finds that %s; its output is\n%s", bug.target, bug.pkg, bug.name, out)
		}
		t.Logf("%s of %s: %s, in %v", bug.target, bug.pkg, bug.name, time.Since(begin).Round(time.Second))
		// Restore the folder, without the bug and without the corpus entry that found it.
		if err := errors.Join(os.RemoveAll(filepath.Dir(in)), os.CopyFS(filepath.Dir(in), os.DirFS(filepath.Dir(name)))); err != nil {
			t.Fatal(err)
		}
	}
	for target := range missing {
		t.Errorf("rule: every fuzz target has a bug that it must find; %s has none", target)
	}
}

// fuzz runs a fuzz target, like "make fuzz", until it finds a failure or has tried a million
// inputs. It returns the output.
func fuzz(t *testing.T, dir, target string) string {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-vet=off", "-run", "^$", "-fuzz", "^"+target+"$", "-fuzztime", "1000000x", "-fuzzminimizetime", "1x")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatal(ctx.Err(), err)
	}
	return string(out)
}

// copyModule copies the files from which the module is built.
func copyModule(t *testing.T, from, to string) {
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case e.IsDir():
			if err := os.CopyFS(filepath.Join(to, e.Name()), os.DirFS(filepath.Join(from, e.Name()))); err != nil {
				t.Fatal(err)
			}
		case slices.Contains([]string{"go.mod", "go.sum"}, e.Name()):
			source, err := os.ReadFile(filepath.Join(from, e.Name()))
			if err == nil {
				err = os.WriteFile(filepath.Join(to, e.Name()), source, 0o666)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}
