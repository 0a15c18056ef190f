package localkv

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/skykv/skykv/kv/provider"
	"github.com/skykv/skykv/kv"
	"zombiezen.com/go/sqlite"
)

const name = "file"

// maxReaders bounds Options.Readers: each costs up to 2 MiB of cache and three
// file descriptors.
const maxReaders = 1000

// Options are the settings of a store. The zero value, like nil, stands for the
// defaults.
type Options struct {
	// Readers is how many connections read at once, 1 to 1000; further reads wait
	// for one of them. They are opened when they are needed. The default, for 0,
	// is the number of processors, but at least 4.
	Readers int
}

// New opens the store in the file at path, and makes the file if it does not
// exist or is empty. Its directory must exist. The file stays open until Close.
//
// The errors are [kv.ErrIncompatible] for a file that is not skykv's, is damaged
// or has a format that this version does not know (it is left as it is),
// [kv.ErrNotProvisioned] when the directory does not exist, [kv.ErrPermission]
// when the file or its directory cannot be read and written,
// [kv.ErrInvalidOption] for options or a path that cannot be, and
// [kv.ErrUnavailable] for a failing or full disk, or one whose file system lacks
// the locks or shared memory that SQLite needs.
func New(path string, opts *Options) (*kv.Store, error) {
	return open(context.Background(), path, opts)
}

// Open opens the store that a URL names, as New does: "file:" and the path of
// the file, relative ("file:app.db") or absolute ("file:/var/lib/app.db",
// "file:///var/lib/app.db"), with special characters percent-encoded. The
// parameter readers=N sets Options.Readers. Anything else is an error that
// matches [kv.ErrInvalidOption].
func Open(ctx context.Context, url string) (*kv.Store, error) {
	u, err := provider.ParseURL(name, "file:PATH?readers=N", url)
	if err != nil {
		return nil, err
	}
	switch {
	case u.Host != "":
		return nil, u.Errorf("there is a host, %q, between // and the path; an absolute path is written file:///PATH, a relative one file:PATH", u.Host)
	case u.Path == "":
		return nil, u.Errorf("there is no path")
	}
	readers, err := u.Int("readers", 0, 1, maxReaders)
	if err != nil {
		return nil, err
	}
	return open(ctx, u.Path, &Options{Readers: readers})
}

func open(ctx context.Context, path string, opts *Options) (*kv.Store, error) {
	d, err := openDriver(ctx, path, opts)
	if err != nil {
		e, ok := errors.AsType[*kv.Error](err)
		if !ok {
			e = &kv.Error{Err: err}
		}
		if e.Kind != kv.ErrInvalidOption {
			err = fmt.Errorf("file %q: %w", path, e.Err)
		}
		return nil, &kv.Error{Op: "open", Provider: name, Kind: e.Kind, Err: err}
	}
	return kv.New(d), nil
}

func openDriver(ctx context.Context, path string, opts *Options) (*driver, error) {
	if opts == nil {
		opts = new(Options)
	}
	switch {
	case opts.Readers < 0 || opts.Readers > maxReaders:
		return nil, &kv.Error{Kind: kv.ErrInvalidOption, Err: fmt.Errorf("option Readers is %d; allowed are 1 to %d, or 0 for the default", opts.Readers, maxReaders)}
	case path == "" || strings.ContainsRune(path, 0):
		return nil, &kv.Error{Kind: kv.ErrInvalidOption, Err: errors.New("the path is empty or holds a zero byte; allowed is the path of a file")}
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, classifyFile(err)
	}
	select {
	case opening <- struct{}{}:
		defer func() { <-opening }()
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		return nil, errDone(ctx)
	}
	if path, err = inspect(ctx, path); err != nil {
		return nil, err
	}
	w, err := openWriter(ctx, path)
	if err != nil {
		return nil, explain(path, err)
	}
	readers := cmp.Or(opts.Readers, max(4, runtime.GOMAXPROCS(0)))
	return &driver{w: w, rs: newReaders(path, readers)}, nil
}

// opening is held while a store is opened. See inspect.
var opening = make(chan struct{}, 1)

// inspect makes sure that the file at path is skykv's to open, and gives its path
// without symbolic links. It creates a missing file, empty, and changes no other.
//
// SQLite cannot look at a file in WAL mode without adding files beside it, so
// that the header is read directly. But closing a file gives up all POSIX locks
// that the process has on it, also those of other connections to it. Files that
// are in use have a log beside them, and those are left to SQLite, which takes
// care of its locks; holding opening keeps stores of this process from getting
// to use the file meanwhile.
func inspect(ctx context.Context, path string) (string, error) {
	if err := createEmpty(path); err != nil {
		return "", err
	}
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", classifyFile(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", classifyFile(err)
	}
	if !info.Mode().IsRegular() {
		return "", errFile("it is no regular file")
	}
	if _, err := os.Lstat(path + "-wal"); err == nil {
		return path, inspectInUse(ctx, path)
	}
	if info.Size() > 0 {
		if err := inspectHeader(path); err != nil {
			return "", err
		}
	}
	// SQLite would open it for reading, leave a log, and fail later.
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", classifyFile(err)
	}
	return path, f.Close()
}

