package command

import (
	"os"
	"path/filepath"
	"testing"
)

func TestBackup(t *testing.T) {
	t.Parallel()
	url := fileStore(t)
	good(t, "put", url, "key", "value")
	dest := filepath.Join(t.TempDir(), "copy.db")
	if out := good(t, "backup", url, dest); out != "copied to "+dest+"\n" {
		t.Errorf("backup prints %q", out)
	}
	if out := good(t, "get", "file:"+dest, "key"); out != "value" && out != "value\n" {
		t.Errorf("rule: the copy has the entries; get prints %q", out)
	}
	good(t, "doctor", "file:"+dest)
	before := read(t, dest)
	bad(t, exitUsage, "exists: remove it", "backup", url, dest)
	if read(t, dest) != before {
		t.Error("rule: backup replaces no file")
	}
	if out := good(t, "backup", url, dest+"2", "--json"); out != `{"command":"backup","file":"`+dest+`2"}`+"\n" {
		t.Errorf("backup --json prints %q", out)
	}
	bad(t, exitUnusable, "no such file", "backup", "file:"+filepath.Join(t.TempDir(), "none.db"), dest+"3")
	bad(t, exitUsage, "are not files", "backup", "dynamodb://cache", dest+"3")
	bad(t, exitUsage, "wrong number of arguments", "backup", url)
	if _, err := os.Stat(dest + "3"); err == nil {
		t.Error("rule: a backup that fails leaves no file")
	}
}
