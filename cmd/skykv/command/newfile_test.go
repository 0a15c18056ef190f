package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skykv/skykv/cmd/skykv/command/internal/transfer"
)

// begun starts a new file for path: it creates the incomplete file, with some text in it.
func begun(t *testing.T, path string) (newFile, *os.File) {
	t.Helper()
	at, err := findNewFile(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	file, err := at.create()
	if err == nil {
		_, err = file.WriteString("new")
	}
	if err != nil {
		t.Fatal(err)
	}
	return at, file
}

// The rule: if another program creates a file with the final name in the meantime, finish
// replaces that file only if replace is set. Otherwise finish returns an error, and our own
// file keeps its partial name beside the other program's file.
func TestNewFileMeetsAnother(t *testing.T) {
	t.Parallel()
	for _, replace := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "out")
		at, file := begun(t, path)
		if err := os.WriteFile(path, []byte("other"), 0o600); err != nil {
			t.Fatal(err)
		}
		err := at.finish(file, replace)
		switch {
		case replace && (err != nil || read(t, path) != "new"):
			t.Errorf("to be replaced, it holds %q: %v", read(t, path), err)
		case !replace && (err == nil || !strings.Contains(err.Error(), "is in "+partial(path)) || read(t, path) != "other" || read(t, partial(path)) != "new"):
			t.Errorf("it holds %q, and the new text is not beside it: %v", read(t, path), err)
		}
	}
}

// The rule: an incomplete file is continued only if it is a regular file and matches the
// checkpoint.
func TestNewFileReopened(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "out")
	at, file := begun(t, path)
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := at.reopen(transfer.Mark{})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil || read(t, partial(path)) != "" {
		t.Errorf("the part after the checkpoint stays: %q, %v", read(t, partial(path)), err)
	}
	if _, err := at.reopen(transfer.Mark{Length: 5}); err == nil {
		t.Error("a file that is too short is continued")
	}
	target := filepath.Join(t.TempDir(), "target")
	if err := os.Rename(partial(path), target); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, partial(path)); err != nil {
		t.Fatal(err)
	}
	if _, err := at.reopen(transfer.Mark{}); err == nil || !strings.Contains(err.Error(), "is not a regular file") {
		t.Errorf("a link is continued: %v", err)
	}
}
