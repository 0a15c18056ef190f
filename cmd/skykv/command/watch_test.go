package command

import (
	"bufio"
	"encoding/json"
	"strings"
	"syscall"
	"testing"
)

func TestWatch(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b backend) {
		url := b.open(t)
		good(t, "put", url, "job:1", "first")
		good(t, "put", url, "other", "value")
		cmd := command(t, "watch", url, "job:", "--every", "1s")
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var stderr strings.Builder
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(stdout)
		next := func(key, value string, deleted bool) {
			t.Helper()
			var got struct {
				Key, Value string
				Deleted    bool
			}
			if !lines.Scan() {
				t.Fatalf("watch has ended; it said %q", &stderr)
			}
			if err := json.Unmarshal(lines.Bytes(), &got); err != nil || got.Key != key || got.Value != value || got.Deleted != deleted {
				t.Fatalf("rule: watch prints the latest state of what changes; it prints %s, want %q, %q, deleted: %v", lines.Bytes(), key, value, deleted)
			}
		}
		next("job:1", "first", false)
		good(t, "put", url, "job:2", "second")
		next("job:2", "second", false)
		good(t, "put", url, "job:1", "again")
		next("job:1", "again", false)
		good(t, "delete", url, "job:2")
		next("job:2", "", true)
		good(t, "touch", url, "job:1", "--ttl", "1s")
		for lines.Scan() && !strings.Contains(lines.Text(), `{"key":"job:1","deleted":true}`) {
			if !strings.Contains(lines.Text(), `"expiresAt"`) {
				t.Fatalf("after a touch, watch prints %s", lines.Text())
			}
		}
		if code := interrupt(t, cmd, syscall.SIGINT); code != 0 {
			t.Errorf("rule: Ctrl-C is how watch ends; it exits with %d and %q", code, &stderr)
		}
	})
	t.Run("wrong use", func(t *testing.T) {
		t.Parallel()
		store := fileStore(t)
		good(t, "put", store, "a", "value")
		bad(t, exitUsage, "--every is 500ms; want at least 1s", "watch", store, "--every", "500ms")
		bad(t, exitUsage, "invalid key", "watch", store, "a b")
		bad(t, exitUnusable, "there is no file", "watch", fileStore(t))
		for _, name := range []string{"watch", "ui"} {
			bad(t, exitFailure, "it took longer than 1s", name, store, "--timeout", "1s")
		}
		if o := process(t, unusually(t, "watch", "refusing:")); o.code != exitUsage || !strings.Contains(o.stderr, "invalid option") {
			t.Errorf("rule: watch ends with the code of an error that no later poll can avoid; it exits with %d and\n%s; want %d", o.code, o.stderr, exitUsage)
		}
	})
}
