package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skykv/skykv/cmd/skykv/command/internal/report"
	"github.com/skykv/skykv/conformance"
	"github.com/skykv/skykv/internal/testing/emulator"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
	"github.com/skykv/skykv/providers"
)

// TestProvisionAndDoctor sets up a store from nothing, and looks at it with doctor.
func TestProvisionAndDoctor(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b backend) {
		url := b.fresh(t)
		steps := good(t, "provision", url, "--dry-run")
		if !strings.HasPrefix(steps, "would ") {
			t.Errorf("provision --dry-run of an absent store prints %q", steps)
		}
		o := skykv(t, "", "doctor", url)
		absent := b.name != "firestore" // in the Firestore emulator, every database and collection exists
		if absent && (o.code != exitFindings || !strings.Contains(o.stdout, "\nfail  ") || !strings.Contains(o.stdout, "-> run: skykv provision URL")) {
			t.Errorf("rule: a dry run and doctor change nothing, and doctor names the fix; got %+v", o)
		}
		bad(t, exitUnusable, "skykv provision URL", "get", url, "a")
		if got := good(t, "provision", url); got != strings.ReplaceAll(steps, "would ", "") {
			t.Errorf("provision does\n%s; the dry run printed\n%s", got, steps)
		}
		if got := good(t, "provision", url); got != "nothing to do: everything is set up\n" {
			t.Errorf("provision the second time prints %q", got)
		}
		if got := good(t, "provision", url, "--json"); !strings.HasSuffix(got, `"dryRun":false,"steps":[]}`+"\n") {
			t.Errorf("provision --json prints %q", got)
		}
		healthy := good(t, "doctor", url)
		for line := range strings.Lines(healthy) {
			if !strings.HasPrefix(line, "ok    ") && !strings.HasPrefix(line, "warn  latency") && !strings.HasPrefix(line, "     ") {
				t.Errorf("doctor of a healthy store prints %q", line)
			}
		}
		if !strings.Contains(healthy, "latency") {
			t.Errorf("doctor measures no latency:\n%s", healthy)
		}
		var check provider.Check
		for line := range strings.Lines(good(t, "doctor", url, "--json")) {
			if err := json.Unmarshal([]byte(line), &check); err != nil || check.Name == "" || check.Status == provider.Fail {
				t.Errorf("doctor --json prints %q: %v", line, err)
			}
		}
		terraform := skykv(t, "", "provision", url, "--print", "terraform")
		if b.name != "file" && (terraform.code != 0 || !strings.Contains(terraform.stdout, "resource \"")) {
			t.Errorf("provision --print terraform: %+v", terraform)
		}
	})
}

func TestDoctorFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "text"), []byte("not a database"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for url, says := range map[string]string{
		"file:" + empty:                "is empty",
		"redis://x":                    "the scheme \"redis\" is unknown",
		"file:" + dir + "/absent/x.db": "there is no folder",
		"file:" + dir:                  "is not a regular file",
		"file:" + dir + "/text":        "incompatible",
		"dynamodb://cache?endpoint=http://127.0.0.1:1":                                             "refused",
		"firestore://p/kv?endpoint=http://127.0.0.1:1":                                             "refused",
		"aztables://devstoreaccount1/cache?endpoint=http%3A%2F%2F127.0.0.1%3A1%2Fdevstoreaccount1": "refused",
	} {
		o := skykv(t, "", "doctor", url)
		if o.code != exitFindings || !strings.Contains(o.stdout, says) || !strings.Contains(o.stdout, "->") {
			t.Errorf("doctor %s exits with %d and\n%s%swant %d, %q and a fix", url, o.code, o.stdout, o.stderr, exitFindings, says)
		}
	}
	if text := read(t, empty); text != "" {
		t.Errorf("rule: doctor changes nothing; an empty file has %d bytes", len(text))
	}
	good(t, "provision", "file:"+empty)
	good(t, "doctor", "file:"+empty)
	t.Run("clock", func(t *testing.T) {
		// The clock of this service is an hour ahead.
		service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
			w.WriteHeader(http.StatusForbidden)
		}))
		defer service.Close()
		for _, b := range []string{"dynamodb://cache?endpoint=" + url.QueryEscape(service.URL), "aztables://devstoreaccount1/cache?endpoint=" + url.QueryEscape(service.URL+"/devstoreaccount1")} {
			o := skykv(t, "", "doctor", b)
			if o.code != exitFindings || !strings.Contains(o.stdout, "ok    reachable") || !strings.Contains(o.stdout, "fail  clock") || !strings.Contains(o.stdout, "behind the service") {
				t.Errorf("doctor of a service with another clock: %+v", o)
			}
		}
	})
	t.Run("dynamodb", func(t *testing.T) {
		// The URL has a different number of shards.
		url := backends[1].open(t)
		o := skykv(t, "", "doctor", url+"&shards=3")
		if o.code != exitFindings || !strings.Contains(o.stdout, "shards=16") {
			t.Errorf("doctor with another number of shards: %+v", o)
		}
		bad(t, exitUnusable, "shards", "provision", url+"&shards=3")
	})
}

