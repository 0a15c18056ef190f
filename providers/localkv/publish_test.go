package localkv

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/skykv/skykv/kv"
)

// A file that another process creates at the destination, while a backup runs, stays as it is.
func TestPublishReplacesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	from, to := filepath.Join(dir, "copy.db.partial"), filepath.Join(dir, "copy.db")
	for path, text := range map[string]string{from: "copy", to: "another's"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := publish(from, to); !errors.Is(err, kv.ErrInvalidOption) {
		t.Errorf("rule: Backup returns ErrInvalidOption if there is a file at the destination; it is %v", err)
	}
	if text, err := os.ReadFile(to); err != nil || string(text) != "another's" {
		t.Errorf("rule: Backup replaces no file; there is %q, %v", text, err)
	}
}
