package localkv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

// Inspect looks at what the store of a URL of [Open] needs, without changing anything: the
// folder, the file, and whether it holds a store of a format that this version knows. It
// ends after the first check that fails.
func Inspect(ctx context.Context, url string) iter.Seq[provider.Check] {
	return func(yield func(provider.Check) bool) {
		path, _, err := parseURL(url)
		if err == nil {
			path, err = filepath.Abs(path)
		}
		if err != nil {
			yield(provider.Failed("url", err, "see: skykv help"))
			return
		}
		for _, look := range []func(ctx context.Context, path string) provider.Check{inspectFolder, inspectFile, inspectLayout} {
			if c := look(ctx, path); !yield(c) || c.Status == provider.Fail {
				return
			}
		}
	}
}

func inspectFolder(_ context.Context, path string) provider.Check {
	const name = "folder"
	folder := filepath.Dir(path)
	if info, err := os.Stat(folder); err != nil || !info.IsDir() {
		return provider.Check{Name: name, Status: provider.Fail, Detail: "there is no folder " + folder, Fix: "make it, or fix the path in the URL"}
	}
	return provider.Check{Name: name, Status: provider.OK, Detail: folder + " is there"}
}

func inspectFile(_ context.Context, path string) provider.Check {
	const name = "file"
	fix := provider.Provision + ", or put something"
	left, err := leftover(path)
	if err != nil {
		return provider.Failed(name, err, "see the message")
	}
	info, err := os.Stat(path)
	switch {
	case left != "" && (errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0):
		return provider.Check{Name: name, Status: provider.Fail, Detail: path + " is absent or empty, but " + left + " holds writes of a store that was here", Fix: "put that store's file back, or remove " + left + " to begin with an empty store"}
	case errors.Is(err, fs.ErrNotExist):
		return provider.Check{Name: name, Status: provider.Fail, Detail: "there is no file " + path, Fix: fix, Step: "make the file " + path}
	case err != nil:
		return provider.Failed(name, err, "see the message")
	case !info.Mode().IsRegular():
		return provider.Check{Name: name, Status: provider.Fail, Detail: path + " is no regular file", Fix: "fix the path in the URL"}
	case info.Size() == 0: // opening it would make it a store
		return provider.Check{Name: name, Status: provider.Fail, Detail: "the file " + path + " is empty", Fix: fix, Step: "make a store of the empty file " + path}
	}
	return provider.Check{Name: name, Status: provider.OK, Detail: path + " is there"}
}

func inspectLayout(ctx context.Context, path string) provider.Check {
	const name = "layout"
	end, err := beginOpening(ctx)
	if err == nil {
		defer end()
		_, err = checkFile(ctx, path)
	}
	switch {
	case errors.Is(err, kv.ErrPermission):
		return provider.Failed(name, err, "let this user read and write the file and its folder")
	case errors.Is(err, kv.ErrIncompatible):
		return provider.Failed(name, err, "name another file in the URL")
	case err != nil:
		return provider.Failed(name, err, "see the message")
	}
	return provider.Check{Name: name, Status: provider.OK, Detail: fmt.Sprintf("a store of skykv, of format %d", format)}
}
