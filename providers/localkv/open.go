package localkv

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/skykv/skykv/kv"
)

// maxReaders is the greatest Options.Readers. Each reader takes up to 2 MiB of cache and
// three file descriptors.
const maxReaders = 1000

// Options are the settings of a store. The zero value and nil mean the defaults.
type Options struct {
	// Readers is the number of connections that read at once, 1 to 1000. Further reads wait
	// for one of them. The store opens one connection at first, and the others when they are
	// needed. If a connection cannot be opened, for example because there are no file
	// descriptors left, the read waits for a connection that is already open. 0 means the
	// number of processors, but at least 4.
	Readers int
}

// New opens the store in the file at path, and creates the file if it does not exist
// or is empty. Its directory must exist. The file stays open until Close.
//
// The errors are
//
//   - [kv.ErrIncompatible] for a file that is not skykv's, is damaged, has several names or
//     an unknown format, or is gone or empty although its log or journal has writes; New does
//     not change such a file,
//   - [kv.ErrNotProvisioned] when the directory does not exist,
//   - [kv.ErrPermission] when the file or its directory cannot be read and written,
//   - [kv.ErrInvalidOption] for invalid options or an invalid path,
//   - [kv.ErrUnavailable] for a failing or full disk, for a lock that another process
//     holds for a minute, or for a file system without the locks or shared memory that
//     SQLite needs.
func New(path string, opts *Options) (*kv.Store, error) {
	return open(context.Background(), path, opts)
}

const opOpen = "open"

func open(ctx context.Context, path string, opts *Options) (*kv.Store, error) {
	if opts == nil {
		opts = new(Options)
	}
	switch {
	case opts.Readers < 0 || opts.Readers > maxReaders:
		return nil, errInvalid(opOpen, "option Readers is %d; it must be 1 to %d, or 0 for the default", opts.Readers, maxReaders)
	case path == "" || strings.ContainsRune(path, 0):
		return nil, errInvalid(opOpen, "the path is empty or has a zero byte; want the path of a file")
	}
	d, err := newDriver(ctx, path, opts)
	if err != nil {
		e := opError(opOpen, err)
		e.Err = fmt.Errorf("file %q: %w", path, e.Err)
		return nil, e
	}
	return kv.New(d), nil
}

func newDriver(ctx context.Context, path string, opts *Options) (*driver, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, classifyFile(err)
	}
	end, err := beginOpening(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	if err := createFile(path); err != nil {
		return nil, err
	}
	if path, err = checkFile(ctx, path); err != nil {
		return nil, err
	}
	before, err := os.Stat(path)
	if err != nil {
		return nil, classifyFile(err)
	}
	w, err := openWriter(ctx, path)
	if err != nil {
		return nil, explain(path, err)
	}
	if w.file, err = identify(path, before); err != nil {
		w.conn.Close()
		return nil, err
	}
	rs, err := openReaders(ctx, w.file, cmp.Or(opts.Readers, max(4, runtime.GOMAXPROCS(0))))
	if err != nil {
		w.conn.Close()
		return nil, explain(path, err)
	}
	d := &driver{w: w, rs: rs}
	d.info = kv.Info{Name: name, Shards: 1, MaxValueLen: kv.MaxLargeValueLen, MaxAtomicWrites: maxAtomicWrites, Count: d.count}
	return d, nil
}
