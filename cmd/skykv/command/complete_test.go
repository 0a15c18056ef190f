package command

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/skykv/skykv/providers/localkv"
)

func TestCompletion(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	file := "file:" + filepath.Join(folder, "app.db")
	for _, key := range []string{"lock:1", "user:1", "user:2"} {
		good(t, "put", file, key, "value")
	}
	if err := os.Mkdir(filepath.Join(folder, "apps"), 0o700); err != nil {
		t.Fatal(err)
	}
	const url, key, path, none = ":6", ":4", ":6", ":4" // the last line of the output, which tells the shell what may follow
	for _, c := range []struct {
		kvURL string
		args  []string
		want  []string // the lines of the output, without descriptions
	}{
		{"", []string{"get", ""}, []string{"mem:", "file:", "dynamodb://", "firestore://", "aztables://", url}},
		{"", []string{"get", "dyn"}, []string{"dynamodb://", url}},
		{"", []string{"get", "dynamodb://"}, []string{url}},
		{"", []string{"get", "file:" + filepath.Join(folder, "ap")}, []string{file, "file:" + filepath.Join(folder, "apps") + string(filepath.Separator), path}},
		{"", []string{"get", file, "user"}, []string{"user:1", "user:2", key}},
		{"", []string{"get", file, "user:1", ""}, []string{none}},
		{"", []string{"put", file, "user:1", ""}, []string{none}},
		{"", []string{"ls", file, "l"}, []string{"lock:1", key}},
		{"", []string{"watch", file, "l"}, []string{"lock:1", key}},
		{"", []string{"delete", file, "--prefix", "l"}, []string{"lock:1", key}},
		{"", []string{"copy", file, "az"}, []string{"aztables://", url}},
		{"", []string{"backup", file, "x"}, []string{":0"}},
		{"", []string{"get", "file:" + filepath.Join(folder, "absent.db"), "u"}, []string{none}},
		{file, []string{"get", "user"}, []string{"user:1", "user:2", key}},
		{file, []string{"get", "user:1", ""}, []string{none}},
		{file, []string{"get", "mem:", ""}, []string{none}},
		{file, []string{"scan", "--prefix", "l"}, []string{"lock:1", key}},
		{file, []string{"scan", "dyn"}, []string{none}},
	} {
		cmd := command(t, append([]string{"__complete"}, c.args...)...)
		cmd.Env = append(cmd.Env, "KV_URL="+c.kvURL)
		var got []string
		for line := range strings.Lines(process(t, cmd).stdout) {
			line, _, _ = strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
			got = append(got, line)
		}
		if strings.Join(got, " ") != strings.Join(c.want, " ") {
			t.Errorf("with KV_URL=%q, %q is completed with %q, want %q", c.kvURL, c.args, got, c.want)
		}
	}
	// The rule: a completed path names the file, whatever its name is, and has nothing that a shell
	// evaluates.
	odd := "odd;50%25 #?$(touch x)`touch y`\n\x1b[2Jü.db"
	if runtime.GOOS != "darwin" { // on macOS every name is UTF-8
		odd += "\xff"
	}
	store, err := localkv.New(filepath.Join(folder, odd), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	for _, typed := range []string{"odd", "odd;50%25", "%6Fdd%3B50%2525%20"} {
		got, _, _ := strings.Cut(good(t, "__complete", "doctor", "file:"+filepath.Join(folder, typed)), "\n")
		if added, completed := strings.CutPrefix(got, "file:"+filepath.Join(folder, typed)); !completed || strings.ContainsAny(added, "$`(); ?#\x1b") {
			t.Errorf("rule: a completion has nothing that a shell evaluates; %q becomes %q", typed, got)
		}
		good(t, "doctor", got)
	}
	if _, err := os.Stat(filepath.Join(folder, "absent.db")); err == nil {
		t.Error("rule: completion makes no store; it made one")
	}
}