func TestSweepCommand(t *testing.T) {
	t.Parallel()
	url := backends[3].open(t)
	store, err := providers.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	earlier := store.With(kv.Clock(func() time.Time { return time.Now().Add(-3 * time.Hour) }))
	items := []kv.Item{{Key: "live", TTL: 24 * time.Hour}, {Key: "for-ever"}, {Key: "lately", TTL: 2*time.Hour + 30*time.Minute}}
	for _, key := range []string{"a", "b", "c"} {
		items = append(items, kv.Item{Key: key, TTL: time.Minute})
	}
	if _, err := earlier.PutMany(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	if got := good(t, "doctor", url); !strings.Contains(got, "warn  sweep") || !strings.Contains(got, "skykv sweep URL") {
		t.Errorf("doctor of a table that needs a sweep prints\n%s", got)
	}
	if got := good(t, "sweep", url); !strings.HasPrefix(got, "deleted 3 entries;") {
		t.Errorf("sweep prints %q; want the three that expired over an hour ago deleted", got)
	}
	if got := good(t, "sweep", url, "--json"); got != `{"pass":1,"deleted":0,"kept":0,"foreign":0}`+"\n" {
		t.Errorf("the second sweep prints %q", got)
	}
	if exists, err := earlier.Exists(t.Context(), "lately"); err != nil || !exists {
		t.Errorf("rule: an entry that expired within the hour stays; got %t, %v", exists, err)
	}
	bad(t, exitUnusable, "skykv provision URL", "sweep", backends[3].fresh(t))
	for _, other := range backends[:3] {
		bad(t, exitUsage, "needs no sweep", "sweep", other.fresh(t))
	}

	// With --interval, the sweep is repeated until it is interrupted.
	cmd := command(t, "sweep", url, "--interval", "1ms")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, out, "deleted 0 entries; 0 changed meanwhile, 0 were not skykv's\ndeleted 0 entries")
	if code := interrupt(t, cmd, syscall.SIGTERM); code != 143 {
		t.Errorf("sweep --interval exits with %d after SIGTERM; want 143", code)
	}

	// The sweep also ends when nobody reads its output any more.
	cmd = command(t, "sweep", url, "--interval", "1ms")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = w
	if err := errors.Join(r.Close(), cmd.Start(), w.Close()); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its error says no more than the exit code
	if code := cmd.ProcessState.ExitCode(); code != exitOutputEnded {
		t.Errorf("rule: sweep --interval ends with the reader of its output; it exits with %d, want %d", code, exitOutputEnded)
	}
}

