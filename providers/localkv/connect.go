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
	urlForm = "file:PATH?readers=N&max-value=BYTES"
)

// Provider returns the provider, which opens, sets up and inspects stores by URL.
func Provider() provider.Provider {
	return provider.Provider{
		Scheme: name, Form: urlForm, Summary: "SQLite in one file, created if absent",
		Open: Open, Ensure: Ensure, Inspect: Inspect, Files: files, Backup: BackupURL,
	}
}

// Open opens the store of a URL, as [New] does. The URL is "file:" and the path of the file,
// relative ("file:app.db") or absolute ("file:/var/lib/app.db", "file:///var/lib/app.db",
// "file:///C:/app.db"). Special characters in the path are percent-encoded. The parameter
// readers=N sets [Options].Readers, and max-value=BYTES sets [kv.MaxValue]. For anything
// else, the error matches [kv.ErrInvalidOption].
func Open(ctx context.Context, url string) (*kv.Store, error) {
	u, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	store, err := open(ctx, u.path, &u.opts)
	if err != nil {
		return nil, err
	}
	return store.With(u.store...), nil
}

// Ensure creates the file of a URL of [Open], and a store in it, unless they exist. The
// file's directory must exist. The errors are those of Open.
func Ensure(ctx context.Context, url string) error {
	store, err := Open(ctx, url)
	if err != nil {
		return err
	}
	return store.Close()
}

// files returns the paths of a URL's file and of the files that SQLite keeps next to it.
func files(url string) []string {
	u, err := parseURL(url)
	if err != nil {
		return nil
	}
	path := u.path
	return []string{path, path + logSuffix, path + sharedSuffix, path + journalSuffix}
}

// storeURL is a parsed URL of a store.
type storeURL struct {
	path  string
	opts  Options
	store []kv.StoreOption
}

func parseURL(url string) (storeURL, error) {
	u, err := provider.ParseURL(name, urlForm, url)
	if err != nil {
		return storeURL{}, err
	}
	switch {
	case u.Host != "":
		return storeURL{}, u.Errorf("there is a host, %q, between // and the path; write an absolute path as file:///PATH, a relative one as file:PATH", u.Host)
	case u.Path == "":
		return storeURL{}, u.Errorf("there is no path")
	case strings.ContainsRune(u.Path, 0):
		return storeURL{}, u.Errorf("the path has a zero byte")
	}
	s := storeURL{path: u.Path}
	if s.opts.Readers, err = u.Int("readers", 0, 1, maxReaders); err != nil {
		return storeURL{}, err
	}
	if s.store, err = u.StoreOptions(); err != nil {
		return storeURL{}, err
	}
	if drive := strings.TrimPrefix(s.path, "/"); filepath.VolumeName(drive) != "" {
		s.path = drive // on Windows, for file:///C:/app.db
	}
	return s, nil
}