// inspectHeader reads what it must from the first bytes of the file.
// https://www.sqlite.org/fileformat2.html#the_database_header
func inspectHeader(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return classifyFile(err)
	}
	defer f.Close()
	var header [100]byte
	_, err = io.ReadFull(f, header[:])
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return classifyFile(err)
	}
	if err != nil || !bytes.HasPrefix(header[:], []byte("SQLite format 3\x00")) {
		return errFile("it is not an SQLite database")
	}
	return checkFormat(binary.BigEndian.Uint32(header[68:]), binary.BigEndian.Uint32(header[60:]))
}

// createEmpty creates the file unless it exists.
func createEmpty(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	switch {
	case errors.Is(err, fs.ErrExist): // since a moment ago, or as a dangling link
		_, err = os.Stat(path)
	case err == nil:
		err = f.Close()
	}
	if err != nil {
		return classifyFile(err)
	}
	return nil
}

// inspectInUse is inspect for a file with a log beside it.
func inspectInUse(ctx context.Context, path string) error {
	c, err := connect(ctx, path, sqlite.OpenReadOnly)
	if err != nil {
		return explain(path, err)
	}
	defer c.Close()
	if err := checkPragmas(ctx, c); err != nil {
		return explain(path, err)
	}
	return nil
}

// checkPragmas is inspectHeader by way of SQLite.
func checkPragmas(ctx context.Context, c *sqlite.Conn) error {
	var header [2]uint32
	for i, pragma := range []string{"PRAGMA application_id", "PRAGMA user_version"} {
		answer, err := query(ctx, c, pragma)
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(answer, 10, 32)
		if err != nil {
			return err
		}
		header[i] = uint32(n)
	}
	return checkFormat(header[0], header[1])
}

func checkFormat(application, version uint32) error {
	switch {
	case application != applicationID:
		return errFile("it is an SQLite database of another program: its application_id is %#x, skykv's is %#x", application, applicationID)
	case version != format:
		return errFile("it has format (user_version) %d; this version of skykv knows %d", version, format)
	}
	return nil
}

// initialize makes a file that is empty a store, and checks any other.
func initialize(ctx context.Context, c *sqlite.Conn) error {
	pages, err := query(ctx, c, "PRAGMA page_count")
	if err != nil {
		return err
	}
	if pages == "0" {
		if err := fill(ctx, c); err != nil {
			return err
		}
	}
	return checkPragmas(ctx, c)
}

// useLog switches to write-ahead logging.
func useLog(ctx context.Context, c *sqlite.Conn) error {
	mode, err := query(ctx, c, "PRAGMA journal_mode = WAL")
	if err != nil {
		return err
	}
	if mode != "wal" {
		return &kv.Error{Kind: kv.ErrUnavailable, Err: errors.New("SQLite cannot use write-ahead logging for it, as is the case on network file systems")}
	}
	return nil
}

// fill creates the table, unless another process was faster, in one transaction
// and before write-ahead logging, so that the header has it all whenever the file
// is not empty.
func fill(ctx context.Context, c *sqlite.Conn) error {
	for _, statement := range []string{"PRAGMA page_size = 4096", "BEGIN EXCLUSIVE"} {
		if err := run(ctx, c, statement); err != nil {
			return err
		}
	}
	// The transaction made the first page already: look for what is on it.
	objects, err := query(ctx, c, "SELECT count(*) FROM sqlite_schema")
	if err == nil && objects == "0" {
		for _, statement := range []string{
			fmt.Sprintf("PRAGMA application_id = %d", applicationID),
			fmt.Sprintf("PRAGMA user_version = %d", format),
			createTable,
			createIndex,
		} {
			if err = run(ctx, c, statement); err != nil {
				break
			}
		}
	}
	if err == nil {
		err = run(ctx, c, "COMMIT")
	}
	if err != nil && !c.AutocommitEnabled() {
		run(context.WithoutCancel(ctx), c, "ROLLBACK")
	}
	return err
}

// explain is classify for an error at opening, and finds out whether it is
// permissions that SQLite lacks.
func explain(path string, err error) error {
	if sqlite.ErrCode(err).ToPrimary() == sqlite.ResultCantOpen {
		f, probe := os.CreateTemp(filepath.Dir(path), ".skykv-*")
		if probe != nil {
			return classifyFile(fmt.Errorf("SQLite needs to add files beside it: %w", probe))
		}
		f.Close()
		os.Remove(f.Name())
	}
	return classify(err)
}