func TestConformanceCommand(t *testing.T) {
	t.Parallel()
	url, page := fileStore(t), filepath.Join(t.TempDir(), "report.html")
	o := skykv(t, "", "conformance", url, "--json", "--report", page)
	var results report.Run
	if err := json.Unmarshal([]byte(o.stdout), &results); err != nil || o.code != 0 {
		t.Fatalf("conformance exits with %d: %v\n%s", o.code, err, o.stderr)
	}
	cases := conformance.Cases()
	if results.Passed != len(cases) || results.Failed != 0 || len(results.Cases) != len(cases) || results.Provider != "file" {
		t.Errorf("of %d cases %d passed and %d failed", len(cases), results.Passed, results.Failed)
	}
	if !slices.EqualFunc(results.Cases, cases, func(a report.Case, b conformance.Case) bool { return a.Name == b.Name && a.Rule == b.Rule }) {
		t.Error("the cases are not in the suite's order")
	}
	if got := good(t, "count", url); got != "0\n" {
		t.Errorf("rule: the suite leaves the store empty; count prints %q", got)
	}
	html := read(t, page)
	if !strings.Contains(html, "All ") || !strings.Contains(html, cases[0].Name[strings.Index(cases[0].Name, "/")+1:]) || strings.Contains(html, "://fonts") {
		t.Errorf("the report is %.200s", html)
	}
	bad(t, exitFailure, "no such file", "conformance", fileStore(t), "--report", filepath.Join(t.TempDir(), "absent", "x.html"))

	o = bad(t, exitFailure, "no space left", "conformance", "mem:", "--json", "--report", "/dev/full")
	if !json.Valid([]byte(o.stdout)) {
		t.Errorf("rule: a report that cannot be written does not lose the results; got %q", o.stdout)
	}
	good(t, "put", url, "precious", "data")
	empty := filepath.Join(t.TempDir(), "empty.html")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fresh := filepath.Join(t.TempDir(), "fresh.html")
	bad(t, exitFailure, "not empty", "conformance", url, "--report", empty, "--force")
	bad(t, exitFailure, "not empty", "conformance", url, "--report", fresh)
	for args, want := range map[string]struct {
		code int
		says string
	}{
		"damaged:":                {exitUnusable, "skykv: looking into the shared store: "},
		"silent: --timeout=100ms": {exitFailure, "skykv: it took longer than 100ms and was stopped"},
	} {
		if o := process(t, unusually(t, append([]string{"conformance"}, strings.Fields(args)...)...)); o.code != want.code || !strings.Contains(o.stderr, want.says) {
			t.Errorf("rule: a run that cannot begin exits with the code of its reason; conformance %s exits with %d and\n%s; want %d and %q", args, o.code, o.stderr, want.code, want.says)
		}
	}
	if missing(empty) || !missing(fresh) {
		t.Errorf("rule: a refused run removes the report that it created, and no other; empty.html exists: %t, fresh.html exists: %t", !missing(empty), !missing(fresh))
	}
}

// The rule: the suite finds the store's credentials once, rather than for each case.
func TestConformanceConnectsOnce(t *testing.T) {
	t.Parallel()
	o := process(t, unusually(t, "conformance", "counted:"))
	if o.code != 0 || strings.Count(o.stderr, "connected") != 1 {
		t.Errorf("conformance exits with %d and connects %d times; want 0 and once\n%s%s", o.code, strings.Count(o.stderr, "connected"), o.stdout, o.stderr)
	}
	if _, opened, _ := strings.Cut(o.stderr, "opened "); len(opened) < len("400 stores") {
		t.Errorf("the stores of the cases are not opened with the connection: %s", o.stderr)
	}
}

// The rule: the suite refuses a store that is not empty, and leaves the store empty even after
// Ctrl-C. This test does not run the whole suite, because each provider's own test does.
func TestConformanceCommandOnServices(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b backend) {
		url := b.open(t)
		good(t, "put", url, "precious", "data")
		bad(t, exitFailure, `not empty, it has the key "precious"`, "conformance", url)
		if got := good(t, "get", url, "precious"); got != "data" {
			t.Fatalf("the refused store has %q", got)
		}
		good(t, "delete", url, "precious")
		cmd := command(t, "conformance", url, "--json")
		var stdout bytes.Buffer
		cmd.Stdout = &stdout
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		store, err := providers.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		for seen := false; !seen; { // wait until a case has written something
			for range store.Scan(t.Context(), "", kv.KeysOnly()) {
				seen = true
			}
			if cmd.ProcessState != nil || t.Context().Err() != nil {
				t.Fatal("the suite never wrote anything")
			}
		}
		if code := interrupt(t, cmd, syscall.SIGINT); code != 130 || stdout.Len() != 0 {
			t.Errorf("conformance exits with %d after Ctrl-C and prints %q", code, &stdout)
		}
		if got := good(t, "count", url); got != "0\n" {
			t.Errorf("rule: the suite leaves the store empty, Ctrl-C or not; count prints %q", got)
		}
	})
}

