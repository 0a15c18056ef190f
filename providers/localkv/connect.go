package localkv

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

const (
	name    = "file"
	urlForm = "file:PATH?readers=N"
)

// Provider opens, sets up and looks at stores by URL.
func Provider() provider.Provider {
	return provider.Provider{
		Scheme: name, Form: urlForm, Summary: "SQLite in one file, made if absent",
		Open: Open, Ensure: Ensure, Inspect: Inspect, Files: files, Backup: BackupURL,
	}
}

// Open opens the store that a URL names, as New does: "file:" and the path of
// the file, relative ("file:app.db") or absolute ("file:/var/lib/app.db",
// "file:///var/lib/app.db", "file:///C:/app.db"), with special characters
// percent-encoded. The
// parameter readers=N sets Options.Readers. Anything else is an error that
// matches [kv.ErrInvalidOption].
func Open(ctx context.Context, url string) (*kv.Store, error) {
	path, opts, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	return open(ctx, path, opts)
}

// Ensure creates the file that a URL of Open names, unless it exists, and makes a
// store of it. Its directory must exist. The errors are those of Open.
func Ensure(ctx context.Context, url string) error {
	store, err := Open(ctx, url)
	if err != nil {
		return err
	}
	return store.Close()
}

// files returns the paths of the file of a URL and of those that SQLite keeps beside it.
func files(url string) []string {
	path, _, err := parseURL(url)
	if err != nil {
		return nil
	}
	return []string{path, path + logSuffix, path + sharedSuffix, path + journalSuffix}
}

func parseURL(url string) (path string, opts *Options, err error) {
	u, err := provider.ParseURL(name, urlForm, url)
	if err != nil {
		return "", nil, err
	}
	switch {
	case u.Host != "":
		return "", nil, u.Errorf("there is a host, %q, between // and the path; an absolute path is written file:///PATH, a relative one file:PATH", u.Host)
	case u.Path == "":
		return "", nil, u.Errorf("there is no path")
	case strings.ContainsRune(u.Path, 0):
		return "", nil, u.Errorf("the path holds a zero byte")
	}
	readers, err := u.Int("readers", 0, 1, maxReaders)
	if err != nil {
		return "", nil, err
	}
	path = u.Path
	if drive := strings.TrimPrefix(path, "/"); filepath.VolumeName(drive) != "" {
		path = drive // of file:///C:/app.db, on Windows
	}
	return path, &Options{Readers: readers}, nil
}