func TestDev(t *testing.T) {
	t.Parallel()
	kinds := map[string]string{"dynamodb": emulator.DynamoDB(t), "firestore": emulator.Firestore(t), "aztables": emulator.AzureTables(t)} // skips the test if one is missing
	first := freePorts(t, len(kinds))
	cmd := command(t, "dev", "--json", "--port", strconv.Itoa(first))
	var stderr bytes.Buffer
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var emulators map[string]struct{ URL, Way string }
	if err := json.NewDecoder(stdout).Decode(&emulators); err != nil || len(emulators) != len(kinds) {
		t.Fatalf("dev --json prints %v: %v\n%s", emulators, err, &stderr)
	}
	for i, kind := range []string{"dynamodb", "firestore", "aztables"} {
		if e := emulators[kind]; e.Way != "environment" && !strings.Contains(e.URL, url.QueryEscape(fmt.Sprintf("127.0.0.1:%d", first+i))) {
			t.Errorf("rule: with --port %d, %s is at port %d; its URL is %s", first, kind, first+i, e.URL)
		}
		good(t, "put", emulators[kind].URL, "a", kind)
		if got := good(t, "get", emulators[kind].URL, "a"); got != kind {
			t.Errorf("the %s store of dev has %q", kind, got)
		}
	}
	if emulators["dynamodb"].Way != "environment" {
		bad(t, exitFailure, fmt.Sprintf("port %d cannot be used for DynamoDB Local", first), "dev", "--only", "dynamodb", "--port", strconv.Itoa(first))
	}
	if code := interrupt(t, cmd, syscall.SIGINT); code != 0 || !strings.HasSuffix(stderr.String(), "stopping…\n") {
		t.Errorf("rule: Ctrl-C ends dev with 0; it exits with %d and\n%s", code, &stderr)
	}
	for kind, e := range emulators {
		if e.Way == "environment" {
			continue // skykv dev did not start this emulator, and does not stop it
		}
		u, err := url.Parse(e.URL)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := http.Get(u.Query().Get("endpoint")); err == nil {
			resp.Body.Close()
			t.Errorf("rule: dev stops what it started; %s still answers", kind)
		}
	}
}

// freePorts finds n ports in a row that nobody uses, and returns the first.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	for range 100 {
		var ports []net.Listener
		l, err := net.Listen("tcp", "127.0.0.1:0")
		first := 0
		for ; err == nil; l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+len(ports))) {
			if ports = append(ports, l); len(ports) == 1 {
				first = l.Addr().(*net.TCPAddr).Port
			}
			if len(ports) == n {
				break
			}
		}
		for _, l := range ports {
			l.Close()
		}
		if len(ports) == n {
			return first
		}
	}
	t.Fatal("there are no free ports side by side")
	return 0
}

// The rule: if Ctrl-C interrupts the start of the emulators, dev reports the interruption, and no
// errors that follow from it. No emulator is left.
func TestDevInterruptedWhileStarting(t *testing.T) {
	t.Parallel()
	emulator.DynamoDB(t) // skips the test if there is no emulator
	emulator.AzureTables(t)
	for _, milliseconds := range []int{0, 100, 200, 300, 500} {
		after := time.Duration(milliseconds) * time.Millisecond
		t.Run(after.String(), func(t *testing.T) {
			t.Parallel()
			cmd := command(t, "dev", "--only", "dynamodb,aztables")
			folder := t.TempDir()
			cmd.Env = append(cmd.Env, "TMPDIR="+folder)
			stderr, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			await(t, stderr, "starting")
			timer := time.AfterFunc(after, func() { _ = cmd.Process.Signal(syscall.SIGINT) })
			defer timer.Stop()
			rest, err := io.ReadAll(stderr)
			if err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // its error says no more than the exit code
			ended := cmd.ProcessState.ExitCode() == 130 && strings.HasSuffix(string(rest), "skykv: interrupted\n")
			ready := cmd.ProcessState.ExitCode() == 0 && strings.Contains(string(rest), "ready") // the emulators were ready before the signal came
			if !ended && !ready {
				t.Errorf("dev exits with %d and %q", cmd.ProcessState.ExitCode(), rest)
			}
			containers, err := emulator.ContainersOf(t.Context(), cmd.Process.Pid)
			if err != nil {
				t.Fatal(err)
			}
			files, err := os.ReadDir(folder)
			if err != nil {
				t.Fatal(err)
			}
			if len(containers)+len(files) > 0 {
				t.Errorf("rule: whenever dev is interrupted, nothing is left; left are %v and %v", containers, files)
			}
		})
	}
}
